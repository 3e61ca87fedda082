"""Which clips make up which batch. A batch is one item, so that the position in the data is one integer.

Everything is computed from the step alone, large permutations item by item, so that a plan over a hundred million clips
costs no more memory than the list of its clips.
"""

import bisect
import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from grain.experimental import index_shuffle

ENDLESS = 2**40  # batches: "repeat" without an end
STORED = 2**16  # items of an order that is made at once: the cipher behind index_shuffle is slow on few


class Rows(NamedTuple):
    """What one global batch holds: `clips` has one clip for every row, -1 = filler."""

    step: int
    bucket: int
    clips: list[int]


@functools.lru_cache(maxsize=4096)
def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


@functools.lru_cache(maxsize=512)
def _permutation(size: int, *purpose: int) -> np.ndarray:
    return np.random.default_rng(purpose).permutation(size).astype(np.uint16)


def shuffled(i: int, size: int, *purpose: int) -> int:
    """Where item `i` of `size` stands in the random order that belongs to the numbers `purpose`."""
    if size <= STORED:
        return int(_permutation(size, *purpose)[i])
    return index_shuffle(i, size - 1, _seed(*purpose), 4)


class TrainPlan:
    """Which clips are in batch `i`, for ever.

    A corpus in a bucket is an endless stream of its clips, each epoch in a new order. A cycle takes the same share of
    an epoch from every stream of a corpus; what it takes from all corpora in a bucket is mixed at random, and the
    buckets' streams are cut into batches, none of them short. Cycle `e` holds the batches of all buckets that end in
    it, the buckets interleaved at random. With one corpus a cycle is an epoch, in which each clip comes exactly once.

    Args:
      buckets: for every bucket and corpus, its clips.
      batch_size: rows of a batch.
      seed: of all orders.
      shuffle: else streams keep the stored order, and the buckets follow each other.
      shares: by corpus, its share of all clips drawn; None = a cycle is one epoch of every corpus.
    """

    def __init__(
        self,
        buckets: Sequence[Sequence[np.ndarray]],
        batch_size: int,
        seed: int,
        shuffle: bool,
        shares: Sequence[Fraction] | None = None,
    ) -> None:
        self._batch, self._seed, self._shuffle = batch_size, seed, shuffle
        sizes = [sum(len(parts[c]) for parts in buckets) for c in range(len(buckets[0]))]
        self._clips = sum(sizes)
        passes = [Fraction(1)] * len(sizes)  # epochs of each corpus in a cycle
        if shares is not None:
            whole = sum(share for share, size in zip(shares, sizes, strict=True) if size)
            passes = [s * self._clips / (whole * n) if n else Fraction(0) for s, n in zip(shares, sizes, strict=True)]
        # a cycle takes size * rate // unit clips of a stream: whole numbers, exact however long the run
        self._unit = math.lcm(*(p.denominator for p in passes))
        rates = [int(p * self._unit) for p in passes]
        self._streams = {
            b: [(c, ids, rates[c]) for c, ids in enumerate(parts) if len(ids)]
            for b, parts in enumerate(buckets)
            if any(map(len, parts))
        }
        self._memo: dict[int, np.ndarray] = {}  # turns of the cycles in use

    def __len__(self) -> int:
        return ENDLESS

    def __repr__(self) -> str:
        return f"TrainPlan({self._clips} clips, batch {self._batch}, seed {self._seed})"

    def __getitem__(self, step: int) -> Rows:
        cycle = bisect.bisect_right(range(ENDLESS), step, key=self._before) - 1
        turns, place = self._turns(cycle), step - self._before(cycle)
        bucket = int(turns[place])
        number = self._taken(bucket, cycle) // self._batch + np.count_nonzero(turns[:place] == bucket)
        return Rows(step, bucket, self._rows(bucket, int(number) * self._batch))

    def _turns(self, cycle: int) -> np.ndarray:
        """u8, the bucket of every batch of a cycle: random, but each bucket's own batches keep their order."""
        turns = self._memo.get(cycle)
        if turns is None:
            counts = [
                self._taken(bucket, cycle + 1) // self._batch - self._taken(bucket, cycle) // self._batch
                for bucket in self._streams
            ]
            turns = np.repeat(np.array(list(self._streams), np.uint8), counts)
            if self._shuffle:
                np.random.default_rng([self._seed, cycle, 0]).shuffle(turns)
            if len(self._memo) > 3:
                self._memo.clear()
            self._memo[cycle] = turns
        return turns

    def _rows(self, bucket: int, first: int) -> list[int]:
        """The clips at `first` and after in the bucket's stream."""
        rate = sum(len(ids) * rate for _, ids, rate in self._streams[bucket])
        cycle, rows = first * self._unit // rate, []  # streams round down: never too late, and rarely too early
        for place in range(first, first + self._batch):
            while self._taken(bucket, cycle + 1) <= place:
                cycle += 1
            rows.append(self._clip(bucket, cycle, place - self._taken(bucket, cycle)))
        return rows

    def _clip(self, bucket: int, cycle: int, place: int) -> int:
        streams = self._streams[bucket]
        if len(streams) > 1:
            place = self._mixed(place, self._taken(bucket, cycle + 1) - self._taken(bucket, cycle), cycle, 1, bucket)
        for corpus, ids, rate in streams:
            first = cycle * len(ids) * rate // self._unit
            count = (cycle + 1) * len(ids) * rate // self._unit - first
            if place < count:
                epoch, i = divmod(first + place, len(ids))
                return int(ids[self._mixed(i, len(ids), epoch, 2, bucket, corpus)])
            place -= count
        raise AssertionError("a cycle takes as many clips as its streams give")

    def _mixed(self, i: int, size: int, *purpose: int) -> int:
        return shuffled(i, size, self._seed, *purpose) if self._shuffle else i

    def _taken(self, bucket: int, cycle: int) -> int:
        """Clips of the bucket's stream in all cycles before `cycle`."""
        return sum(cycle * len(ids) * rate // self._unit for _, ids, rate in self._streams[bucket])

    def _before(self, cycle: int) -> int:
        """Batches in all cycles before `cycle`."""
        return sum(self._taken(bucket, cycle) // self._batch for bucket in self._streams)


class EvalPlan:
    """Each clip once, in order, bucket by bucket; the last batch of a bucket is filled up with filler rows."""

    def __init__(self, buckets: Sequence[np.ndarray], batch_size: int) -> None:
        self._batches = [
            (b, ids[i : i + batch_size].tolist() + [-1] * max(0, i + batch_size - len(ids)))
            for b, ids in enumerate(buckets)
            for i in range(0, len(ids), batch_size)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __repr__(self) -> str:
        return f"EvalPlan({len(self)} batches)"

    def __getitem__(self, i: int) -> Rows:
        return Rows(i, *self._batches[i])
