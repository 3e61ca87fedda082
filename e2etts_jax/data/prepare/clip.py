"""One clip: opened with care, checked, brought to mono, rate and loudness."""

import dataclasses
import functools
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from e2etts_jax.data import audio
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.data.prepare.options import Options
from e2etts_jax.data.prepare.rows import Rejected, Row, clean_text, weight

SILENT = -60.0  # dBFS
FULL_SCALE, MAX_CLIPPED = 0.999, 0.01
PEAK = 0.99  # highest sample after the gain: the loudness gives way, nothing clips
MAX_DECODED = 2**28  # samples over all channels: 1 GiB
BLOCK = 0.4  # s: shortest that BS.1770 measures
UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFF000)  # what a WAV written into a pipe claims


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip as it is stored: `samples` int16[W], `xvector` f32[E]; `loudness` LUFS as recorded, `limited` if the
    peak kept it below the wanted loudness."""

    row: Row
    samples: np.ndarray
    xvector: np.ndarray
    loudness: float
    limited: bool


def find(path: str, base: Path, roots: tuple[str, ...]) -> Path:
    """The recording `path` of a source in folder `base`: an existing file in `base` or one of `roots`.

    Raises:
      Rejected: it lies elsewhere, is missing, or no file that can simply be read.
    """
    try:
        full = Path(os.path.realpath(base / path))
        if not any(full.is_relative_to(os.path.realpath(root)) for root in (str(base), *roots)):
            raise Rejected("outside the folder", f"{full} is not in {base}; --root={full.parent} allows it")
        mode = os.stat(full).st_mode
    except FileNotFoundError:
        raise Rejected("missing file", f"no file {full}") from None
    except (OSError, ValueError) as error:  # too long a name, a loop of links, no permission, a NUL
        raise Rejected("unreadable", str(error)) from None
    if not stat.S_ISREG(mode):  # a pipe would block for ever, a device never end
        kind = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device or socket"
        raise Rejected("not a file", f"{full} is a {kind}")
    return full


def read(path: Path, options: Options) -> tuple[np.ndarray, int]:
    """f32[W, channels] and the rate in Hz; what is too long is not decoded.

    Raises:
      Rejected: see REASONS.
    """
    if path.stat().st_size == 0:
        raise Rejected("empty", "0 bytes")
    try:
        with sf.SoundFile(path) as file:
            rate, frames, channels = file.samplerate, file.frames, file.channels
            # Ogg files that were cut claim no length or an absurd one; the read below finds out.
            known = 0 < frames < 2**40
            if missing := _cut(path, file.format):
                raise Rejected("truncated", missing)
            if known:
                check_seconds(frames / rate, options)
            limit = min(int(options.max_seconds * rate) + 1, MAX_DECODED // channels)
            wav = file.read(frames if known and frames <= limit else limit, dtype="float32", always_2d=True)
            declared, container = frames, file.format
    except Rejected:
        raise
    except Exception as error:  # noqa: BLE001 -- libsndfile's own, OSError, TypeError (RAW), MemoryError, ...
        raise Rejected("unreadable", f"{type(error).__name__}: {error}"[:300]) from None
    slack = 2304 if container == "MP3" else 0  # the length of an MP3 is an estimate, good to two frames
    if known and len(wav) < min(declared, limit) - slack:
        raise Rejected("truncated", f"{len(wav)} of {declared} samples")
    if len(wav) == 0:
        raise Rejected("empty", "no samples")
    if len(wav) >= limit:
        raise Rejected("too long", f"over {limit / rate:.1f} s, or too many channels")
    return wav, rate


def _cut(path: Path, container: str) -> str:
    """What a file lacks that libsndfile does not miss; '' = nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if container in ("WAV", "WAVEX"):
            order = ">" if file.read(4) == b"RIFX" else "<"
            file.seek(12)
            while len(header := file.read(8)) == 8:
                name, length = header[:4], struct.unpack(f"{order}I", header[4:])[0]
                if name == b"data":
                    there = size - file.tell()
                    return f"{there} of {length} bytes" if length > there and length not in UNKNOWN_SIZES else ""
                file.seek(length + length % 2, os.SEEK_CUR)
        elif container == "OGG":
            file.seek(max(0, size - 65_536 - 512))
            tail = file.read()
            last = tail.rfind(b"OggS")
            if last < 0 or len(tail) < last + 27 or not tail[last + 5] & 4:
                return "no last page"
            segments = tail[last + 27 : last + 27 + tail[last + 26]]
            if len(tail) < last + 27 + tail[last + 26] + sum(segments):
                return "half of the last page"
    return ""


