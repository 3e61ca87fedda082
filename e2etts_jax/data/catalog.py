"""The data sets that a config can name: bundled ones, TFDS ones, folders of `e2etts_jax.prepare`, and mixtures."""

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

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


# The names that sets of TFDS, and ours, give what we use; the first one found counts.
NAMES = {
    "audio": ("audio", "speech"),
    "text": ("text_normalized", "text", "transcript", "sentence"),
    "key": ("key", "id"),
    "speaker": ("speaker_id", "speaker", "client_id"),
    "language": ("language", "locale"),
    "vector": ("xvector",),
}


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


def fields_of(features: Collection[str]) -> Fields:
    """What the features of a record hold, by their names."""
    found: dict[str, Any] = {
        role: next((name for name in names if name in features), "") for role, names in NAMES.items()
    }
    return Fields(**found)


BUNDLED: dict[str, Callable[..., tfds.core.DatasetBuilder]] = {
    "asterisk_en": asterisk_en.AsteriskEn,
    "numbers": numbers.Numbers,
}
_ONE_VOICE = Fields(vector="", language="", voice=prompts.speaker_vector)
_LIBRI = {"validation": ("dev_clean",), "test": ("test_clean",), "train": ("train_clean100", "train_clean360")}
# Sets of TFDS that are tried, with the stored splits that make up ours; none = what their names say.
TFDS: dict[str, Mapping[str, tuple[str, ...]]] = {"librispeech": _LIBRI, "libritts": _LIBRI, "ljspeech": {}, "vctk": {}}


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


def stored_as(split: str, there: Sequence[str]) -> tuple[str, ...]:
    """Those of the stored splits `there` that are our `split`: the one of its name, else those that begin with it."""
    names = (split, *ALSO_CALLED.get(split, ()))
    equal = [name for name in names if name in there][:1]
    like = [name for name in there if name.startswith(names)] if split in SPLITS else []  # train_clean_100, ...
    return tuple(equal or like)


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
            wanted = stored_as(split, there) or (split,)
        missing = [name for name in wanted if there and name not in there]
        if missing:
            name, cure = self.builder.info.name, ""
            if split == "validation":
                cure = "; training validates itself: call one validation, or dev, when you prepare it"
            raise ValueError(f"data set {name!r} has no split {missing[0]!r}; it has {', '.join(there)}{cure}")
        return wanted, False

    def records(self, split: str) -> Any:
        """The records of a stored split, by number.

        Raises:
          ValueError: not prepared, or not in a form that gives a record by its number.
        """
        try:
            return self.builder.as_data_source(split)
        except (AssertionError, NotImplementedError):
            raise ValueError(
                f"data set {self.builder.info.full_name} cannot be read by number; build it with "
                "--file_format=array_record"
            ) from None

    @property
    def rate(self) -> int:
        """Hz of the stored audio.

        Raises:
          ValueError: the set does not say it.
        """
        info = self.builder.info
        said = (info.metadata or {}).get("sample_rate")
        rate = said or getattr(info.features[self.fields.audio], "sample_rate", None)
        if not rate:
            raise ValueError(f"data set {info.full_name} does not say its sample rate: prepare it again")
        return int(rate)

    @property
    def speaker_dim(self) -> int:
        """Numbers of a speaker vector; 0 = no clip has one.

        Raises:
          ValueError: the set does not say it.
        """
        info, field = self.builder.info, self.fields.vector
        if self.fields.voice:
            return SPEAKER_DIM
        if not field or (info.metadata or {}).get("speaker_vectors") == "none":
            return 0
        shape = info.features[field].shape
        if len(shape) != 1 or not shape[0]:
            raise ValueError(f"data set {info.full_name} does not say how long a speaker vector is: prepare it again")
        return int(shape[0])

    def names(self, field: str) -> list[str]:
        """The classes of a feature; none of what is no class, or '' for no feature."""
        feature = self.builder.info.features[field] if field else None
        return list(feature.names) if isinstance(feature, tfds.features.ClassLabel) else []

    @property
    def classes(self) -> dict[str, list[str]]:
        """By label, the names of its classes; what has a use of its own is no label."""
        used = {name for names in NAMES.values() for name in names}
        found = {field: self.names(field) for field in sorted(self.builder.info.features) if field not in used}
        return {field: names for field, names in found.items() if names}

    def said(self, record: Mapping[str, Any], field: str) -> str:
        """What feature `field` of a record says, a class by its name; '' without a field."""
        if not field:
            return ""
        value, names = record[field], self.names(field)
        if names:
            return names[value] if value >= 0 else ""
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def open_set(name: str, root: str) -> Opened:
    """Opens a data set; a bundled one is built first if it is not there yet.

    Args:
      name: of `BUNDLED`, or as `open_tfds` takes it.
      root: where built and downloaded sets lie.

    Raises:
      ValueError: no such data set, or a TFDS one that has not been prepared.
    """
    return Opened(_built(name, root), _ONE_VOICE, {}) if name in BUNDLED else open_tfds(name, root)


def open_tfds(name: str, root: str) -> Opened:
    """Opens a set of TFDS: one that it knows by name, prepared in `root`, or the folder of any that is prepared.

    Raises:
      ValueError: no such data set, one that has not been prepared, or without audio and text.
    """
    allow_audio_without_tensorflow()
    path = Path(name).expanduser()
    if (path / "dataset_info.json").is_file():
        builder = tfds.builder_from_directory(path)
    else:
        builder = _registered(name, root)
    fields = fields_of(builder.info.features)
    if not (fields.audio and fields.text):
        raise ValueError(f"data set {name} has no audio with text, only {', '.join(sorted(builder.info.features))}")
    return Opened(builder, fields, TFDS.get(name, {}))


def _registered(name: str, root: str) -> tfds.core.DatasetBuilder:
    """The set `name` that TFDS knows, prepared in `root`; errors as in `open_tfds`."""
    known = ", ".join(sorted([*BUNDLED, *TFDS]))
    unknown = (
        f"no data set {name!r}: it is neither one of {known} or another of TFDS, nor a prepared folder; "
        f"`python -m e2etts_jax.prepare --source=... --out={name}` makes one"
    )
    if name.replace(":", "/").split("/")[0] not in tfds.list_builders(with_community_datasets=False):
        raise ValueError(unknown)  # not asked for on the network
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
    except ValueError:
        raise ValueError(unknown) from None
    except ImportError:
        raise ValueError(f"TFDS cannot open {name} without TensorFlow; name the folder it is prepared in") from None
    if not builder.is_prepared():
        raise ValueError(
            f"{name} is not in {root}: `tfds build {name} --file_format=array_record --data_dir={root}` makes it "
            "on a machine with TensorFlow; or download it and run `python -m e2etts_jax.prepare --source=FOLDER`"
        )
    return builder


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
