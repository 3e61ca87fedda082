"""Waveform to log-mel, on the device, equal to librosa's.

Signals are zero padded by `(n_fft - hop) / 2` on both sides, so W samples give exactly W / hop frames and the padding
of a batch continues the padding of a clip: a clip's own frames do not depend on how far its row was padded.

The transform is one matrix product with a windowed DFT basis, cut at the highest bin that a filter reads: the fast path
on a TPU, and unlike an FFT it is partitioned over a mesh. CPUs take an FFT, which there is two to three times as fast.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Array, Float, Int

SCALES = ("ln", "log10_whisper")
WHISPER_RANGE = 8.0  # decades kept below the loudest bin of the clip
TINY_POWER = 1e-30  # below this the square root is taken as 0, so that its gradient stays finite


@dataclasses.dataclass(frozen=True)
class MelConfig:
    """How a mel is made. Hashable, so it can be a static argument; the defaults are HiFi-GAN's at 22.05 kHz.

    `power` is the exponent on the magnitude (1 = magnitude, 2 = power) and `floor` the least mel value before the
    logarithm. Scale 'ln' is the natural logarithm; 'log10_whisper' is log10, cut 8 decades below the loudest bin of the
    clip, then (x + 4) / 4 (Whisper and S3 tokenizers use it with power 2 and floor 1e-10). `mean` and `std` are
    those of the log-mel, used by `normalize` and `denormalize` only.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    win: int = 1024
    hop: int = 256
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0
    power: float = 1.0
    scale: str = "ln"
    floor: float = 1e-5
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"mel scale {self.scale!r} is unknown; choose one of {', '.join(SCALES)}")
        if (self.n_fft - self.hop) % 2 or not 0 < self.hop <= self.n_fft:
            raise ValueError(f"n_fft {self.n_fft} - hop {self.hop} must be even and hop in 1..n_fft")
        if not 0 < self.win <= self.n_fft:
            raise ValueError(f"win {self.win} must be in 1..n_fft ({self.n_fft})")
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(f"need 0 <= fmin {self.fmin} < fmax {self.fmax} <= half of {self.sample_rate} Hz")
        if self.power not in (1.0, 2.0) or self.floor <= 0 or self.std <= 0:
            raise ValueError(f"need power 1 or 2, floor > 0, std > 0; got {self.power}, {self.floor}, {self.std}")

    @property
    def pad(self) -> int:
        """Zeros added on each side of the signal."""
        return (self.n_fft - self.hop) // 2


@functools.lru_cache
def filterbank(cfg: MelConfig) -> np.ndarray:
    """Slaney mel filters, f32[n_fft / 2 + 1, n_mels]."""
    filters = librosa.filters.mel(
        sr=cfg.sample_rate, n_fft=cfg.n_fft, n_mels=cfg.n_mels, fmin=cfg.fmin, fmax=cfg.fmax, dtype=np.float64
    )
    return np.ascontiguousarray(filters.T, dtype=np.float32)


@functools.lru_cache
def window(cfg: MelConfig) -> np.ndarray:
    """Periodic Hann window of `win` samples, centred in f64[n_fft]."""
    return librosa.util.pad_center(librosa.filters.get_window("hann", cfg.win), size=cfg.n_fft)


@functools.lru_cache
def _dft_basis(cfg: MelConfig, every: bool = False) -> np.ndarray:
    """Windowed cosines, then sines, of the bins that some filter reads, or of all: f32[n_fft, 2 * bins]."""
    bins = cfg.n_fft // 2 + 1 if every else int(np.flatnonzero(filterbank(cfg).any(axis=1)).max()) + 1
    # k * n modulo n_fft is exact in integers, so the angles stay small and the basis keeps its last digit.
    angle = 2 * np.pi / cfg.n_fft * (np.outer(np.arange(cfg.n_fft), np.arange(bins)) % cfg.n_fft)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * window(cfg)[:, None]


def waveform(wav: Float[Array, "B W"] | Int[Array, "B W"]) -> Float[Array, "B W"]:
    """Samples in [-1, 1], float32; int16, as batches travel to the device, is scaled by 1 / 32768."""
    return wav.astype(jnp.float32) / np.float32(32768) if wav.dtype == jnp.int16 else wav.astype(jnp.float32)


