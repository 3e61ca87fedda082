"""Bucket bounds that pad least."""

import numpy as np


def histogram(lengths: np.ndarray) -> np.ndarray:
    """i64[longest + 1]: how many clips have each length; `lengths` i64[N], in tokens."""
    return np.bincount(lengths)


def best_bounds(counts: np.ndarray, k: int) -> tuple[tuple[int, ...], float]:
    """The at most `k` bucket bounds that pad least, when every clip is padded to the bound of its bucket.

    Args:
      counts: i64[L + 1], how many clips have each length.
      k: buckets, 1 or more.

    Returns:
      The bounds in rising order, the last one the longest length, and the share of the padded area that is padding.

    Raises:
      ValueError: no clip, or k below 1.
    """
    lengths = np.flatnonzero(counts)
    if not len(lengths) or k < 1:
        raise ValueError(f"{len(lengths)} different lengths cannot go into {k} buckets")
    numbers = counts[lengths].astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(numbers)])  # clips shorter than length i
    # cost[i]: least padded area of lengths 0..i-1 with the buckets so far; cut[b][i]: where the last one begins
    cost = np.concatenate([[0.0], below[1:] * lengths])
    cuts = [np.zeros(len(lengths) + 1, np.int64)]
    for _ in range(min(k, len(lengths)) - 1):
        nxt, cut = cost.copy(), np.zeros(len(lengths) + 1, np.int64)
        for i in range(1, len(lengths) + 1):
            area = cost[:i] + (below[i] - below[:i]) * lengths[i - 1]
            cut[i] = int(np.argmin(area))
            nxt[i] = area[cut[i]]
        cost = nxt
        cuts.append(cut)
    bounds, end = [], len(lengths)
    for cut in reversed(cuts):
        if end:
            bounds.append(int(lengths[end - 1]))
            end = int(cut[end])
    total = float((numbers * lengths).sum())
    return tuple(reversed(bounds)), 1 - total / cost[-1] if cost[-1] else 0.0
