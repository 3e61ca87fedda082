"""What the RM hears in place of the recording, made on the device: white noise, and other speeds.

On the device because the loader would spend most of its time on it, and send every clip twice.
"""

import fractions
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from e2etts_jax import features
from e2etts_jax.types import length_mask

ZERO_CROSSINGS = 10  # of the low-pass on each side, as in scipy.signal.resample_poly
BLOCK = 128  # samples a window moves by, at most: long enough for a matrix unit, short enough to waste few products


def white_noise(
    wav: Float[Array, "B W"], wav_len: Int[Array, " B"], decibels: Float[Array, " B"], noise: Float[Array, "B W"]
) -> Float[Array, "B W"]:
    """`wav` with `noise` (of unit variance) at a signal-to-noise ratio of `decibels`, inf = none."""
    valid = length_mask(wav_len, wav.shape[1])
    power = jnp.sum(jnp.square(wav), axis=1) / jnp.maximum(wav_len, 1)
    return wav + valid * jnp.sqrt(power * 10.0 ** (-decibels / 10.0))[:, None] * noise


@functools.lru_cache
def _ratio(factor: float) -> tuple[int, int]:
    """(up, down): `up` samples are made from `down`."""
    ratio = fractions.Fraction(factor).limit_denominator(100)
    return ratio.denominator, ratio.numerator


@functools.lru_cache
def _taps(factor: float) -> tuple[int, int, np.ndarray]:
    """Polyphase resampling as a product of windows of the signal with one matrix.

    Returns:
      samples a window moves by, how many it starts before its block, and the matrix f32[window, samples made].
    """
    up, down = _ratio(factor)
    half = ZERO_CROSSINGS * max(up, down)
    low_pass = np.sinc(np.arange(-half, half + 1) / max(up, down)) * np.kaiser(2 * half + 1, 5.0)
    taps = up * low_pass / low_pass.sum()
    periods = max(BLOCK // down, 1)
    before, after = half // up, ((periods * up - 1) * down + half) // up
    at = half + down * np.arange(periods * up)[None, :] - up * np.arange(-before, after + 1)[:, None]
    inside = (at >= 0) & (at < len(taps))
    return periods * down, before, np.where(inside, taps[np.clip(at, 0, len(taps) - 1)], 0.0).astype(np.float32)


def resampled(wav: Float[Array, "B W"], factor: float) -> Float[Array, "B N"]:
    """`wav` said `factor` times as fast and as much higher, N >= W / factor; the filter is resample_poly's."""
    hop, before, matrix = _taps(factor)
    wav = jnp.pad(wav, ((0, 0), (0, -wav.shape[1] % hop)))
    windows = features.windows(wav, hop=hop, size=matrix.shape[0], before=before)
    out = jnp.matmul(windows, jnp.asarray(matrix), precision=jax.lax.Precision.HIGHEST)
    return out.reshape(wav.shape[0], -1)


def speed(
    wav: Float[Array, "B W"], wav_len: Int[Array, " B"], factors: tuple[float, ...], choice: Int[Array, " B"]
) -> tuple[Float[Array, "B W"], Int[Array, " B"]]:
    """Each row at the factor of its `choice`; as recorded where it would no longer fit into W samples.

    Returns:
      the rows and their lengths.
    """
    size, out, out_len = wav.shape[1], wav, wav_len
    for i, factor in enumerate(factors):
        if factor == 1.0:
            continue
        up, down = _ratio(factor)
        length = -(-wav_len * up // down)
        here = (choice == i) & (length <= size)
        faster = resampled(wav, factor)[:, :size]
        faster = jnp.pad(faster, ((0, 0), (0, size - faster.shape[1]))) * length_mask(length, size)
        out, out_len = jnp.where(here[:, None], faster, out), jnp.where(here, length, out_len)
    return out, out_len
