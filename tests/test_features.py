"""The mel against librosa, and what padding, dtype and gradients must do to it."""

import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from e2etts_jax import features
from e2etts_jax.features import MelConfig

HIFIGAN = MelConfig(mean=-5.0, std=2.0)
BASE = MelConfig(sample_rate=24000, n_fft=1920, win=1920, hop=480, fmax=12000.0)
FRONT = MelConfig(
    sample_rate=24000, n_fft=600, win=600, hop=240, n_mels=128, power=2.0, scale="log10_whisper", floor=1e-10
)
SHORT_WINDOW = MelConfig(sample_rate=16000, n_fft=512, win=400, hop=160, n_mels=40, fmin=50.0, fmax=7600.0)
CONFIGS = {"hifigan": HIFIGAN, "base": BASE, "front": FRONT, "short_window": SHORT_WINDOW}


def voice(cfg: MelConfig, frames: int, seed: int = 0) -> np.ndarray:
    """A buzz that glides over noise, loud and soft: nothing is periodic in the hop. f32[frames * hop]."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames * cfg.hop) / cfg.sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(5 * t)) / cfg.sample_rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 30))
    return (0.2 * buzz * (0.02 + np.sin(7 * t) ** 2) + 0.003 * rng.standard_normal(t.size)).astype(np.float32)


def librosa_log_mel(wav: np.ndarray, cfg: MelConfig) -> np.ndarray:
    padded = np.pad(wav.astype(np.float64), cfg.pad)
    spectrum = librosa.stft(
        padded, n_fft=cfg.n_fft, win_length=cfg.win, hop_length=cfg.hop, center=False, window="hann"
    )
    mel = librosa.feature.melspectrogram(
        S=np.abs(spectrum) ** cfg.power,
        sr=cfg.sample_rate,
        n_fft=cfg.n_fft,
        n_mels=cfg.n_mels,
        fmin=cfg.fmin,
        fmax=cfg.fmax,
    )
    mel = np.maximum(mel, cfg.floor)
    if cfg.scale == "ln":
        return np.log(mel).T
    log10 = np.log10(mel)
    return ((np.maximum(log10, log10.max() - 8) + 4) / 4).T


@pytest.mark.parametrize("transform", ["power_by_fft", "power_by_matmul"])
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_librosa(name, transform, monkeypatch):
    monkeypatch.setattr(features, "power_by_fft", getattr(features, transform))  # what a CPU runs
    cfg = CONFIGS[name]
    wavs = np.stack([voice(cfg, 50, seed) for seed in range(2)])
    wavs[1, : 20 * cfg.hop] = 0.0  # silence reaches the floor
    ours = jax.jit(lambda x: features.log_mel(x, cfg))(wavs)
    assert ours.shape == (2, 50, cfg.n_mels) and ours.dtype == jnp.float32
    for row, wav in enumerate(wavs):
        np.testing.assert_allclose(ours[row], librosa_log_mel(wav, cfg), atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_appended_padding_changes_no_valid_frame(name):
    cfg = CONFIGS[name]
    length = 30 * cfg.hop - cfg.hop // 3  # the last frame is partly silence
    wav = np.zeros((2, 30 * cfg.hop), np.float32)
    wav[0, :length], wav[1] = voice(cfg, 30)[:length], voice(cfg, 30, 1)
    wav[0, length - 40 : length] = 1.0  # a loud end: the frames after the clip hear more of it than those inside
    lengths = jnp.array([length, 30 * cfg.hop])
    short = features.log_mel(wav, cfg, lengths)
    long = features.log_mel(np.pad(wav, ((0, 0), (0, 17 * cfg.hop))), cfg, lengths)
    # One product of another size may round differently, so equal to the last digits rather than to the bit.
    np.testing.assert_allclose(long[:, :30], short, atol=2e-5)


def test_whisper_peak_ignores_invalid_frames():
    wav = np.concatenate([1e-4 * voice(FRONT, 20), voice(FRONT, 20)])[None]
    alone = features.log_mel(wav[:, : 20 * FRONT.hop], FRONT)
    masked = features.log_mel(wav, FRONT, jnp.array([20 * FRONT.hop]))
    np.testing.assert_allclose(masked[:, :18], alone[:, :18], atol=1e-5)
    unmasked = features.log_mel(wav, FRONT)
    assert np.abs(unmasked[:, :18] - alone[:, :18]).max() > 0.1


def test_filler_row_is_finite():
    assert np.isfinite(features.log_mel(np.zeros((1, 20 * FRONT.hop), np.float32), FRONT, jnp.array([0]))).all()


def test_half_precision_input_is_computed_in_float32():
    wav = jnp.asarray(voice(HIFIGAN, 20)[None], jnp.bfloat16)
    ours = features.log_mel(wav, HIFIGAN)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours[0], librosa_log_mel(np.asarray(wav[0], np.float32), HIFIGAN), atol=1e-4)


@pytest.mark.parametrize("name", ["hifigan", "front"])
def test_gradient_is_finite_and_right(name):
    cfg = CONFIGS[name]
    wav = voice(cfg, 12)[None]
    wav[:, : 6 * cfg.hop] = 0.0  # silence must not make the gradient infinite

    def loss(wav):
        return jnp.mean(features.log_mel(wav, cfg)[:, 8:] ** 2)  # these frames hear no silence

    gradient = jax.grad(loss)(wav)
    assert np.isfinite(jax.grad(lambda wav: jnp.mean(features.log_mel(wav, cfg) ** 2))(wav)).all()
    direction = np.where(wav != 0, np.sign(gradient), 0).astype(np.float32)
    step = 3e-5
    difference = (loss(wav + step * direction) - loss(wav - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=0.02)


def test_normalize_round_trip():
    mel = features.log_mel(voice(HIFIGAN, 10)[None], HIFIGAN)
    normalized = features.normalize(mel, HIFIGAN)
    np.testing.assert_allclose(normalized, (mel + 5.0) / 2.0, rtol=1e-6)
    np.testing.assert_allclose(features.denormalize(normalized, HIFIGAN), mel, atol=1e-5)


def test_errors_name_the_cure():
    with pytest.raises(ValueError, match="1000 samples.*hop 256.*pad"):
        features.log_mel(np.zeros((1, 1000), np.float32), HIFIGAN)
    with pytest.raises(ValueError, match="scale 'db'.*ln"):
        MelConfig(scale="db")
    for bad in ({"n_fft": 1023}, {"win": 2000}, {"fmax": 12000.0}, {"power": 3.0}, {"floor": 0.0}):
        with pytest.raises(ValueError):
            dataclasses.replace(HIFIGAN, **bad)
