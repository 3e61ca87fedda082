"""Random access to the clips of a data set's split; data sets are built into the data directory on first use."""

import contextlib
import dataclasses
import fcntl
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from e2etts_jax.data import audio
from e2etts_jax.data.datasets.asterisk_en import builder as asterisk_en
from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.data.datasets.numbers import builder as numbers

BUILDERS: dict[str, Callable[..., tfds.core.DatasetBuilder]] = {
    "asterisk_en": asterisk_en.AsteriskEn,
    "numbers": numbers.Numbers,
}
SPEAKER_DIM = prompts.SPEAKER_DIM


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip for evaluation: `wav` f32[W]; `kind` is '' where the data set has no such label."""

    text: str
    wav: np.ndarray
    kind: str
    key: str


class Source:
    """The clips of one split, by index: texts, lengths and labels at once, audio on demand.

    Attributes:
      sample_rate: Hz of the stored audio.
      texts: the words of every clip.
      keys: the name of every clip.
      samples: i64[N], stored samples of every clip.
      labels: by field, i32[N], the class of every clip.
      label_names: by field, the names of its classes.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str) -> None:
        if split not in builder.info.splits:
            raise ValueError(
                f"data set {builder.info.name!r} has no split {split!r}; it has {', '.join(builder.info.splits)}"
            )
        self._name = f"{builder.info.full_name}[{split}]"
        self._records = builder.as_data_source(split)
        self.sample_rate = int(builder.info.metadata["sample_rate"])
        self.label_names = {
            field: list(feature.names)
            for field, feature in builder.info.features.items()
            if isinstance(feature, tfds.features.ClassLabel)
        }
        index = _index(Path(builder.data_dir) / f"index-{split}.npz", self._records, list(self.label_names))
        self.texts: list[str] = index["texts"].tolist()
        self.keys: list[str] = index["keys"].tolist()
        self.samples: np.ndarray = index["samples"]
        self.labels = {field: index[f"label_{field}"] for field in self.label_names}
        self._speakers: list[str] = index["speakers"].tolist()

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Source({self._name})"

    def audio(self, i: int, sample_rate: int) -> np.ndarray:
        """int16[W]: clip `i` at `sample_rate` Hz."""
        return audio.resample(self._records[i]["audio"], self.sample_rate, sample_rate)

    def speaker(self, i: int) -> np.ndarray | None:
        """f32[256]: the x-vector of clip `i`, None where the voice is unknown."""
        return prompts.speaker_vector() if self._speakers[i] == prompts.SPEAKER else None


def _index(path: Path, records: Any, fields: list[str]) -> dict[str, np.ndarray]:
    """Texts, lengths and labels of all records; read once, then kept beside the data set."""
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    rows = [
        (r["text"].decode(), r["key"].decode(), r["speaker"].decode(), len(r["audio"]), *(r[f] for f in fields))
        for r in records
    ]
    columns = list(zip(*rows, strict=True))
    index: dict[str, Any] = {
        "texts": np.array(columns[0]),
        "keys": np.array(columns[1]),
        "speakers": np.array(columns[2]),
        "samples": np.array(columns[3], np.int64),
    }
    index |= {f"label_{field}": np.array(column, np.int32) for field, column in zip(fields, columns[4:], strict=True)}
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    np.savez(part, **index)
    part.replace(path)  # atomic: a reader sees all of it or nothing
    return index


def data_dir(configured: str | Path = "") -> Path:
    """Where data sets are built: the configured folder, else $E2ETTS_DATA_DIR, else ~/.cache/e2etts_jax."""
    return Path(configured or os.environ.get("E2ETTS_DATA_DIR") or Path.home() / ".cache" / "e2etts_jax").expanduser()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the file lock `path`; the system releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_source(cfg_data: Any, split: str) -> Source:
    """The split of data set `cfg_data.dataset`, built into `cfg_data.data_dir` if it is not there yet.

    Raises:
      ValueError: unknown data set or split.
    """
    return _open(cfg_data.dataset, str(data_dir(cfg_data.data_dir)), split)


@functools.lru_cache(maxsize=8)
def _open(name: str, root: str, split: str) -> Source:
    if name not in BUILDERS:
        raise ValueError(f"no data set {name!r}; there is {', '.join(sorted(BUILDERS))}")
    with _locked(Path(root) / f".{name}.lock"):
        builder = BUILDERS[name](data_dir=root, file_format="array_record")
        if not builder.is_prepared():
            logging.info("building data set %s in %s (once; about half a minute)", name, builder.data_dir)
            for stale in Path(builder.data_dir).parent.glob("incomplete.*"):
                shutil.rmtree(stale)  # of a build that was killed; no other is running, we hold the lock
            tfds.disable_progress_bar()  # it prints a line per shard; slow builders show their own
            builder.download_and_prepare()  # writes to incomplete.* and renames that when complete
        return Source(builder, split)


def load_examples(cfg_data: Any, split: str, n: int, sample_rate: int) -> list[Example]:
    """The first `n` clips of a split (all if it has fewer), with audio at `sample_rate` Hz, for evaluation."""
    source = open_source(cfg_data, split)
    kinds = source.label_names.get("kind")
    return [
        Example(
            text=source.texts[i],
            wav=source.audio(i, sample_rate).astype(np.float32) / 32768,
            kind=kinds[source.labels["kind"][i]] if kinds else "",
            key=source.keys[i],
        )
        for i in range(min(n, len(source)))
    ]
