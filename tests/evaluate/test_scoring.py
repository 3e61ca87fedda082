"""Error rates counted by hand, and intervals against closed forms."""

import numpy as np
import pytest

from e2etts_jax.evaluate.protocol import english
from e2etts_jax.evaluate.scoring import Edit, Score, alignment, score


def counted(errors: np.ndarray, tokens: int) -> Score:
    """A score of substitutions alone."""
    none = np.zeros_like(errors)
    return Score(errors, none, none, np.full(len(errors), tokens))


def test_counts_by_hand():
    references = ["five five five one two one two", "nineteen dollars", "a b c"]
    hypotheses = ["555-1213!", "$19", ""]
    result = score(references, hypotheses)
    assert result.errors.tolist() == [1, 0, 3] and result.tokens.tolist() == [7, 3, 3]
    assert result.substitutions.tolist() == [1, 0, 0] and result.deletions.tolist() == [0, 0, 3]
    assert result.of([2, 0]).errors.tolist() == [3, 1] and result.of(np.array([True, False, False])).rate == 1 / 7
    assert result.rate == pytest.approx(4 / 13)
    assert result.utterance_rate == pytest.approx((1 / 7 + 0 + 1) / 3)


def test_insertions_may_exceed_the_reference():
    assert score(["one"], ["1 1 1 1"]).rate == 3.0


def test_interval_is_near_the_normal_one():
    errors = (np.random.default_rng(1).random(400) < 0.2).astype(int)
    result = counted(errors, 1)
    low, high = result.interval()
    half = 1.96 * np.sqrt(result.rate * (1 - result.rate) / 400)
    assert low == pytest.approx(result.rate - half, abs=0.008) and high == pytest.approx(result.rate + half, abs=0.008)
    assert result.interval() == (low, high)


def test_difference_is_paired():
    floor = np.random.default_rng(2).integers(0, 5, 60)
    worse = counted(floor + 1, 8)
    difference, low, high = worse.above(counted(floor, 8))
    assert difference == pytest.approx(1 / 8) and low == pytest.approx(1 / 8) and high == pytest.approx(1 / 8)


def test_alignment_by_hand():
    assert alignment("The cat sat down.", "a cat sat sat", english) == [
        Edit("substitute", "the", "a"),
        Edit("equal", "cat sat", "cat sat"),
        Edit("substitute", "down", "sat"),
    ]
    assert alignment("one two", "", english) == [Edit("delete", "one two", "")]
    assert alignment("one", "one two three", english) == [Edit("equal", "one", "one"), Edit("insert", "", "two three")]


def test_bad_input():
    with pytest.raises(ValueError, match="2 references for 1"):
        score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 references"):
        score([], [])
    with pytest.raises(ValueError, match=r"reference 1 \('\.\.'\) has no words"):
        score(["a", ".."], ["a", "b"])
