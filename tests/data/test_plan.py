"""The plan of training: exact epochs over any buckets and corpora, from the step alone."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from e2etts_jax.data import plan
from e2etts_jax.data.plan import TrainPlan


def random_buckets(rng: np.random.Generator, corpora: int) -> list[list[np.ndarray]]:
    """Clips numbered through, in 1 to 4 buckets, some of them empty."""
    count, at, buckets = int(rng.integers(1, 5)), 0, []
    for _ in range(count):
        parts = []
        for _ in range(corpora):
            size = int(rng.integers(0, 40)) * int(rng.random() < 0.8)
            parts.append(np.arange(at, at + size))
            at += size
        buckets.append(parts)
    buckets[0][0] = np.arange(at, at + 5)  # never wholly empty
    return buckets


@pytest.mark.parametrize("stored", [2**16, 0], ids=["listed", "ciphered"])
@pytest.mark.parametrize("seed", range(8))
def test_each_clip_comes_once_an_epoch(seed: int, stored: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan, "STORED", max(stored, 1) if stored else 1)
    rng = np.random.default_rng(seed)
    buckets = random_buckets(rng, 1)
    batch, epochs = int(rng.integers(1, 9)), 4
    made, streams = TrainPlan(buckets, batch, seed, True), {}
    clips = sum(len(parts[0]) for parts in buckets)
    for step in range(clips * epochs // batch + 1):
        rows = made[step]
        assert rows.step == step and len(rows.clips) == batch
        assert set(rows.clips) <= set(buckets[rows.bucket][0].tolist()), "clips are in their bucket"
        streams.setdefault(rows.bucket, []).extend(rows.clips)
    orders = set()
    for bucket, served in streams.items():
        ids = buckets[bucket][0].tolist()
        for epoch in range(len(served) // len(ids)):
            order = tuple(served[epoch * len(ids) : (epoch + 1) * len(ids)])
            assert sorted(order) == ids, "every clip of the bucket, once"
            orders.add(order if len(ids) > 5 else (epoch, bucket))
    total = sum(len(served) // len(buckets[b][0]) for b, served in streams.items())
    assert len(orders) == total > 0, "a new order in every epoch"


@pytest.mark.parametrize("seed", range(6))
def test_a_mixture_draws_its_shares_and_each_corpus_goes_by_epochs(seed: int):
    rng = np.random.default_rng(seed)
    buckets = random_buckets(rng, 3)
    buckets[0][1], buckets[-1][2] = np.arange(1000, 1030), np.arange(2000, 2007)
    weights = [Fraction(int(w), 7) for w in rng.integers(1, 6, 3)]
    sizes = [sum(len(parts[c]) for parts in buckets) for c in range(3)]
    made, batch = TrainPlan(buckets, 4, seed, True, weights), 4
    corpus_of = {int(i): c for parts in buckets for c, ids in enumerate(parts) for i in ids}
    steps = 30 * sum(sizes)
    counts = Counter(i for step in range(steps) for i in made[step].clips)
    drawn = [sum(n for i, n in counts.items() if corpus_of[i] == c) for c in range(3)]
    for c in range(3):
        assert drawn[c] / (steps * batch) == pytest.approx(float(weights[c] / sum(weights)), abs=0.01)
        own = [counts[i] for i in corpus_of if corpus_of[i] == c]
        passes = drawn[c] / sizes[c]
        assert max(own) - min(own) <= 2 + 0.05 * passes, "no clip of a corpus is favoured"


def test_a_mixture_in_its_own_proportions_is_one_epoch():
    buckets = [[np.arange(12), np.arange(100, 105)]]
    for shares in (None, [Fraction(12), Fraction(5)]):
        made = TrainPlan(buckets, 17, 0, True, shares)
        for epoch in range(3):
            assert sorted(made[epoch].clips) == [*range(12), *range(100, 105)]
        assert made[0].clips != made[1].clips and made[0].clips != sorted(made[0].clips), (
            "mixed, not one after the other"
        )


def test_any_step_can_be_asked_for_first():
    buckets = random_buckets(np.random.default_rng(3), 2)
    asked = [7, 10**12, 0, 123_456, 6]
    whole = TrainPlan(buckets, 3, 5, True, [Fraction(1, 3), Fraction(2, 3)])
    expected = {step: whole[step] for step in sorted(asked)}
    other = TrainPlan(buckets, 3, 5, True, [Fraction(1, 3), Fraction(2, 3)])
    assert {step: other[step] for step in asked} == expected
    assert TrainPlan(buckets, 3, 6, True)[0].clips != TrainPlan(buckets, 3, 5, True)[0].clips


def test_buckets_take_turns_at_random():
    made = TrainPlan([[np.arange(400)], [np.arange(400, 800)]], 4, 0, True)
    turns = [made[step].bucket for step in range(200)]
    assert sum(turns) == 100
    changes = sum(a != b for a, b in zip(turns[:-1], turns[1:], strict=True))
    assert 70 < changes < 130, "not one bucket after the other, not in turn"


@pytest.mark.parametrize("size", [5, 1000, 70_000, 3_000_000])
def test_a_random_order_is_a_permutation(size: int):
    some = range(0, size, max(1, size // 3000))
    places = [plan.shuffled(i, size, 1, 2) for i in some]
    assert len(set(places)) == len(places) and min(places) >= 0 and max(places) < size
    if size <= 70_000:
        assert sorted(plan.shuffled(i, size, 1, 2) for i in range(size)) == list(range(size))
    if size >= 1000:
        assert places != [plan.shuffled(i, size, 1, 3) for i in some]
        assert abs(np.corrcoef(list(some), places)[0, 1]) < 0.1
