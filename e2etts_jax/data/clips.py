"""What a run uses of its corpora: which clips, how long they are, with which words."""

from typing import Any

import numpy as np
from absl import logging

from e2etts_jax.data import pairs, sources, transcripts
from e2etts_jax.data.text import Tokenizer

BAD_TEXTS = 0.05  # share of texts that a tokenizer may refuse: more is a wrong alphabet, not a few odd clips


class Clips:
    """The usable clips of a split.

    Attributes:
      source: all clips.
      rate, per_token: Hz of the batches' audio, samples of a speech token.
      bounds, max_text: most tokens of each bucket, most ids of a text.
      tokens: i64[N], length of each clip, with its prompt.
      keep: bool[N], the clips that fit.
      partners: i64[N], the clip that is the prompt, -1 = none; None where no clip has one.
    """

    def __init__(
        self, cfg_data: Any, split: str, tokenizer: Tokenizer, *, sample_rate: int, samples_per_token: int, seed: int
    ) -> None:
        self.source = source = sources.open_source(cfg_data, split)
        self.rate, self.per_token, self.tokenizer = sample_rate, samples_per_token, tokenizer
        self.bounds, self.max_text = tuple(cfg_data.buckets), cfg_data.max_text
        self._language = cfg_data.language
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)) or self.bounds[0] < 1:
            raise ValueError(f"data.buckets must rise from 1 token or more: {self.bounds}")
        made = [transcripts.of(corpus, tokenizer, self._language) for corpus in source.corpora]
        self._texts = sources.Joined([t.strings for t in made], [c.span for c in source.corpora])
        chars = np.concatenate(
            [t.lengths[c.span.start : c.span.stop] for t, c in zip(made, source.corpora, strict=True)]
        )
        self.tokens = -(-source.samples(sample_rate) // samples_per_token)
        self.keep = self._usable(chars)
        self.partners: np.ndarray | None = None
        if cfg_data.prompts and split == "train":
            self.partners = pairs.partners(
                source.speakers,
                np.where(self.keep, self.tokens, 0),
                chars,
                share=cfg_data.prompts,
                limit=(self.bounds[-1], self.max_text),
                seed=seed,
            )
            reached = int((self.partners >= 0).sum()) / max(1, int(self.keep.sum()))
            if reached < 0.8 * cfg_data.prompts:
                logging.warning(
                    "data.prompts=%s, but only %.2f of the clips follow another one: a pair must fit in %d tokens and "
                    "%d text ids; raise data.buckets and data.max_text",
                    cfg_data.prompts,
                    reached,
                    self.bounds[-1],
                    self.max_text,
                )
            self.tokens = self.tokens + np.where(self.partners >= 0, self.tokens[self.partners], 0)

    def _usable(self, chars: np.ndarray) -> np.ndarray:
        """Which clips can be used; says how many can't, and why."""
        source = self.source
        reasons = {
            f"are longer than {self.bounds[-1]} tokens": self.tokens > self.bounds[-1],
            f"have a text of more than {self.max_text} ids": chars > self.max_text,
            "have a text that can't be encoded": chars == 0,
        }
        for why, which in reasons.items():
            count = int(which.sum())
            if not count:
                continue
            cure = "raise data.buckets" if "tokens" in why else "raise data.max_text" if "ids" in why else ""
            first = int(np.argmax(which))
            example = source.keys[first]
            detail = cure or f"clip {example!r}: {self._why_refused(first)}"
            if count == len(source) or (not cure and count > BAD_TEXTS * len(source)):
                raise ValueError(f"{count} of {len(source)} clips of {source!r} {why}: {detail}")
            logging.warning(
                "%r: %d of %d clips %s and are left out, such as %r: %s",
                source,
                count,
                len(source),
                why,
                example,
                detail,
            )
        return ~np.logical_or.reduce(list(reasons.values()))

    def _why_refused(self, clip: int) -> str:
        language = self.source.language(clip) or self._language
        return transcripts.why_refused(self.source.texts[clip], language, self.tokenizer)

    def buckets(self) -> list[list[np.ndarray]]:
        """Clips by bucket and corpus."""
        which = np.searchsorted(self.bounds, self.tokens)
        return [
            [
                part.start + np.flatnonzero((self.keep & (which == b))[part.start : part.stop])
                for part in self.source.parts
            ]
            for b in range(len(self.bounds))
        ]

    def text(self, clip: int) -> tuple[str, str]:
        """Prepared text and language of a clip."""
        return self._texts[clip], self.source.language(clip) or self._language

    def encoded(self, clip: int, prompt: int) -> list[int]:
        """Text ids of a clip, with those of its prompt in front."""
        words, language = self.text(clip)
        if prompt < 0:
            return self.tokenizer.encode(words, language)
        before = self.text(prompt)[0]
        try:
            return self.tokenizer.encode(f"{before} {words}", language)
        except ValueError:  # written without spaces
            return self.tokenizer.encode(before + words, language)
