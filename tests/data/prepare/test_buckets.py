"""The bucket bounds that pad least, against all there are."""

import itertools

import numpy as np
import pytest

from e2etts_jax.data.prepare import buckets


def padding(lengths: np.ndarray, bounds: tuple[int, ...]) -> float:
    padded = sum(min(b for b in bounds if b >= n) for n in lengths)
    return 1 - lengths.sum() / padded


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_no_other_bounds_pad_less(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 14, size=int(rng.integers(1, 40)))
    bounds, share = buckets.best_bounds(buckets.histogram(lengths), k)
    assert len(bounds) <= k and bounds[-1] == lengths.max() and list(bounds) == sorted(set(bounds))
    assert share == pytest.approx(padding(lengths, bounds))
    distinct = sorted(set(lengths.tolist()))
    best = min(
        padding(lengths, (*some, distinct[-1]))
        for n in range(min(k, len(distinct)))
        for some in itertools.combinations(distinct[:-1], n)
    )
    assert share == pytest.approx(best)


def test_enough_buckets_pad_nothing() -> None:
    assert buckets.best_bounds(np.array([0, 5, 0, 2, 1]), 8) == ((1, 3, 4), 0.0)


def test_no_clips() -> None:
    with pytest.raises(ValueError, match="0 different lengths"):
        buckets.best_bounds(np.zeros(4, np.int64), 2)
