"""What a run uses of its corpora: which clips, how long they are, with which words."""

from typing import Any

import numpy as np
from absl import logging

from e2etts_jax.data import pairs, sources, transcripts
from e2etts_jax.data.text import Texts, Tokenizer, joined, rm_limit

BAD_TEXTS = 0.05  # share of texts that a tokenizer may refuse: more is a wrong alphabet, not a few odd clips


class Words:
    """The texts of a source as one model has them.

    Attributes:
      limit: most ids of a text; `key` is the field of config.data that sets it.
      lengths: i64[N], ids of each clip's text, 0 = refused.
    """

    def __init__(self, source: sources.Source, tokenizer: Tokenizer, language: str, key: str, limit: int) -> None:
        self.key, self.limit, self.tokenizer = key, limit, tokenizer
        self._source, self._language = source, language
        made = [transcripts.of(corpus, tokenizer, language) for corpus in source.corpora]
        self._texts = sources.Joined([t.strings for t in made], [c.span for c in source.corpora])
        self.lengths = np.concatenate(
            [t.lengths[c.span.start : c.span.stop] for t, c in zip(made, source.corpora, strict=True)]
        )

    def ids(self, clip: int, prompt: int = -1) -> list[int]:
        """Ids of a clip's text, with those of its prompt in front."""
        words, language = self._texts[clip], self._source.language(clip) or self._language
        if prompt < 0:
            return self.tokenizer.encode(words, language)
        return joined(self.tokenizer, self._texts[prompt], words, language)

    def why_refused(self, clip: int) -> str:
        language = self._source.language(clip) or self._language
        return transcripts.why_refused(self._source.texts[clip], language, self.tokenizer)


class Clips:
    """The usable clips of a split.

    Attributes:
      source: all clips.
      rate, per_token: Hz of the batches' audio, samples of a speech token.
      bounds: most tokens of each bucket.
      words: texts by field of the batch: `text`, and `rm_text` where the RM writes in other ids.
      tokens: i64[N], length of each clip, with its prompt.
      keep: bool[N], the clips that fit.
      partners: i64[N], the clip that is the prompt, -1 = none; None where no clip has one.
    """

    def __init__(
        self, cfg_data: Any, split: str, texts: Texts, *, sample_rate: int, samples_per_token: int, seed: int
    ) -> None:
        self.source = source = sources.open_source(cfg_data, split)
        self.rate, self.per_token = sample_rate, samples_per_token
        self.bounds = tuple(cfg_data.buckets)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)) or self.bounds[0] < 1:
            raise ValueError(f"data.buckets must rise from 1 token or more: {self.bounds}")
        self.words = {"text": Words(source, texts.llm, cfg_data.language, "max_text", cfg_data.max_text)}
        if texts.rm is not texts.llm:
            key = rm_limit(cfg_data)
            self.words["rm_text"] = Words(source, texts.rm, cfg_data.language, key, getattr(cfg_data, key))
        self.tokens = -(-source.samples(sample_rate) // samples_per_token)
        self.keep = self._usable()
        self.partners: np.ndarray | None = None
        if cfg_data.prompts and split == "train":
            self.partners = self._pairs(cfg_data.prompts, seed)
            self.tokens = self.tokens + np.where(self.partners >= 0, self.tokens[self.partners], 0)

    def _pairs(self, share: float, seed: int) -> np.ndarray:
        partners = pairs.partners(
            self.source.speakers,
            np.where(self.keep, self.tokens, 0),
            [(words.lengths, words.limit) for words in self.words.values()],
            share=share,
            limit=self.bounds[-1],
            seed=seed,
        )
        reached = int((partners >= 0).sum()) / max(1, int(self.keep.sum()))
        if reached < 0.8 * share:
            logging.warning(
                "data.prompts=%s, but only %.2f of the clips follow another one: a pair must fit in %d tokens and "
                "%s text ids; raise data.buckets and %s",
                share,
                reached,
                self.bounds[-1],
                " and ".join(str(words.limit) for words in self.words.values()),
                " and ".join(f"data.{words.key}" for words in self.words.values()),
            )
        return partners

    def _usable(self) -> np.ndarray:
        """Which clips can be used; says how many can't, and why."""
        left = self.tokens > self.bounds[-1]
        self._report(left, f"are longer than {self.bounds[-1]} tokens", "raise data.buckets")
        for words in self.words.values():
            long, refused = words.lengths > words.limit, words.lengths == 0
            self._report(long, f"have a text of more than {words.limit} ids", f"raise data.{words.key}")
            self._report(refused, "have a text that can't be encoded", words=words)
            left = left | long | refused
        return ~left

    def _report(self, which: np.ndarray, why: str, cure: str = "", words: Words | None = None) -> None:
        count, source = int(which.sum()), self.source
        if not count:
            return
        first = int(np.argmax(which))
        example = source.keys[first]
        detail = f"clip {example!r}: {words.why_refused(first)}" if words else cure
        if count == len(source) or (words and count > BAD_TEXTS * len(source)):
            raise ValueError(f"{count} of {len(source)} clips of {source!r} {why}: {detail}")
        logging.warning(
            "%r: %d of %d clips %s and are left out, such as %r: %s", source, count, len(source), why, example, detail
        )

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
