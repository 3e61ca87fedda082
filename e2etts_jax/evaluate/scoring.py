"""Edits between transcripts and what was to be said, their rates, and intervals of these."""

import dataclasses
from collections.abc import Sequence

import jiwer
import numpy as np
from jaxtyping import Int

from e2etts_jax.evaluate import statistics
from e2etts_jax.evaluate.canonical import canonical
from e2etts_jax.evaluate.protocol import Form

EDITS = ("substitutions", "deletions", "insertions")  # fields of a Score

Counts = Int[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class Score:
    """Edits and reference tokens of each utterance."""

    substitutions: Counts
    deletions: Counts
    insertions: Counts
    tokens: Counts

    @property
    def errors(self) -> Counts:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rates(self) -> np.ndarray:
        """Edits / tokens of each utterance; short ones weigh as much as long ones in their mean."""
        return self.errors / self.tokens

    @property
    def rate(self) -> float:
        """Sum of edits / sum of reference tokens."""
        return float(self.errors.sum() / self.tokens.sum())

    @property
    def utterance_rate(self) -> float:
        """Mean of `rates`: what seed-tts-eval calls WER."""
        return float(self.rates.mean())

    def of(self, rows: np.ndarray | Sequence[int]) -> "Score":
        """The utterances `rows`."""
        return Score(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def interval(self) -> tuple[float, float]:
        """Bootstrap interval of `rate`, resampling utterances."""
        return interval_of_rate(self.errors[None], self.tokens)

    def above(self, floor: "Score") -> tuple[float, float, float]:
        """Difference of rates to `floor` on the same utterances, with its paired bootstrap interval."""
        low, high = statistics.interval((self.errors - floor.errors)[None], self.tokens)
        return self.rate - floor.rate, low, high


@dataclasses.dataclass(frozen=True)
class Edit:
    """A piece of an alignment: `kind` is equal, substitute, delete or insert; tokens of the reference and as heard."""

    kind: str
    said: str
    heard: str


def score(references: Sequence[str], hypotheses: Sequence[str], form: Form = canonical) -> Score:
    """Compares transcripts with the spoken words, both as `form` writes them.

    Raises:
      ValueError: numbers of texts differ, none is given, or a reference has no words.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references for {len(hypotheses)} transcripts")
    spoken = [form(text) for text in references]
    if "" in spoken:
        raise ValueError(f"reference {spoken.index('')} ({references[spoken.index('')]!r}) has no words")
    results = [jiwer.process_words(s, form(h)) for s, h in zip(spoken, hypotheses, strict=True)]
    return Score(
        **{kind: np.array([getattr(r, kind) for r in results]) for kind in EDITS},
        tokens=np.array([r.hits + r.substitutions + r.deletions for r in results]),
    )


def interval_of_rate(values: np.ndarray, tokens: Counts | None = None) -> tuple[float, float]:
    """As `statistics.interval`, of what can't be below 0."""
    low, high = statistics.interval(values, tokens)
    return max(0.0, low), high


def alignment(reference: str, hypothesis: str, form: Form = canonical) -> list[Edit]:
    """The edits that `score` counts, in the order of the text; neighbouring tokens of one kind are one piece."""
    result = jiwer.process_words(form(reference), form(hypothesis))
    said, heard = result.references[0], result.hypotheses[0]
    return [
        Edit(
            chunk.type,
            " ".join(said[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in result.alignments[0]
    ]
