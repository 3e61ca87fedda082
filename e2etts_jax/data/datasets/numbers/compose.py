"""Utterances out of units: pauses, levels, and the final waveform."""

import dataclasses

import numpy as np

from e2etts_jax.data.datasets.numbers import units
from e2etts_jax.data.datasets.numbers.vocabulary import KEYS, ONES, ORDINALS, PHRASES, TENS

WORD_GAP = (0.020, 0.070)  # seconds between words of a group
BOUND_GAP = (0.0, 0.010)  # seconds inside "fifty six": a longer one makes it "fifty" and "six"
GROUP_GAP = (0.120, 0.220)  # seconds between groups
EDGE = 0.100  # seconds of silence at both ends
WORD_TEMPO = 1.5  # words recorded alone, to the speed of running speech
BOUND_TEMPO = 1.75  # the tens of "fifty six"
PHRASE_TEMPO = 1.1  # carrier phrases are running speech already

_AFTER_TENS = frozenset(ONES[1:] + ORDINALS[:9])


@dataclasses.dataclass(frozen=True)
class Utterance:
    """What is said: its kind, and groups of recorded words or phrases that belong together."""

    kind: str
    groups: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The spoken words."""
        return " ".join(word for group in self.groups for word in group)


def _binds(group: tuple[str, ...], w: int) -> bool:
    """Whether word `w` of the group is the tens of a number whose ones follow."""
    return w + 1 < len(group) and group[w] in TENS.values() and group[w + 1] in _AFTER_TENS


def compose(utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
    """f32[W] at 16 kHz: the recorded units of the utterance with jittered pauses and silence at both ends."""
    edge = np.zeros(int(EDGE * units.RATE), np.float32)
    parts = [edge]
    for g, group in enumerate(utterance.groups):
        for w, word in enumerate(group):
            if g or w:
                low, high = GROUP_GAP if w == 0 else BOUND_GAP if _binds(group, w - 1) else WORD_GAP
                parts.append(np.zeros(int(rng.uniform(low, high) * units.RATE), np.float32))
            tempo = PHRASE_TEMPO if word in PHRASES else BOUND_TEMPO if _binds(group, w) else WORD_TEMPO
            parts.append(units.unit(KEYS[word], tempo))
    return np.concatenate([*parts, edge])
