"""Rows of any length in a few compiled shapes: batches of one or `BATCH`, speech padded to the lengths of `padded`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from e2etts_jax.rng import Streams

BATCH = 16
SHORTEST = 64  # tokens of the shortest padded length


def padded(tokens: int) -> int:
    """The length that `tokens` are padded to: 64, 96, 128, 192, 256, ..., so few programs are compiled."""
    size = SHORTEST
    while size < tokens:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def in_batches(
    lengths: Sequence[int],
    run: Callable[[list[int], int, int], list],
    *,
    pad: Callable[[int], int] = padded,
    bar: str = "",
) -> list:
    """Results of `run(rows, batch size, padded length)` on rows of one padded length, in the order of `lengths`.

    With `bar`, a terminal shows how many are done.
    """
    size = 1 if len(lengths) == 1 else BATCH
    results: list[Any] = [None] * len(lengths)
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    with tqdm(total=len(lengths), desc=bar, leave=False, disable=None if bar else True) as done:
        for length in sorted({pad(n) for n in lengths}):
            group = [row for row in order if pad(lengths[row]) == length]
            for at in range(0, len(group), size):
                rows = group[at : at + size]
                for row, result in zip(rows, run(rows, size, length), strict=True):
                    results[row] = result
                done.update(len(rows))
    return results


def stack(
    rows: Sequence[Sequence | np.ndarray], size: int, length: int, dtype: type = np.int32
) -> tuple[np.ndarray, Int[np.ndarray, " B"]]:
    """Rows as one zero padded array [size, length], and their lengths; missing rows are empty."""
    out: np.ndarray = np.zeros((size, length), dtype)
    lengths = np.zeros(size, np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)], lengths[i] = row, len(row)
    return out, lengths


def row_streams(seed: int, rows: list[int], size: int) -> Streams:
    """The randomness of some rows; filler rows share that of row 0."""
    return Streams(jax.random.key(seed), jnp.asarray(rows + [0] * (size - len(rows)), jnp.int32))


def collapse(frames: Int[np.ndarray, " N"]) -> list[int]:
    """CTC's reading of a path: repeats merged, then blanks (0) dropped."""
    fresh = np.diff(frames, prepend=0) != 0
    return frames[fresh & (frames != 0)].tolist()
