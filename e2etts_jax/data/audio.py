"""Decoding and resampling of recordings: any file or bytes that libsndfile reads, as mono float32."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr


def decode(source: str | Path | bytes) -> tuple[np.ndarray, int]:
    """Reads a recording and mixes it down to mono.

    Args:
      source: path of an audio file, or the bytes of one (WAV, FLAC, Ogg Opus, MP3, ...).

    Returns:
      f32[W] in [-1, 1] and its sample rate in Hz.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the audio can't be read, is empty, or holds values that are not finite.
    """
    name = f"{len(source)} bytes of audio" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"no audio file {name}")
    try:
        wav, rate = sf.read(
            io.BytesIO(source) if isinstance(source, bytes) else source, dtype="float32", always_2d=True
        )
    except sf.LibsndfileError as error:
        raise ValueError(f"cannot read {name}: {error}; give a WAV, FLAC, Ogg or MP3 recording") from error
    if len(wav) == 0:
        raise ValueError(f"{name} holds no samples; remove it or record it again")
    if not np.isfinite(wav).all():
        raise ValueError(f"{name} holds NaN or infinite samples; export it again")
    return wav.mean(axis=1), rate


def cut_short(path: str | Path) -> bool:
    """Whether a WAV file ends before its header says, as after a broken copy; libsndfile reads what there is."""
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return False
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":  # a stream's length is not known when its header is written
                left = Path(path).stat().st_size - file.tell()
                return left < size < 0x7FFF0000
            file.seek(size + size % 2, 1)
    return False


def resampled_length(samples: Any, rate: int, target: int) -> Any:
    """Samples that `resample` gives for `samples` (one number or an array) at `rate` Hz."""
    return -(-samples * target // rate)


def resample(wav: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Band-limited resampling of mono audio [W] from `rate` to `target` Hz; int16 stays int16, else float32."""
    if rate == target:
        return wav
    # In float: soxr dithers int16 output with noise that differs from run to run.
    out = soxr.resample(wav.astype(np.float32), rate, target, quality="HQ")
    want = resampled_length(len(wav), rate, target)
    out = np.pad(out[:want], (0, max(0, want - len(out))))
    return np.clip(np.round(out), -32768, 32767).astype(np.int16) if wav.dtype == np.int16 else out


def load(source: str | Path | bytes, sample_rate: int) -> np.ndarray:
    """Reads a recording as mono f32[W] at `sample_rate` Hz; errors as in `decode`."""
    wav, rate = decode(source)
    return resample(wav, rate, sample_rate)
