"""Texts longer than a model can say at once: where they are cut, and how what is said is joined."""

import re
from collections.abc import Callable, Sequence

import librosa
import numpy as np
from jaxtyping import Float

# what ends a piece, the pause behind it in seconds; the first kind that is there is tried first
ENDS = (
    (r"\s*\n\s*\n\s*", 0.6),  # a paragraph
    (r"(?<=[.!?…][\"'”’)\]])\s+|(?<=[.!?…])\s+|(?<=[。！？])", 0.35),  # a sentence
    (r"(?<=[,;:)—–])\s+|(?<=[，；：、])", 0.15),  # a part of one
    (r"\s+", 0.0),  # a word
)
QUIET_DB = 40.0  # below the loudest, in which a piece begins and ends
EDGE = 0.03  # seconds of it that are kept
FADE = 0.005  # seconds


def pieces(text: str, fits: Callable[[str], bool]) -> list[tuple[str, float]]:
    """Cuts a text into pieces that fit, at the best places: paragraphs, which stay apart, else sentences, clauses or
    words, of which each piece takes as many as fit.

    Returns:
      each piece, and the pause behind it in seconds, 0 for the last.

    Raises:
      ValueError: a word that does not fit.
    """
    made = _cut(text, 0, len(text), fits, 0)
    return [(text[a:b], pause if i + 1 < len(made) else 0.0) for i, (a, b, pause) in enumerate(made)]


def _cut(text: str, start: int, end: int, fits: Callable[[str], bool], kind: int) -> list[tuple[int, int, float]]:
    """Pieces of `text[start:end]`, as places in the text and pauses, by the marks from `kind` on."""
    start, end = end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())
    if start >= end:
        return []
    if fits(text[start:end]):
        return [(start, end, 0.0)]
    if kind == len(ENDS):
        raise ValueError(f"the word {text[start:end][:40]!r} is too long to say: put a space in it")
    pattern, pause = ENDS[kind]
    made: list[tuple[int, int, float]] = []
    for mark in [*re.finditer(pattern, text[start:end]), None]:
        first = made[-1][1] if made else start
        last = start + mark.start() if mark else end
        if made and kind and fits(text[made[-1][0] : last].strip()):
            made[-1] = made[-1][0], last, pause
        elif parts := _cut(text, first, last, fits, kind + 1):
            made += parts[:-1] + [(*parts[-1][:2], pause)]
    return made


def join(wavs: Sequence[Float[np.ndarray, " W"]], pauses: Sequence[float], rate: int) -> Float[np.ndarray, " W"]:
    """Pieces one after the other, their own silence cut, with pauses between them."""
    if len(wavs) == 1:
        return wavs[0]
    ramp = np.linspace(0.0, 1.0, int(FADE * rate), dtype=np.float32)
    out = []
    for wav, pause in zip(wavs, pauses, strict=True):
        _, (start, end) = librosa.effects.trim(wav, top_db=QUIET_DB, frame_length=1024, hop_length=256)
        kept = wav[max(0, start - int(EDGE * rate)) : end + int(EDGE * rate)].copy()
        size = min(len(ramp), len(kept))
        kept[:size] *= ramp[:size]
        kept[len(kept) - size :] *= ramp[:size][::-1]
        out += [kept, np.zeros(int(pause * rate), np.float32)]
    return np.concatenate(out)
