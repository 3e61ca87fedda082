"""Log-mel back to a waveform without a trained vocoder: least-squares magnitudes, then fast Griffin-Lim phases.

Follows the convention of `features`: the signal is zero outside its M * hop samples, and frame m of the mel is frame m
of the result.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from e2etts_jax.features import MelConfig, filterbank, window, windows

FRAME_BUCKET = 128  # mel lengths are padded to a multiple of this, rows to a power of two: few shapes to compile
MOMENTUM = 0.99  # of "fast Griffin-Lim", Perraudin et al. 2013
SPECTRUM_STEPS = 20


def griffin_lim(log_mel: ArrayLike, cfg: MelConfig, iters: int = 60) -> Float[np.ndarray, "B W"]:
    """Waveforms whose log-mels are close to `log_mel`; deterministic, W = M * hop.

    Rows do not influence each other. Pad short rows with `log(cfg.floor)`, which is silence, and cut the result to
    frames * hop. Compiled once per bucket of shapes.

    Args:
      log_mel: f32[B, M, F] as `features.log_mel` makes it, scale 'ln' (not normalised).
      cfg: the mel.
      iters: phase iterations.

    Raises:
      ValueError: the mel's scale is not 'ln' (a clip-relative scale has lost the level), or its shape is not [B, M, F].
    """
    if cfg.scale != "ln":
        raise ValueError(f"griffin_lim needs a mel of scale 'ln', not {cfg.scale!r}")
    given = np.asarray(log_mel, np.float32)
    if given.ndim != 3 or given.shape[2] != cfg.n_mels:
        raise ValueError(f"griffin_lim needs [B, M, {cfg.n_mels}] mels, not shape {given.shape}")
    rows, frames, _ = given.shape
    if rows == 0 or frames == 0:
        return np.zeros((rows, frames * cfg.hop), np.float32)
    mel = in_bucket(given, cfg)
    # Drawn frame by frame, so a frame starts from the same phases whatever the bucket.
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, (mel.shape[1], cfg.n_fft // 2 + 1))
    wav = _solve(mel, np.exp(1j * angle).astype(np.complex64), cfg, iters)
    return np.array(wav)[:rows, : frames * cfg.hop]


def in_bucket(log_mel: Float[np.ndarray, "B M F"], cfg: MelConfig) -> Float[np.ndarray, "B2 M2 F"]:
    """Mels in the shape that a vocoder is compiled for, silence behind them."""
    rows, frames, bins = log_mel.shape
    padded_rows, padded_frames = 1 << max(rows - 1, 0).bit_length(), -(-frames // FRAME_BUCKET) * FRAME_BUCKET
    padded = np.full((padded_rows, padded_frames, bins), np.log(cfg.floor), np.float32)
    padded[:rows, :frames] = log_mel
    return padded


@functools.partial(jax.jit, static_argnums=(2, 3))
def _solve(
    mel: Float[Array, "B M F"], phase: Complex[Array, "M bins"], cfg: MelConfig, iters: int
) -> Float[Array, "B W"]:
    audible = mel > np.log(cfg.floor) + 1e-3  # padding and floored bins are silence, not a hiss at the floor
    magnitude = _least_squares(jnp.where(audible, jnp.exp(mel), 0.0), cfg) ** (1 / cfg.power)
    norm = jnp.asarray(_window_square_sum(cfg, mel.shape[1]))
    taper = jnp.asarray(window(cfg)[None, None], jnp.float32)

    def to_wav(spectrum):
        return _overlap_add(jnp.fft.irfft(spectrum, cfg.n_fft) * taper, cfg) / norm

    def improve(state, _):
        spectrum, previous = state
        rebuilt = jnp.fft.rfft(windows(to_wav(spectrum), hop=cfg.hop, size=cfg.n_fft, before=cfg.pad) * taper)
        ahead = rebuilt + MOMENTUM / (1 + MOMENTUM) * (rebuilt - previous)
        return (magnitude * ahead / jnp.maximum(jnp.abs(ahead), 1e-12), rebuilt), None

    start = magnitude * phase[None]
    (spectrum, _), _ = jax.lax.scan(improve, (start, jnp.zeros_like(start)), length=iters)
    return to_wav(spectrum)


def _least_squares(mel: Float[Array, "B M F"], cfg: MelConfig) -> Float[Array, "B M bins"]:
    """Spectrum with this mel: non-negative least squares by multiplicative updates from the clamped pseudo-inverse."""
    filters = jnp.asarray(filterbank(cfg))
    inverse = jnp.asarray(np.linalg.pinv(filterbank(cfg).astype(np.float64)), jnp.float32)
    target = mel @ filters.T

    def update(spectrum, _):
        return spectrum * target / jnp.maximum((spectrum @ filters) @ filters.T, 1e-10), None

    return jax.lax.scan(update, jnp.maximum(mel @ inverse, 1e-6), length=SPECTRUM_STEPS)[0]


def _overlap_add(frames: Float[Array, "B M n_fft"], cfg: MelConfig) -> Float[Array, "B W"]:
    """Adjoint of `features.windows`: [B, M, n_fft] -> [B, M * hop], what falls into the zero padding is dropped."""
    rows, count, _ = frames.shape
    blocks_a_frame = -(-cfg.n_fft // cfg.hop)
    blocks = jnp.pad(frames, ((0, 0), (0, 0), (0, blocks_a_frame * cfg.hop - cfg.n_fft)))
    blocks = blocks.reshape(rows, count, blocks_a_frame, cfg.hop)
    shifted = [jnp.pad(blocks[:, :, i], ((0, 0), (i, blocks_a_frame - 1 - i), (0, 0))) for i in range(blocks_a_frame)]
    return functools.reduce(jnp.add, shifted).reshape(rows, -1)[:, cfg.pad : cfg.pad + count * cfg.hop]


@functools.lru_cache
def _window_square_sum(cfg: MelConfig, frames: int) -> np.ndarray:
    """Sum of the squared windows over each sample, f32[1, frames * hop]."""
    total = np.zeros((frames - 1) * cfg.hop + cfg.n_fft)
    for start in range(0, frames * cfg.hop, cfg.hop):
        total[start : start + cfg.n_fft] += window(cfg) ** 2
    return np.maximum(total[None, cfg.pad : cfg.pad + frames * cfg.hop], 1e-3).astype(np.float32)
