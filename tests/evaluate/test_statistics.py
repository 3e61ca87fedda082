"""Intervals that hold what they promise, and tests that find what is there and nothing else."""

import numpy as np
import pytest

from e2etts_jax.evaluate import statistics
from e2etts_jax.evaluate.statistics import Comparison, compare, interval


def utterances(rng: np.random.Generator, size: int, rate: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Errors and tokens of sentences of which some are hard and most are not, as recognisers find them."""
    tokens = rng.integers(4, 20, size)
    hard = rng.beta(0.5, 0.5 / rate - 0.5, size)
    return rng.binomial(tokens, hard), tokens


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_an_interval_of_95_per_cent_covers_the_truth_as_often(monkeypatch: pytest.MonkeyPatch, weighted: bool):
    """1000 samples of 200 sentences of true rate 0.1 (mean and ratio alike, as lengths tell nothing of errors)."""
    monkeypatch.setattr(statistics, "DRAWS", 1000)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        errors, tokens = utterances(rng, 200)
        low, high = interval(errors[None], tokens) if weighted else interval((errors / tokens)[None])
        covered += low <= 0.1 <= high
    assert 0.93 <= covered / 1000 <= 0.97


def systems(rng: np.random.Generator, size: int, worse_by: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates of two systems on the same sentences: 4 % of errors that both make, 2 % of their own, the first more."""
    both, tokens = utterances(rng, size, 0.04)
    made = [both + rng.binomial(tokens - both, own) for own in (0.02 + worse_by / 0.96, 0.02)]
    return made[0] / tokens, made[1] / tokens


@pytest.mark.slow
def test_a_planted_point_is_found_and_a_planted_zero_is_not(monkeypatch: pytest.MonkeyPatch):
    """On 1000 sentences, in 100 worlds each; of the zeros, five are to be found by chance."""
    monkeypatch.setattr(statistics, "DRAWS", 1000)
    rng = np.random.default_rng(1)
    found = {gap: [compare(*systems(rng, 1000, gap)) for _ in range(100)] for gap in (0.01, 0.0)}
    assert sum(c.sure and c.difference > 0 for c in found[0.01]) >= 95
    assert sum(c.p < 0.05 for c in found[0.01]) >= 95
    assert sum(c.sure for c in found[0.0]) <= 11 and sum(c.p < 0.05 for c in found[0.0]) <= 11


def test_the_interval_of_a_mean_is_the_normal_one_where_that_is_true():
    values = np.random.default_rng(2).standard_normal(500) + 3
    low, high = interval(values[None])
    half = 1.96 * values.std(ddof=1) / np.sqrt(500)
    assert low == pytest.approx(values.mean() - half, abs=0.01) and high == pytest.approx(
        values.mean() + half, abs=0.01
    )
    assert interval(np.full((1, 9), 0.25)) == (0.25, 0.25)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    base = rng.standard_normal(200)
    alike, apart = np.stack([base, base, base]), np.stack([base - 0.5, base, base + 0.5])
    assert np.diff(interval(apart))[0] > 2 * np.diff(interval(alike))[0]
    other = rng.standard_normal(200)
    sure, unsure = compare(alike + 0.4, other), compare(apart + 0.4, other)
    assert unsure.high - unsure.low > 2 * (sure.high - sure.low) and sure.seeds == (3, 1)


def test_sentences():
    better = Comparison(-0.012, -0.02, -0.004, 0.01, 500, (1, 1))
    assert better.sentence("A", "B") == "A is better than B by 1.20 points (95 % interval 0.40 to 2.00, p = 0.010)."
    assert better.sentence("A", "B", less=False).startswith("B is better than A by 1.20")
    worse = Comparison(0.012, 0.004, 0.02, 0.01, 500, (1, 1))
    assert worse.sentence("A", "B") == "B is better than A by 1.20 points (95 % interval 0.40 to 2.00, p = 0.010)."
    open_ = Comparison(0.003, -0.002, 0.008, 0.3, 500, (1, 1))
    says = "Can't tell A from B: +0.30 points (95 % interval -0.20 to +0.80, p = 0.300, 500 utterances)."
    assert open_.sentence("A", "B") == says
    mos = Comparison(0.31, 0.2, 0.42, 0.0004, 50, (1, 1))
    assert mos.sentence("A", "B", "of DistillMOS", 1.0, less=False) == (
        "A is better than B by 0.31 of DistillMOS (95 % interval 0.20 to 0.42, p < 0.001)."
    )


def test_a_handful_of_utterances_proves_nothing():
    """However alike their differences are: three signs agree by chance in one of four worlds."""
    few, more = (compare(np.zeros(n), -1.0 - 0.01 * np.arange(n)) for n in (3, 12))
    assert few.low > 0 and not few.sure and more.sure
    assert "too few for a small p: 3 utterances" in few.sentence("A", "B") and more.sentence("A", "B").startswith(
        "B is better"
    )


def test_one_utterance_has_no_interval():
    one = compare(np.array([[0.5], [0.7]]), np.zeros((1, 1)))
    assert not one.sure and one.low == one.high == pytest.approx(0.6)
    assert one.sentence("A", "B") == "Can't tell A from B: +60.00 points on 1 utterance."


def test_systems_of_other_lengths_are_not_compared():
    with pytest.raises(ValueError, match="3 utterances of one system beside 2"):
        compare(np.zeros(3), np.zeros(2))
