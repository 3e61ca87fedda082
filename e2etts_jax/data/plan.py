"""Which clips make up which batch. A batch is one item, so that the position in the data is one integer."""

import bisect
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

ENDLESS = 2**40  # batches: "repeat" without an end

Rows = tuple[int, list[int]]  # the bucket, and for every row of the global batch its clip (-1 = filler)


class TrainPlan:
    """Which clips are in batch `i`, for ever.

    Every bucket is an endless stream of its clips, each epoch in a new order, cut into batches: in every epoch each
    clip comes exactly once, and no batch is ever short. Cycle `e` holds the batches of all buckets that end in
    epoch `e`, the buckets interleaved at random.
    """

    def __init__(self, buckets: list[np.ndarray], batch_size: int, seed: int, shuffle: bool) -> None:
        self._buckets = [(b, ids) for b, ids in enumerate(buckets) if len(ids)]
        self._batch, self._seed, self._shuffle = batch_size, seed, shuffle
        self._memo: dict[tuple[str, int, int], Any] = {}  # the orders and cycles in use

    def __len__(self) -> int:
        return ENDLESS

    def __repr__(self) -> str:
        return f"TrainPlan({sum(len(ids) for _, ids in self._buckets)} clips, batch {self._batch}, seed {self._seed})"

    def __getitem__(self, step: int) -> Rows:
        cycle = bisect.bisect_right(range(ENDLESS), step, key=self._before) - 1
        bucket, ids, number = self._recall(("cycle", cycle, 0), functools.partial(self._cycle, cycle))[
            step - self._before(cycle)
        ]
        rows = []
        for place in range(number * self._batch, (number + 1) * self._batch):
            epoch, i = divmod(place, len(ids))
            order = self._recall(("order", epoch, bucket), functools.partial(self._order, bucket, ids, epoch))
            rows.append(int(order[i]))
        return bucket, rows

    def _recall(self, key: tuple[str, int, int], make: Callable[[], Any]) -> Any:
        value = self._memo.get(key)
        if value is None:
            if len(self._memo) > 8 * len(self._buckets):
                self._memo.clear()
            value = self._memo[key] = make()
        return value

    def _before(self, cycle: int) -> int:
        """Batches in all cycles before `cycle`."""
        return sum(cycle * len(ids) // self._batch for _, ids in self._buckets)

    def _cycle(self, cycle: int) -> list[tuple[int, np.ndarray, int]]:
        """Bucket, its clips and the number of the batch in the bucket's stream; streams interleaved at random."""
        streams = {
            bucket: range(cycle * len(ids) // self._batch, (cycle + 1) * len(ids) // self._batch)
            for bucket, ids in self._buckets
        }
        clips = dict(self._buckets)
        turns = [bucket for bucket, numbers in streams.items() for _ in numbers]
        if self._shuffle:
            np.random.default_rng([self._seed, cycle, 0]).shuffle(turns)
        number = {bucket: iter(numbers) for bucket, numbers in streams.items()}
        return [(bucket, clips[bucket], next(number[bucket])) for bucket in turns]

    def _order(self, bucket: int, ids: np.ndarray, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch, 1 + bucket]).permutation(ids) if self._shuffle else ids


class EvalPlan:
    """Each clip once, in order, bucket by bucket; the last batch of a bucket is filled up with filler rows."""

    def __init__(self, buckets: list[np.ndarray], batch_size: int) -> None:
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
        return self._batches[i]
