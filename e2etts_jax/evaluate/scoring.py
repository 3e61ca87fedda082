"""Error rates of transcripts against what was to be said, with intervals."""

import dataclasses
from collections.abc import Sequence

import jiwer
import numpy as np

from e2etts_jax.evaluate.canonical import canonical

DRAWS = 2000
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Score:
    """Edits and reference tokens of each utterance, both on the canonical form."""

    errors: np.ndarray
    tokens: np.ndarray

    @property
    def rate(self) -> float:
        """Sum of edits / sum of reference tokens."""
        return float(self.errors.sum() / self.tokens.sum())

    @property
    def utterance_rate(self) -> float:
        """Mean over utterances of edits / tokens; short utterances weigh as much as long ones."""
        return float(np.mean(self.errors / self.tokens))

    def interval(self) -> tuple[float, float]:
        """Bootstrap interval of `rate` at LEVEL, resampling utterances."""
        rates = self._rates()
        return _quantiles(rates)

    def above(self, floor: "Score") -> tuple[float, float, float]:
        """Difference of rates to `floor` on the same utterances, with its paired bootstrap interval."""
        low, high = _quantiles(self._rates() - floor._rates())
        return self.rate - floor.rate, low, high

    def _rates(self) -> np.ndarray:
        picks = np.random.default_rng(0).integers(len(self.errors), size=(DRAWS, len(self.errors)))
        return self.errors[picks].sum(1) / self.tokens[picks].sum(1)


def score(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Compares transcripts, in any spelling of numbers, with the spoken words.

    Raises:
      ValueError: numbers of texts differ, none is given, or a reference has no words.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references for {len(hypotheses)} transcripts")
    spoken = [canonical(text) for text in references]
    if "" in spoken:
        raise ValueError(f"reference {spoken.index('')} ({references[spoken.index('')]!r}) has no words")
    results = [jiwer.process_words(s, canonical(h)) for s, h in zip(spoken, hypotheses, strict=True)]
    errors = [r.substitutions + r.deletions + r.insertions for r in results]
    return Score(np.array(errors), np.array([len(s.split()) for s in spoken]))


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