def check_seconds(seconds: float, options: Options) -> None:
    """Raises:
    Rejected: too short or too long.
    """
    if seconds < options.min_seconds:
        raise Rejected("too short", f"{seconds:.3f} s; at least {options.min_seconds:g}")
    if seconds > options.max_seconds:
        raise Rejected("too long", f"{seconds:.1f} s; at most {options.max_seconds:g}")


def check_samples(wav: np.ndarray) -> np.ndarray:
    """Mono f32[W] without offset, of f32[W, channels].

    Raises:
      Rejected: not finite, clipped, or silent.
    """
    bad = np.count_nonzero(~np.isfinite(wav))
    if bad:
        raise Rejected("not finite", f"{bad} samples are NaN or infinite")
    mono = wav.mean(axis=1)
    offset = float(mono.mean())
    moved = mono - np.float32(offset) if abs(offset) > 0.01 else mono
    level = 20 * math.log10(math.sqrt(float(np.mean(np.square(moved, dtype=np.float64)))) + 1e-12)
    if level < SILENT:
        raise Rejected(
            "silent", f"{max(level, -240):.0f} dBFS" + (f" around {offset:.2f}" if moved is not mono else "")
        )
    share = float(np.mean(np.abs(wav) >= FULL_SCALE, axis=0).max())
    if share > MAX_CLIPPED:
        raise Rejected("clipped", f"{100 * share:.1f} % of the samples at full scale")
    return moved


@functools.lru_cache(maxsize=4)
def _meter(rate: int) -> Any:
    import pyloudnorm

    return pyloudnorm.Meter(rate, block_size=BLOCK)


def loudness_of(wav: np.ndarray, rate: int, gated: bool = True) -> float:
    """LUFS of mono audio after BS.1770; of what is too short or too quiet for its gate, the plain level instead."""
    if gated and len(wav) >= BLOCK * rate + 1:
        measured = float(_meter(rate).integrated_loudness(wav.astype(np.float64)))
        if math.isfinite(measured):
            return measured
    return -0.691 + 20 * math.log10(math.sqrt(float(np.mean(np.square(wav, dtype=np.float64)))) + 1e-12)


def level(wav: np.ndarray, rate: int, target: float | None) -> tuple[np.ndarray, float, bool]:
    """`wav` at `target` LUFS or as near as its peak allows, the loudness it had, and whether the peak forbade more.

    Also without a target the peak is kept below full scale: resampling overshoots.
    """
    measured = loudness_of(wav, rate, gated=target is not None)
    gain = 1.0 if target is None else 10 ** ((target - measured) / 20)
    peak = float(np.abs(wav).max())
    most = PEAK / peak if target is not None or peak > PEAK else gain
    return wav * np.float32(min(gain, most)), measured, most < gain


def load(row: Row, options: Options) -> tuple[np.ndarray, int, Row]:
    """f32[W, C] recording of a row, its rate in Hz, and the row with what only the recording's record says.

    Raises:
      Rejected: see REASONS.
    """
    if options.layout != "tfds":
        return *read(find(row.audio, options.folder, options.roots), options), row
    from e2etts_jax.data.prepare import tfds_rows

    wav, rate, row = tfds_rows.load(options.source.removeprefix("tfds:"), row)
    row.text = clean_text(row.text, options.max_seconds * options.max_rate)
    if not len(wav):
        raise Rejected("empty", "no samples")
    return wav, rate, row


def process(row: Row, options: Options, rate: int, extractor: "speakers.Extractor | None") -> Clip:
    """The clip of a row at `rate` Hz; its recording is decoded once.

    Raises:
      Rejected: see REASONS.
    """
    wav, source_rate, row = load(row, options)
    seconds = len(wav) / source_rate
    check_seconds(seconds, options)
    if options.sample_rate == 0 and source_rate != rate:
        raise Rejected("other sample rate", f"{source_rate} Hz, the others have {rate}; give --sample_rate")
    mono = check_samples(wav)
    pace = weight(row.text) / seconds
    if not options.min_rate <= pace <= options.max_rate:
        raise Rejected("text/audio ratio", f"{pace:.2f} characters/s in {seconds:.2f} s: {row.text[:60]!r}")
    out, measured, limited = level(audio.resample(mono, source_rate, rate), rate, options.loudness)
    samples = np.round(np.clip(out * 32768, -32768, 32767)).astype(np.int16)
    heard = audio.resample(mono, source_rate, speakers.RATE) if extractor else mono
    xvector = speakers.vector(extractor, heard)
    return Clip(row, samples, xvector, measured, limited)
