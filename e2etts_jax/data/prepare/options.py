"""What decides the bytes of a prepared corpus."""

import dataclasses
from pathlib import Path
from typing import Any

RATES = (4000, 192_000)  # Hz: least and most of what is stored


@dataclasses.dataclass(frozen=True)
class Options:
    """Everything that the plan and the shards depend on. How many workers and machines do it is not among it.

    Attributes:
      source: absolute path of a manifest or folder, or `tfds:NAME`.
      layout: how to read it, one of `rows.LAYOUTS`.
      roots: folders besides the source's own that recordings may lie in.
      sample_rate: Hz of the stored audio; 0 = that of the first recording, and of all of them.
      loudness: LUFS that every clip is brought to; None = left as recorded.
      speaker: extractor of the speaker vectors: `voicefilter`, `none`, or the path of an ONNX model.
      min_seconds, max_seconds: bounds of a clip's length.
      min_rate, max_rate: bounds of the characters a second, counted by `rows.weight`.
      splits: name and share of the clips that are held out where the source names no splits.
    """

    source: str
    layout: str
    roots: tuple[str, ...] = ()
    sample_rate: int = 24_000
    loudness: float | None = -23.0
    speaker: str = "voicefilter"
    min_seconds: float = 0.3
    max_seconds: float = 30.0
    min_rate: float = 1.0
    max_rate: float = 35.0
    splits: tuple[tuple[str, float], ...] = (("validation", 0.01), ("test", 0.01))

    def __post_init__(self) -> None:
        if self.sample_rate and not RATES[0] <= self.sample_rate <= RATES[1]:
            raise ValueError(f"--sample_rate={self.sample_rate} must be 0 (as recorded) or {RATES[0]}..{RATES[1]} Hz")
        if not 0 < self.min_seconds < self.max_seconds:
            raise ValueError(f"--min_seconds={self.min_seconds} must be above 0 and below {self.max_seconds}")
        if not 0 <= self.min_rate < self.max_rate:
            raise ValueError(f"characters a second: {self.min_rate} must be below {self.max_rate}")
        if self.loudness is not None and not -70 < self.loudness <= 0:
            raise ValueError(f"--loudness={self.loudness} must be above -70 LUFS and at most 0")
        if any(not 0 <= share < 1 for _, share in self.splits) or sum(share for _, share in self.splits) >= 1:
            raise ValueError(f"--splits: shares must be 0 or more and leave something to train on: {self.splits}")

    @property
    def folder(self) -> Path:
        """What the paths of recordings are relative to; a TFDS set has none."""
        source = Path(self.source)
        return source if source.is_dir() else source.parent

    def to_json(self) -> dict[str, Any]:
        """As plain lists and numbers."""
        return dataclasses.asdict(self) | {"roots": list(self.roots), "splits": [list(s) for s in self.splits]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Options":
        """The inverse of `to_json`."""
        return cls(**stored | {"roots": tuple(stored["roots"]), "splits": tuple((n, s) for n, s in stored["splits"])})


def parse_splits(text: str) -> tuple[tuple[str, float], ...]:
    """`validation=0.01,test=0.01`, or '' for none.

    Raises:
      ValueError: not of that form, or a name twice.
    """
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            raise ValueError(f"--splits={text}: {part!r} is not NAME=SHARE, as in validation=0.01") from None
        if not name.isidentifier() or name == "train" or name in found:
            raise ValueError(f"--splits={text}: {name!r} must be a name, not 'train', and stand once")
        found[name] = value
    return tuple(found.items())


def parse_part(text: str) -> tuple[int, int]:
    """`i/n` -> (i, n), i from 0; '' is the whole.

    Raises:
      ValueError: not of that form, or i outside 0..n-1.
    """
    i, _, n = (text or "0/1").partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise ValueError(f"--part={text} must be i/n with i from 0 to n-1, as in 0/4, 1/4, 2/4, 3/4")
    return int(i), int(n)
