"""Tensors out of a PyTorch checkpoint, without PyTorch and without running anything that the file says.

The file is a pickle. Reading one may call any function of any module; here it may only make dictionaries, and ask for
tensors of numbers, which come as numpy arrays. Everything else is refused by name.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files older than PyTorch 1.6
# what reading a file that is cut off, or not what it says, may raise
BROKEN = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, ImportError, MemoryError,
    RuntimeError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class _Storage:
    """The numbers that tensors are views of; in an old file they follow the pickle that names them."""

    def __init__(self, dtype: np.dtype, size: int) -> None:
        self.dtype, self.size = dtype, size
        self.numbers: np.ndarray | None = None


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        count = math.prod(self.shape)
        if min((self.offset, *self.stride, *self.shape)) < 0 or numbers is None or count > len(numbers):
            raise ValueError("a tensor of other numbers than it names")
        if not count:
            return np.zeros(self.shape, numbers.dtype)
        if last >= len(numbers):
            raise ValueError("a tensor reaches beyond its numbers")
        strides = [s * numbers.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides).copy()


class _Reader(pickle.Unpickler):
    """Makes dictionaries and tensors and nothing else.

    What it hands out is its own: a pickle may also write to the objects that it is given.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no weight")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *_ = pid
        if kind != "storage" or dtype not in DTYPES:
            raise pickle.UnpicklingError(f"it asks for {kind!r}, which is no weight")
        return self.storages.setdefault(str(key), _Storage(DTYPES[dtype], int(size)))

    def _tensor(self, storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without numbers")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint, by their names in nested dictionaries joined with dots.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not such a checkpoint, cut off, or one that holds more than dictionaries and tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with path.open("rb") as file:
            made = _read_zip(file) if zipfile.is_zipfile(file) else _read_old(file)
        return {name: tensor.array() for name, tensor in _flat(made)}
    except BROKEN as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint of plain weights: {error}") from None


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        reader = _Reader(io.BytesIO(archive.read(pickled)))
        made = reader.load()
        for key, storage in reader.storages.items():
            storage.numbers = np.frombuffer(
                archive.read(pickled.removesuffix("data.pkl") + f"data/{key}"), storage.dtype
            )
    return made


def _read_old(file: BinaryIO) -> Any:
    """Magic number, version and byte order, the object, the keys of its storages, then each one's numbers."""
    file.seek(0)
    head = [_Reader(file).load() for _ in range(3)]
    if head[:2] != [MAGIC, PROTOCOL] or not head[2].get("little_endian"):
        raise ValueError("unknown beginning")
    reader = _Reader(file)
    made = reader.load()
    for key in _Reader(file).load():
        storage = reader.storages[str(key)]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise ValueError(f"{size} numbers where {storage.size} should be")
        storage.numbers = np.frombuffer(file.read(size * storage.dtype.itemsize), storage.dtype)
    return made


def _flat(made: Any, prefix: str = "") -> list[tuple[str, _Tensor]]:
    if isinstance(made, _Tensor):
        return [(prefix, made)]
    if not isinstance(made, dict):
        return []  # numbers and words beside the weights, such as the step
    return [pair for key, value in made.items() for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))]
