"""Decoding, mixing down and resampling."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from e2etts_jax.data import audio


def tone(rate: int, seconds: float = 0.5, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_stereo_is_averaged_from_a_file_and_from_bytes(tmp_path: Path):
    left = tone(16_000)
    sf.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], 1), 16_000, subtype="FLOAT")
    for source in (tmp_path / "a.wav", str(tmp_path / "a.wav"), (tmp_path / "a.wav").read_bytes()):
        wav, rate = audio.decode(source)
        assert rate == 16_000 and wav.dtype == np.float32
        np.testing.assert_array_equal(wav, left / 2)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_resampling_keeps_the_tone_and_gives_the_length_it_promises(dtype: type):
    scale = 32767 if dtype == np.int16 else 1
    for samples in (7999, 8000, 8001):
        wav = (tone(16_000)[:7999] if samples == 7999 else np.pad(tone(16_000), (0, samples - 8000))) * scale
        out = audio.resample(wav.astype(dtype), 16_000, 22_050)
        assert out.dtype == dtype and len(out) == audio.resampled_length(samples, 16_000, 22_050)
    middle = slice(2000, 9000)
    np.testing.assert_allclose(out[middle] / scale, tone(22_050)[middle], atol=2e-3)


def test_load_resamples_a_decoded_file(tmp_path: Path):
    sf.write(tmp_path / "a.flac", tone(48_000), 48_000)
    wav = audio.load(tmp_path / "a.flac", 16_000)
    assert wav.shape == (8000,)
    np.testing.assert_allclose(wav[500:7500], tone(16_000)[500:7500], atol=2e-3)


def test_int16_is_rounded_and_clipped_never_dithered():
    """Dither would make batches differ from run to run."""
    rng = np.random.default_rng(0)
    quiet = (rng.standard_normal(8000) * 3000).astype(np.int16)
    loud = np.where(rng.random(4000) < 0.5, -32768, 32767).astype(np.int16)
    for wav in (quiet, loud):
        exact = audio.resample(wav.astype(np.float32), 16_000, 22_050)
        expected = np.clip(np.round(exact), -32768, 32767)
        np.testing.assert_array_equal(audio.resample(wav, 16_000, 22_050), expected)
    assert np.abs(exact).max() > 32768, "the loud case must overshoot"


def test_equal_rates_change_nothing():
    wav = tone(16_000)
    assert audio.resample(wav, 16_000, 16_000) is wav


def test_errors_name_the_file_and_the_cure(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere.wav"):
        audio.decode(tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(ValueError, match="cannot read .*text.wav.*give a WAV"):
        audio.decode(tmp_path / "text.wav")
    with pytest.raises(ValueError, match="cannot read 9 bytes"):
        audio.decode(b"not audio")
    sf.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(ValueError, match="empty.wav holds no samples"):
        audio.decode(tmp_path / "empty.wav")
    buffer = io.BytesIO()
    sf.write(buffer, np.full(10, np.nan, np.float32), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(ValueError, match="NaN"):
        audio.decode(buffer.getvalue())
