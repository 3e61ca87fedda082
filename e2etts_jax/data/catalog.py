"""The data sets that a config can name: bundled ones, TFDS ones, folders of `e2etts_jax.prepare`, and mixtures."""

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from e2etts_jax.data.datasets.asterisk_en import builder as asterisk_en
from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.data.datasets.numbers import builder as numbers
from e2etts_jax.data.tfds_audio import allow_audio_without_tensorflow

SPEAKER_DIM = prompts.SPEAKER_DIM
SPLITS = ("train", "validation", "test")
ALSO_CALLED = {"validation": ("dev", "valid", "val", "eval")}


@dataclasses.dataclass(frozen=True)
class Fields:
    """Which features of a record hold what; '' = the set has none.

    Attributes:
      voice: the vector f32[256] of every clip, for a set of one voice.
    """

    audio: str = "audio"
    text: str = "text"
    key: str = "key"
    speaker: str = "speaker"
    language: str = "language"
    vector: str = "xvector"
    voice: Callable[[], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Named:
    """A data set of TFDS.

    Attributes:
      splits: stored splits of our three; none = there is only `train`, of which the last clips are kept for the others.
    """

    fields: Fields
    splits: Mapping[str, tuple[str, ...]]


BUNDLED: dict[str, Callable[..., tfds.core.DatasetBuilder]] = {
    "asterisk_en": asterisk_en.AsteriskEn,
    "numbers": numbers.Numbers,
}
_ONE_VOICE = Fields(vector="", language="", voice=prompts.speaker_vector)
_LIBRI = {"validation": ("dev_clean",), "test": ("test_clean",), "train": ("train_clean100", "train_clean360")}
TFDS = {
    "librispeech": Named(Fields("speech", "text", "id", "speaker_id", "", ""), _LIBRI),
    "libritts": Named(Fields("speech", "text_normalized", "id", "speaker_id", "", ""), _LIBRI),
    "ljspeech": Named(Fields("speech", "text_normalized", "id", "", "", ""), {}),
    "vctk": Named(Fields("speech", "text", "id", "speaker", "", ""), {}),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One corpus of `data.dataset`: its name or path, the stored splits to train on ('' = all), its share of clips."""

    name: str
    splits: tuple[str, ...]
    weight: Fraction | None


def parse(dataset: str) -> list[Part]:
    """Reads `data.dataset`: `name[:split+split][=weight]`, comma separated.

    Raises:
      ValueError: nothing named, a weight that is no number above 0, or weights on some of the corpora only.
    """
    parts = []
    for text in filter(None, map(str.strip, dataset.split(","))):
        rest, weighted, weight = text.partition("=")
        name, _, splits = rest.partition(":")
        try:
            share = Fraction(weight) if weighted else None
        except (ValueError, ZeroDivisionError):
            share = Fraction(0)
        if not name or (share is not None and share <= 0):
            raise ValueError(f"data.dataset: {text!r} is not name, name=weight or name:split+split=weight")
        parts.append(Part(name.strip(), tuple(filter(None, splits.split("+"))), share))
    if not parts:
        raise ValueError(f"data.dataset is empty; name one of {', '.join(sorted([*BUNDLED, *TFDS]))}, or a folder")
    if len({part.weight is None for part in parts}) > 1:
        raise ValueError(f"data.dataset={dataset!r}: give every corpus a weight (its share of the clips), or none")
    return parts


@dataclasses.dataclass(frozen=True)
class Opened:
    """A data set on the disk, and how to read it."""

    builder: tfds.core.DatasetBuilder
    fields: Fields
    splits: Mapping[str, tuple[str, ...]]

    def stored(self, split: str, chosen: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """The stored splits that make up `split`, and whether only a part of them does.

        Raises:
          ValueError: a split that is not there.
        """
        there = list(self.builder.info.splits) or sorted({s for stored in self.splits.values() for s in stored})
        if split in SPLITS and set(there) <= {"train"} and set(chosen) <= {"train"}:
            return ("train",), True
        if chosen and split == "train":
            wanted = chosen
        elif split in self.splits:
            wanted = self.splits[split]
        else:
            names = (split, *ALSO_CALLED.get(split, ()))
            same = [name for name in names if name in there][:1]
            like = [name for name in there if name.startswith(names)] if split in SPLITS else []  # train_clean_100, ...
            wanted = tuple(same or like) or (split,)
        missing = [name for name in wanted if there and name not in there]
        if missing:
            name, cure = self.builder.info.name, ""
            if split == "validation":
                cure = "; training validates itself: call one validation, or dev, when you prepare it"
            raise ValueError(f"data set {name!r} has no split {missing[0]!r}; it has {', '.join(there)}{cure}")
        return wanted, False


def open_set(name: str, root: str) -> Opened:
    """Opens a data set; a bundled one is built first if it is not there yet.

    Args:
      name: of `BUNDLED` or `TFDS`, or the path of a folder that `e2etts_jax.prepare` made.
      root: where built and downloaded sets lie.

    Raises:
      ValueError: no such data set, or a TFDS one that has not been prepared.
    """
    if name in BUNDLED:
        return Opened(_built(name, root), _ONE_VOICE, {})
    allow_audio_without_tensorflow()
    if name in TFDS:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        if not builder.is_prepared():
            raise ValueError(
                f"{name} is not in {root}: `tfds build {name} --file_format=array_record --data_dir={root}` makes it "
                "on a machine with TensorFlow; or download it and run `python -m e2etts_jax.prepare --source=FOLDER`"
            )
        return Opened(builder, TFDS[name].fields, TFDS[name].splits)
    path = Path(name).expanduser()
    if not (path / "dataset_info.json").is_file():
        known = ", ".join(sorted([*BUNDLED, *TFDS]))
        raise ValueError(
            f"no data set {name!r}: it is neither one of {known} nor a prepared folder; "
            f"`python -m e2etts_jax.prepare --source=... --out={name}` makes one"
        )
    builder = tfds.builder_from_directory(path)
    missing = {"audio", "text", "key"} - set(builder.info.features)
    if missing:
        raise ValueError(f"the data set in {path} has no {', '.join(sorted(missing))}: prepare it again")
    speaker, language, vector = (f if f in builder.info.features else "" for f in ("speaker", "language", "xvector"))
    return Opened(builder, Fields(speaker=speaker, language=language, vector=vector), {})


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the file lock `path`; the system releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _built(name: str, root: str) -> tfds.core.DatasetBuilder:
    with _locked(Path(root) / f".{name}.lock"):
        builder = BUNDLED[name](data_dir=root, file_format="array_record")
        if not builder.is_prepared():
            logging.info("building data set %s in %s (once; about half a minute)", name, builder.data_dir)
            for stale in Path(builder.data_dir).parent.glob("incomplete.*"):
                shutil.rmtree(stale)  # of a build that was killed; no other is running, we hold the lock
            tfds.disable_progress_bar()  # it prints a line per shard; slow builders show their own
            builder.download_and_prepare()  # writes to incomplete.* and renames that when complete
        return builder


def data_dir(configured: str | Path = "") -> Path:
    """Where data sets are built: the configured folder, else $E2ETTS_DATA_DIR, else ~/.cache/e2etts_jax."""
    return Path(configured or os.environ.get("E2ETTS_DATA_DIR") or Path.home() / ".cache" / "e2etts_jax").expanduser()
