"""What is known of a split's clips without reading the audio: texts, names, lengths, labels, as flat files.

A folder `index-<split>/` beside the shards. The files are memory-mapped: a hundred million clips cost an open
run no memory, and the processes of a machine share them.
"""

import dataclasses
import filecmp
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Strings(Sequence):
    """Strings as one block of UTF-8 and the place where each ends; a string is made when it is asked for."""

    def __init__(self, block: np.ndarray, ends: np.ndarray) -> None:
        self.block, self.ends = block, ends

    @classmethod
    def of(cls, strings: Sequence[str]) -> "Strings":
        coded = [s.encode() for s in strings]
        return cls(np.frombuffer(b"".join(coded), np.uint8), np.cumsum([len(c) for c in coded], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i):  # noqa: ANN001, ANN204 -- an index or a slice, as for every sequence
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)  # what ends an iteration
        i %= len(self)
        return self.block[self.ends[i - 1] if i else 0 : self.ends[i]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


def save_strings(folder: Path, name: str, strings: Sequence[str]) -> None:
    """Writes strings as `name.npy` and `name_ends.npy`."""
    strings = strings if isinstance(strings, Strings) else Strings.of(strings)
    np.save(folder / f"{name}.npy", strings.block)
    np.save(folder / f"{name}_ends.npy", strings.ends)


def load_strings(folder: Path, name: str) -> Strings:
    """What `save_strings` wrote; it stays on the disk."""
    return Strings(load(folder, name), load(folder, f"{name}_ends"))


def load(folder: Path, name: str) -> np.ndarray:
    """The array `name.npy`, memory-mapped."""
    return np.load(folder / f"{name}.npy", mmap_mode="r")


@dataclasses.dataclass(frozen=True)
class Index:
    """N clips of a split.

    Attributes:
      keys: the name of every clip, unique in the split.
      texts: its words.
      samples: i64[N], stored samples of its audio, at the data set's rate.
      speakers: i32[N], place in `names["speaker"]`, -1 = not said.
      languages: i32[N], place in `names["language"]`, -1 = not said.
      labels: by field, i32[N], the class, -1 = not said.
      names: the names of `speaker`, `language` and of the classes of every label.
    """

    keys: Sequence[str]
    texts: Sequence[str]
    samples: np.ndarray
    speakers: np.ndarray
    languages: np.ndarray
    labels: Mapping[str, np.ndarray]
    names: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        columns: dict[str, Any] = {
            "texts": self.texts,
            "samples": self.samples,
            "speakers": self.speakers,
            "languages": self.languages,
        }
        for name, column in (columns | dict(self.labels)).items():
            if len(column) != len(self.keys):
                raise ValueError(f"the index has {len(self.keys)} keys, but {len(column)} {name}")

    def __len__(self) -> int:
        return len(self.keys)


def path_of(data_dir: str | Path, split: str) -> Path:
    """The index folder of a split (a name, or a slice as TFDS writes it: `train[:95%]`) of the set in `data_dir`."""
    return Path(data_dir) / f"index-{split.replace('/', '_')}"


def write(path: Path, index: Index) -> None:
    """Writes the index as folder `path`: all of it or nothing, over what was there.

    What is the same already stays as it is, with the texts that tokenizers have prepared of it.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in ("keys", "texts"):
        save_strings(part, name, getattr(index, name))
    for name, dtype in (("samples", np.int64), ("speakers", np.int32), ("languages", np.int32)):
        np.save(part / f"{name}.npy", np.asarray(getattr(index, name), dtype))
    for field, classes in index.labels.items():
        np.save(part / f"label_{field}.npy", np.asarray(classes, np.int32))
    (part / "names.json").write_text(json.dumps({k: list(v) for k, v in index.names.items()}, ensure_ascii=False))
    if _same_files(part, path):
        shutil.rmtree(part)
        return
    shutil.rmtree(path, ignore_errors=True)
    part.replace(path)


def _same_files(a: Path, b: Path) -> bool:
    """Have two folders the same files, whatever folders are in them?"""
    names = [sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else None for folder in (a, b)]
    return names[0] == names[1] and all(filecmp.cmp(a / name, b / name, shallow=False) for name in names[0] or ())


def read(path: Path) -> Index:
    """The index that `write` wrote; its columns stay on the disk.

    Raises:
      FileNotFoundError: there is none.
    """
    if not (path / "names.json").is_file():
        raise FileNotFoundError(f"no index {path}")
    names = json.loads((path / "names.json").read_text())
    return Index(
        keys=load_strings(path, "keys"),
        texts=load_strings(path, "texts"),
        samples=load(path, "samples"),
        speakers=load(path, "speakers"),
        languages=load(path, "languages"),
        labels={field: load(path, f"label_{field}") for field in names if field not in ("speaker", "language")},
        names=names,
    )