def windows(wav: Float[Array, "B W"], *, hop: int, size: int, before: int) -> Float[Array, "B N size"]:
    """Overlapping windows of the zero-padded signal, N = W / hop: window n starts at sample n hop - before.

    As slices of blocks: no gather, no scatter.

    Raises:
      ValueError: W is no multiple of the hop.
    """
    samples = wav.shape[1]
    if samples % hop:
        raise ValueError(f"{samples} samples are no multiple of hop {hop}; pad the waveform with zeros")
    count, blocks_a_window = samples // hop, -(-size // hop)
    total = (count + blocks_a_window - 1) * hop
    right = total - samples - before  # whole blocks: never reads more than the windows need
    blocks = jnp.pad(wav, ((0, 0), (before, max(right, 0))))[:, :total].reshape(wav.shape[0], -1, hop)
    shifted = [blocks[:, i : i + count] for i in range(blocks_a_window)]
    return jnp.concatenate(shifted, axis=-1)[..., :size]


def power_by_matmul(frames: Float[Array, "B M n_fft"], cfg: MelConfig, every: bool = False) -> Float[Array, "B M bins"]:
    """Power spectrum of the bins that some filter reads, or of all, as a product with the DFT basis."""
    basis = jnp.asarray(_dft_basis(cfg, every), jnp.float32)
    re, im = jnp.split(jnp.matmul(frames, basis, precision=jax.lax.Precision.HIGHEST), 2, axis=-1)
    return re**2 + im**2


def power_by_fft(frames: Float[Array, "B M n_fft"], cfg: MelConfig, every: bool = False) -> Float[Array, "B M bins"]:
    """The same by a real FFT."""
    bins = _dft_basis(cfg, every).shape[1] // 2
    spectrum = jnp.fft.rfft(frames * jnp.asarray(window(cfg)[None, None], jnp.float32))[..., :bins]
    return jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2


def magnitudes(wav: Float[Array, "B W"], cfg: MelConfig, every: bool = False) -> Float[Array, "B M bins"]:
    """Short-time spectrum of the bins that some filter reads, or of all, to the power of `cfg`; M = W / hop."""
    frames = windows(waveform(wav), hop=cfg.hop, size=cfg.n_fft, before=cfg.pad)
    by_fft, by_matmul = (functools.partial(way, cfg=cfg, every=every) for way in (power_by_fft, power_by_matmul))
    spectrum = jax.lax.platform_dependent(frames, cpu=by_fft, default=by_matmul)
    if cfg.power == 1.0:
        audible = ~(spectrum <= TINY_POWER)  # so that NaN stays NaN and the step can refuse it
        spectrum = jnp.where(audible, jnp.sqrt(jnp.where(audible, spectrum, 1.0)), 0.0)
    return spectrum


def log_mel(wav: Float[Array, "B W"], cfg: MelConfig, wav_len: Int[Array, " B"] | None = None) -> Float[Array, "B M F"]:
    """Log-mel of zero-padded waveforms, float32 whatever the input, M = W / hop. Jit-able and differentiable.

    Args:
      wav: samples in [-1, 1], or int16; W must be a multiple of `cfg.hop`.
      cfg: the mel; static under jit.
      wav_len: valid samples of each row, all of them if None. Only 'log10_whisper' reads it: the loudest bin is
        looked for in the ceil(wav_len / hop) valid frames.

    Raises:
      ValueError: W is no multiple of the hop.
    """
    spectrum = magnitudes(wav, cfg)
    filters = jnp.asarray(filterbank(cfg)[: spectrum.shape[-1]])
    mel = jnp.maximum(jnp.matmul(spectrum, filters, precision=jax.lax.Precision.HIGHEST), cfg.floor)
    if cfg.scale == "ln":
        return jnp.log(mel)
    log10 = jnp.log(mel) / np.float32(np.log(10.0))
    valid = log10
    if wav_len is not None:
        valid_frames = -(-wav_len // cfg.hop)
        valid = jnp.where((jnp.arange(log10.shape[1])[None, :] < valid_frames[:, None])[..., None], log10, -jnp.inf)
    peak = jnp.max(valid, axis=(1, 2), keepdims=True)
    return (jnp.maximum(log10, peak - WHISPER_RANGE) + 4.0) / 4.0


def normalize(log_mel_values: Float[Array, "B M F"], cfg: MelConfig) -> Float[Array, "B M F"]:
    """Log-mel to about zero mean and unit variance, the space in which the flow model works."""
    return (log_mel_values - cfg.mean) / cfg.std


def denormalize(normalized: Float[Array, "B M F"], cfg: MelConfig) -> Float[Array, "B M F"]:
    """Undoes `normalize`."""
    return normalized * cfg.std + cfg.mean
