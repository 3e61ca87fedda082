"""How much of the codebook is in use, and how much one token tells about the next."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class TokenStatistics:
    """Plain counts and entropies in bits.

    Plug-in entropies take relative frequencies for probabilities. Entropy then comes out too low; mutual information,
    which needs the table of pairs, far too high as long as there are fewer tokens than pairs of codes in use: even
    independent tokens seem to tell about each other. `mutual_shuffled` is what the same tokens give in random order,
    where the truth is 0: read `mutual` against it. `_mm` has the first-order (Miller-Madow) correction; it is far too
    small for such tables, but shows the direction.
    """

    tokens: int
    pairs: int
    codes: int  # size of the codebook
    distinct: int
    perplexity: float
    entropy: float
    entropy_mm: float
    entropy_max: float
    mutual: float  # I(X_{n+1}; X_n)
    mutual_mm: float
    mutual_shuffled: float


def token_statistics(sequences: Sequence[Sequence[int]], codes: int) -> TokenStatistics:
    """Statistics over all tokens, and over all pairs of neighbours inside one clip.

    Raises:
      ValueError: no tokens, or an id outside 0..codes-1.
    """
    clips = [np.asarray(ids, np.int64).ravel() for ids in sequences]
    flat = np.concatenate(clips) if clips else np.zeros(0, np.int64)
    if flat.size == 0:
        raise ValueError("no tokens to count")
    if flat.min() < 0 or flat.max() >= codes:
        raise ValueError(f"token ids {flat.min()}..{flat.max()} do not fit a codebook of {codes}")
    first = np.concatenate([ids[:-1] for ids in clips])
    second = np.concatenate([ids[1:] for ids in clips])
    entropy, entropy_mm = _entropy(flat)
    mutual, mutual_mm = _mutual(first, second, codes)
    shuffled, _ = _mutual(first, np.random.default_rng(0).permutation(second), codes)
    return TokenStatistics(
        tokens=int(flat.size),
        pairs=int(first.size),
        codes=codes,
        distinct=int(np.unique(flat).size),
        perplexity=float(2**entropy),
        entropy=entropy,
        entropy_mm=entropy_mm,
        entropy_max=float(np.log2(codes)),
        mutual=mutual,
        mutual_mm=mutual_mm,
        mutual_shuffled=shuffled,
    )


def _entropy(symbols: np.ndarray) -> tuple[float, float]:
    """Plug-in and Miller-Madow entropy in bits; 0 for no symbols."""
    if symbols.size == 0:
        return 0.0, 0.0
    counts = np.unique(symbols, return_counts=True)[1]
    p = counts / symbols.size
    plug_in = float(-(p * np.log2(p)).sum())
    return abs(plug_in), plug_in + (counts.size - 1) / (2 * symbols.size * np.log(2))


def _mutual(first: np.ndarray, second: np.ndarray, codes: int) -> tuple[float, float]:
    """I = H(first) + H(second) - H(pair), plug-in and with corrected entropies."""
    parts = [_entropy(first), _entropy(second), _entropy(first * codes + second)]
    plug_in, corrected = (a + b - c for a, b, c in zip(*parts, strict=True))
    return max(plug_in, 0.0), corrected
