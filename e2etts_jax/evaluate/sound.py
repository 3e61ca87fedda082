"""What is wrong with a clip that no recogniser tells: silences, clipping; and with its words: repeats, an early end."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from e2etts_jax.evaluate.protocol import Form
from e2etts_jax.evaluate.scoring import Edit, alignment

FRAME = 0.02  # seconds
QUIET = 40.0  # dB below the loudest frame
NOTHING = 1e-3  # RMS of the loudest frame of a clip that is silent, -60 dB
FLAT, RUN = 1e-4, 3  # samples within this part of the peak, so many in a row, are clipped
EARLY = 0.25  # of the words, at the end and not heard: it stopped early
LONGEST_PHRASE = 8  # words that are said twice


@dataclasses.dataclass(frozen=True)
class Sound:
    """Of one clip: `seconds` in all, silent at its `lead` and `tail`, the longest `pause` between; `clipped` samples
    as a part of all."""

    seconds: float
    lead: float
    tail: float
    pause: float
    clipped: float


def sound(wav: Float[np.ndarray, " W"], rate: int) -> Sound:
    """Measures a clip; one without a sound is `lead` alone."""
    seconds, size = len(wav) / rate, max(1, int(FRAME * rate))
    frames = np.pad(wav, (0, -len(wav) % size)).reshape(-1, size)
    level = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1)) if len(wav) else np.zeros(0)
    loudest = level.max(initial=0.0)
    if loudest < NOTHING:
        return Sound(seconds, seconds, 0.0, 0.0, 0.0)
    heard = np.flatnonzero(level > loudest * 10 ** (-QUIET / 20))
    pause = max(np.diff(heard).max(initial=1) - 1, 0)
    tail = max(0.0, seconds - (heard[-1] + 1) * size / rate)
    return Sound(seconds, heard[0] * size / rate, tail, float(pause * size / rate), _clipped(wav))


def _clipped(wav: np.ndarray) -> float:
    """Share of samples in runs of `RUN` and more at the peak of either side, or beyond what a file of 16 bits holds."""
    found = np.abs(wav) > 1
    for side in (wav, -wav):
        at_peak = side >= side.max() * (1 - FLAT)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], at_peak.astype(np.int8), [0]])))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= RUN:
                found[start:end] = True
    return float(found.mean())


def faults(said: Sequence[str], heard: Sequence[str], form: Form) -> dict[str, np.ndarray]:
    """bool[N] each: which clips stop `early`, and which say something twice (`repeats`)."""
    pairs = list(zip(said, heard, strict=True))
    early = [stopped_early(alignment(text, words, form)) for text, words in pairs]
    twice = [repeats(form(text), form(words)) > 0 for text, words in pairs]
    return {"early": np.array(early), "repeats": np.array(twice)}


def stopped_early(edits: Sequence[Edit]) -> bool:
    """Whether the last quarter of the words, two at least, is not there at all."""
    said = sum(len(e.said.split()) for e in edits)
    last = len(edits[-1].said.split()) if edits and edits[-1].kind == "delete" else 0
    return last >= max(2, EARLY * said)


def repeats(said: str, heard: str) -> int:
    """Words heard that only repeat the words right before them, beyond those that the text repeats itself."""
    return max(0, _repeated(heard.split()) - _repeated(said.split()))


def _repeated(words: list[str]) -> int:
    count, i = 0, 0
    while i < len(words):
        size = next((n for n in range(LONGEST_PHRASE, 0, -1) if i >= n and words[i - n : i] == words[i : i + n]), 0)
        count, i = count + size, i + max(1, size)
    return count
