"""Folders of weights as transformers writes them: config.json and safetensors. Nothing is ever unpickled."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F32", "F16", "BF16", "F64")
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}  # numpy knows bf16 by ml_dtypes
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # whose loading may run whatever their author wrote


class Folder(Mapping[str, np.ndarray]):
    """Tensors by name, each read from the disk when it is asked for, in float32.

    Attributes:
      path: the folder.
      config: its config.json.
      used: names of the tensors that were asked for.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the files of a folder, one or (by an index) several.

        Raises:
          FileNotFoundError: no such folder, or a file is missing in it.
          ValueError: pickled weights, a file that is cut off, or an index that does not fit its files.
        """
        self.path = Path(path).expanduser()
        self.used: set[str] = set()
        if self.path.is_file() and self.path.suffix not in PICKLED:
            raise ValueError(f"{self.path} is a file: give the folder with {CONFIG} and {WEIGHTS}")
        if not self.path.exists():
            raise FileNotFoundError(f"no folder {self.path}")
        files = self._files()
        self.config: dict[str, Any] = read_json(self.path / CONFIG)
        self._open = {name: _opened(self.path / name) for name in dict.fromkeys(files.values())}
        held = {key: name for name, file in self._open.items() for key in file.keys()}
        absent = sorted(set(files) - held.keys() - {""})
        if absent:
            raise ValueError(f"{self.path / INDEX} names {absent[0]}, which no file of the folder holds: copy it again")
        self._where = held

    def _files(self) -> dict[str, str]:
        """Tensor -> file, by the index; `{"": file}` where one file holds all."""
        if (self.path / WEIGHTS).is_file():
            return {"": WEIGHTS}
        if (self.path / INDEX).is_file():
            files = read_json(self.path / INDEX).get("weight_map")
            if not files or not all(isinstance(name, str) and Path(name).name == name for name in files.values()):
                raise ValueError(f"{self.path / INDEX} has no weight_map of files beside it")
            return files
        here = [self.path] if self.path.is_file() else sorted(self.path.iterdir())
        pickled = [file for file in here if file.suffix in PICKLED]
        if pickled:
            raise ValueError(
                f"{pickled[0]} is a pickle, which may run code when it is read: convert it to safetensors "
                "(save_pretrained of transformers does) and give that folder"
            )
        raise FileNotFoundError(f"no {WEIGHTS} and no {INDEX} in {self.path}")

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises KeyError (no such tensor) or ValueError (no floating point numbers), naming the tensor."""
        if name not in self._where:
            raise KeyError(f"{self.path} has no tensor {name}")
        file = self._open[self._where[name]]
        dtype = file.get_slice(name).get_dtype()
        if dtype not in FLOATS:
            raise ValueError(
                f"{name} of {self.path} is {dtype}, not one of {', '.join(FLOATS)}: take unquantised weights"
            )
        self.used.add(name)
        return file.get_tensor(name).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}, which {INDEX} names")
    try:
        return safe_open(path, framework="np")
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}): copy it again") from None


def read_json(path: Path | epath.Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
      FileNotFoundError, ValueError: no such file, or something else in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise ValueError(f"{path} is not readable: {error}") from None
    return value


def write(path: Path, tensors: Mapping[str, np.ndarray], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a folder: `tensors` as they are to one safetensors file, `files` as JSON; config.json comes last.

    Raises:
      FileExistsError: there is something in the folder.
      OSError: the disk is full, or the place can't be written to.
    """
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise FileExistsError(f"{path} is not an empty folder: choose another --out")
    path.mkdir(parents=True, exist_ok=True)
    # the library writes what lies in memory: a transposed view would come out as what it is a view of
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    try:
        save_file(whole, path / WEIGHTS, metadata={"format": "pt"})  # without it transformers takes no file
    except SafetensorError as error:
        raise OSError(f"can't write {path / WEIGHTS}: {error}") from None
    for name in sorted(files, key=lambda name: name == CONFIG):
        (path / name).write_text(json.dumps(files[name], indent=1) + "\n", encoding="utf-8")
        (path / WEIGHTS).chmod((path / name).stat().st_mode)  # the library makes it its owner's alone
