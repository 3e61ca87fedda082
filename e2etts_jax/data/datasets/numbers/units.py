"""Recorded words and carrier phrases, cut and levelled, ready to be joined into speech."""

import functools

import numpy as np

from e2etts_jax.data.datasets.asterisk_en import prompts

RATE = prompts.SAMPLE_RATE
FRAME = RATE // 100  # 10 ms
LEVEL = 0.11  # RMS of every unit over its speech frames
TRIM_DB = -38.0  # below the loudest frame: silence at the ends
KEEP = RATE // 50  # 20 ms kept beyond the first and last speech frame
FADE = RATE // 200  # 5 ms


def frame_rms(wav: np.ndarray) -> np.ndarray:
    """RMS of each whole 10 ms frame."""
    frames = wav[: len(wav) // FRAME * FRAME].reshape(-1, FRAME)
    return np.sqrt((frames**2).mean(axis=1) + 1e-12)


def trim(wav: np.ndarray) -> np.ndarray:
    """Cuts silence at both ends, keeping 20 ms."""
    rms = frame_rms(wav)
    over = np.pad(rms > rms.max() * 10 ** (TRIM_DB / 20), 1)
    loud = np.nonzero(over[1:-1] & (over[:-2] | over[2:]))[0]  # a single frame is a lip noise
    return wav[max(0, loud[0] * FRAME - KEEP) : (loud[-1] + 1) * FRAME + KEEP]


def level(wav: np.ndarray) -> np.ndarray:
    """Scales to the common RMS, measured on frames within 25 dB of the loudest, and keeps the peak below 0.9."""
    rms = frame_rms(wav)
    speech = rms[rms > rms.max() * 10 ** (-25 / 20)]
    gain = LEVEL / np.sqrt((speech**2).mean())
    return wav * min(gain, 0.9 / np.abs(wav).max())


def fade(wav: np.ndarray) -> np.ndarray:
    """Raised-cosine ramps of 5 ms at both ends."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(FADE) + 0.5) / FADE)
    wav = wav.copy()
    wav[:FADE] *= ramp
    wav[-FADE:] *= ramp[::-1]
    return wav


def hasten(wav: np.ndarray, tempo: float) -> np.ndarray:
    """Speech at `tempo` times its speed, pitch unchanged (waveform-similarity overlap-add).

    Words recorded one by one are slower than the same words in running speech.
    """
    size, hop, reach = 400, 200, 100  # 25 ms windows; +-6 ms of search covers a pitch period
    window = np.hanning(size + 1)[:size]
    padded = np.pad(wav, (size, 2 * size + reach + int(hop * tempo)))
    count = int(len(wav) / (hop * tempo)) + 3
    out, start = np.zeros(count * hop + size), 0
    for k in range(count):
        target = int(k * hop * tempo)
        if k:
            follow = padded[start + hop : start + hop + size]  # what would follow the last window in the recording
            low = max(0, target - reach)
            region = padded[low : target + reach + size]
            if len(region) < size or len(follow) < size:
                break
            views = np.lib.stride_tricks.sliding_window_view(region, size)
            score = views @ follow / (np.linalg.norm(views, axis=1) + 1e-3)
            start = low + int(score.argmax())
        else:
            start = target
        out[k * hop : k * hop + size] += padded[start : start + size] * window
    return out[int(size / tempo) : int((size + len(wav)) / tempo)].astype(np.float32)


def _cents() -> np.ndarray:
    """The word "cents", which no prompt has: "cent" of "percent", "ts" of "minutes", joined in the closure of the t."""
    percent, minutes = prompts.read("letters/ascii37"), prompts.read("queue-minutes")
    cent, ts = percent[int(0.243 * RATE) : int(0.700 * RATE)], minutes[int(0.665 * RATE) : int(0.845 * RATE)]
    return np.concatenate([fade(cent), fade(ts)])


@functools.cache
def unit(key: str, tempo: float = 1.0) -> np.ndarray:
    """f32[W] at 16 kHz of a recorded word or phrase: trimmed, levelled, at `tempo`, with faded ends."""
    wav = _cents() if key == "cents" else prompts.read(key)
    wav = trim(wav)
    if tempo != 1.0:
        wav = hasten(wav, tempo)
    return fade(level(wav)).astype(np.float32)
