"""Small data sets, built once per run in a temporary folder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from e2etts_jax.data import catalog
from e2etts_jax.data.datasets.numbers.builder import Numbers, NumbersConfig
from e2etts_jax.data.tfds_audio import allow_audio_without_tensorflow


@dataclasses.dataclass(frozen=True)
class Data:
    """The `data` part of a config."""

    dataset: str
    data_dir: str | Path
    buckets: tuple[int, ...] = (96,)
    max_text: int = 96
    language: str = "en"
    prompts: float = 0.0


def small_numbers(**kwargs: object) -> Numbers:
    return Numbers(config=NumbersConfig(name="small", train=50, validation=13, test=7), **kwargs)


@pytest.fixture(scope="session")
def numbers_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small `numbers` lies."""
    return tmp_path_factory.mktemp("numbers")


@pytest.fixture
def numbers(numbers_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Config of a `numbers` with 50, 13 and 7 clips."""
    monkeypatch.setitem(catalog.BUNDLED, "numbers", small_numbers)
    return Data("numbers", str(numbers_dir))


@pytest.fixture(scope="session")
def data_config() -> Callable[..., Data]:
    """`data_config(dataset, data_dir, buckets=..., max_text=...)`."""
    return Data


@pytest.fixture(scope="session")
def asterisk_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `asterisk_en` lies."""
    return tmp_path_factory.mktemp("asterisk")


def write_tfds(
    folder: Path, features: Mapping[str, Any], splits: Mapping[str, Sequence[Mapping[str, Any]]], **metadata: Any
) -> Path:
    """A set in the form of TFDS: `splits` holds the records of each split. Needs no TensorFlow."""
    allow_audio_without_tensorflow()
    folder.mkdir()
    spec = tfds.features.FeaturesDict(features)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="a", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="a"
    )
    info = tfds.core.DatasetInfo(builder=identity, features=spec, metadata=tfds.core.MetadataDict(metadata))
    info.set_file_format("array_record")
    stored = []
    for split, records in splits.items():
        path = folder / f"a-{split}.array_record-00000-of-00001"
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            writer.write(spec.serialize_example(record))
        writer.close()
        template = tfds.core.ShardedFileTemplate(
            dataset_name="a", data_dir=folder, split=split, filetype_suffix="array_record"
        )
        stored.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[len(records)], num_bytes=1, filename_template=template)
        )
    info.set_splits(tfds.core.splits.SplitDict(stored))
    with pytest.MonkeyPatch.context() as patch:  # describing an Audio feature needs TensorFlow; reading it does not
        patch.setattr(tfds.features.Audio, "dtype", np.dtype(np.int64))
        info.write_to_directory(folder)
    return folder


@pytest.fixture(scope="session", name="write_tfds")
def _write_tfds() -> Callable[..., Path]:
    """`write_tfds(folder, features, {"train": records}, sample_rate=...)`."""
    return write_tfds
