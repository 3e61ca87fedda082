"""How sure a figure is: bootstrap intervals, paired comparisons of two systems, and the plain sentence about them."""

import dataclasses

import numpy as np
from jaxtyping import Float

DRAWS = 4000
LEVEL = 0.95
CHUNK = 500  # draws that exist at one time
LEAST = 0.3  # of the standard error, in a draw: bounds of rare errors are then no wider than those of a Poisson count


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances.

    Attributes:
      difference: mean of the first system minus that of the second; low, high: its interval at LEVEL.
      p: two-sided, of a difference so far from 0 if the two were alike (sign-flip test over utterances).
      utterances, seeds: that it rests on.
    """

    difference: float
    low: float
    high: float
    p: float
    utterances: int
    seeds: tuple[int, int]

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out and the test agrees: five utterances and fewer can't convince it."""
        return (self.low > 0 or self.high < 0) and self.p < 1 - LEVEL

    def sentence(self, first: str, second: str, unit: str = "points", scale: float = 100.0, less: bool = True) -> str:
        """What it says, in words: a difference counts where interval and test agree.

        Args:
          unit, scale: of the figure: an error rate is told in points, 100 of them to 1.
          less: whether less is better, as with errors.
        """
        low, high, count = (
            scale * self.low,
            scale * self.high,
            f"{self.utterances} utterance{'s'[: self.utterances > 1]}",
        )
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        if self.sure:
            winner, other = (first, second) if (self.difference < 0) == less else (second, first)
            low, high = sorted((abs(low), abs(high)))
            size = f"{scale * abs(self.difference):.2f} {unit} (95 % interval {low:.2f} to {high:.2f}, {p})"
            return f"{winner} is better than {other} by {size}."
        size = f"{scale * self.difference:+.2f} {unit}"
        if low == high:  # nothing varies, or there is but one: no interval
            return f"Can't tell {first} from {second}: {size} on {count}."
        few = f", too few for a small p: {count}" if low * high > 0 else f", {count}"
        return f"Can't tell {first} from {second}: {size} (95 % interval {low:+.2f} to {high:+.2f}, {p}{few})."


def interval(values: Float[np.ndarray, "S N"], weights: np.ndarray | None = None) -> tuple[float, float]:
    """Bootstrap-t interval at LEVEL of the mean over seeds and utterances.

    The t form (each draw divided by its own standard error) keeps its level where most utterances are without error and
    few have many, as percentiles of the bare bootstrap do not (docs/evaluation.md). Several seeds are drawn again, too.

    Args:
      values: of each seed and utterance.
      weights: of utterances, f32[N]: the figure is then sum of values / sum of weights, as a corpus-level rate is.

    Returns:
      low and high; both the mean itself where nothing varies.
    """
    sums = np.asarray(values, np.float64)
    weight = np.ones(sums.shape[1]) if weights is None else np.asarray(weights, np.float64)
    mean = sums.mean(axis=0).sum() / weight.sum()
    error = _standard_error(sums, weight, mean)
    if error == 0:
        return float(mean), float(mean)
    rng, ratios = np.random.default_rng(0), []
    seeds, count = sums.shape
    for _ in range(DRAWS // CHUNK):
        picks = rng.integers(count, size=(CHUNK, count))
        chosen = rng.integers(seeds, size=(CHUNK, seeds))
        drawn = sums[chosen[:, :, None], picks[:, None, :]]  # CHUNK, seeds, utterances
        drawn_weight = weight[picks]
        means = drawn.mean(axis=1).sum(axis=1) / drawn_weight.sum(axis=1)
        errors = _standard_error(drawn, drawn_weight, means[:, None])
        ratios.append((means - mean) / np.maximum(errors, LEAST * error))
    low, high = np.quantile(np.concatenate(ratios), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(mean - high * error), float(mean - low * error)


def _standard_error(values: np.ndarray, weight: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """Of a ratio of sums over utterances (last axis), averaged over seeds (the axis before)."""
    seeds, count = values.shape[-2:]
    residual = values.mean(axis=-2) - mean * weight
    variance = np.square(residual).sum(axis=-1) / weight.sum(axis=-1) ** 2 * count / max(1, count - 1)
    if seeds > 1:
        each = values.sum(axis=-1) / weight.sum(axis=-1)[..., None]
        variance = variance + each.var(axis=-1, ddof=1) / seeds
    return np.sqrt(variance)


def compare(first: Float[np.ndarray, "S N"], second: Float[np.ndarray, "Z N"]) -> Comparison:
    """Means over utterances of two systems, each of one or more seeds, utterance by utterance.

    Seeds of the two systems are not paired: those of each are drawn again by themselves.

    Raises:
      ValueError: other numbers of utterances.
    """
    a, b = np.atleast_2d(np.asarray(first, np.float64)), np.atleast_2d(np.asarray(second, np.float64))
    if a.shape[1] != b.shape[1] or not a.size:
        raise ValueError(f"{a.shape[1]} utterances of one system beside {b.shape[1]} of the other")
    each = a.mean(axis=0) - b.mean(axis=0)
    low, high = interval(each[None])
    between = sum(x.mean(axis=1).var(ddof=1) / len(x) for x in (a, b) if len(x) > 1)
    if between and len(each) > 1:  # seeds differ by more than their utterances tell
        within = each.var(ddof=1) / len(each)
        wider = np.sqrt(1 + between / within) if within else 1.0
        low, high = each.mean() + wider * (low - each.mean()), each.mean() + wider * (high - each.mean())
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(DRAWS, len(each)))
    extreme = np.abs(signs @ each) >= abs(each.sum()) - 1e-12
    p = (extreme.sum() + 1) / (DRAWS + 1)
    return Comparison(float(each.mean()), float(low), float(high), float(p), len(each), (len(a), len(b)))
