"""Griffin-Lim keeps the mel it was given, row by row, whatever bucket a clip falls into."""

import dataclasses

import librosa
import numpy as np
import pytest

from e2etts_jax.features import MelConfig, filterbank, log_mel
from e2etts_jax.infer.griffin_lim import griffin_lim

CFG = MelConfig()


def voice(frames: int, seed: int = 0, cfg: MelConfig = CFG) -> np.ndarray:
    """A gliding buzz with pauses. f32[frames * hop]."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames * cfg.hop) / cfg.sample_rate
    phase = 2 * np.pi * np.cumsum(130 + 30 * np.sin(4 * t + seed)) / cfg.sample_rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 40))
    return (0.15 * buzz * np.maximum(np.sin(6 * t), 0) + 0.002 * rng.standard_normal(t.size)).astype(np.float32)


def error(wav: np.ndarray, mel: np.ndarray, cfg: MelConfig = CFG) -> float:
    """Mean distance of log-mels, in nepers."""
    return float(np.abs(np.asarray(log_mel(wav, cfg)) - mel).mean())


def test_keeps_the_mel_better_than_librosa():
    mel = np.asarray(log_mel(voice(100)[None], CFG))
    ours = griffin_lim(mel, CFG)
    assert ours.shape == (1, 100 * CFG.hop) and ours.dtype == np.float32
    spectrum = np.maximum(np.linalg.pinv(filterbank(CFG).T) @ np.exp(mel[0].T), 0)
    theirs = librosa.griffinlim(spectrum, n_iter=60, hop_length=CFG.hop, n_fft=CFG.n_fft, center=False)
    theirs = theirs[None, CFG.pad : CFG.pad + 100 * CFG.hop].astype(np.float32)
    assert error(ours, mel) < 1.05 * error(theirs, mel)
    assert error(ours, mel) < error(griffin_lim(mel, CFG, iters=0), mel) / 2


def test_rows_and_buckets_do_not_matter():
    short, long = voice(90), voice(150, 1)  # 90 frames fall into the bucket of 128, 150 into that of 256
    mel = np.full((3, 150, CFG.n_mels), np.log(CFG.floor), np.float32)
    mel[0, :90], mel[1] = log_mel(short[None], CFG)[0], log_mel(long[None], CFG)[0]
    together = griffin_lim(mel, CFG, iters=8)
    alone = griffin_lim(mel[:1, :90], CFG, iters=8)
    np.testing.assert_allclose(together[0, : 90 * CFG.hop], alone[0], atol=1e-4)
    np.testing.assert_allclose(together[1], griffin_lim(mel[1:2], CFG, iters=8)[0], atol=1e-4)
    assert np.abs(together[2]).max() < 1e-4  # a row at the floor is silence


def test_frames_keep_their_place():
    wav = np.zeros(64 * CFG.hop, np.float32)
    wav[40 * CFG.hop : 42 * CFG.hop] = voice(44)[42 * CFG.hop : 44 * CFG.hop]
    rebuilt = griffin_lim(log_mel(wav[None], CFG), CFG)[0]
    energy = (rebuilt.reshape(64, CFG.hop) ** 2).sum(1)
    assert energy[39:43].sum() > 0.9 * energy.sum()


def test_power_mel_and_long_hop():
    cfg = MelConfig(sample_rate=24000, n_fft=1920, win=1920, hop=480, fmax=12000.0, power=2.0)
    wav = voice(60, cfg=cfg)[None]
    mel = np.asarray(log_mel(wav, cfg))
    # A power mel is twice as wide in nepers as a magnitude mel.
    assert error(griffin_lim(mel, cfg), mel, cfg) < 0.6


def test_errors_name_the_cure():
    mel = np.zeros((1, 4, 80), np.float32)
    with pytest.raises(ValueError, match="scale 'ln', not 'log10_whisper'"):
        griffin_lim(mel, dataclasses.replace(CFG, scale="log10_whisper"))
    with pytest.raises(ValueError, match=r"\[B, M, 80\] mels, not shape \(4, 80\)"):
        griffin_lim(mel[0], CFG)
    assert griffin_lim(mel[:, :0], CFG).shape == (1, 0)
