"""Rows and recordings of a prepared TFDS speech set."""

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from e2etts_jax.data.prepare.rows import Rejected, Row

AUDIO, TEXT = ("audio", "speech"), ("text_normalized", "text", "transcript", "sentence")
SPEAKER, LANGUAGE = ("speaker_id", "speaker", "client_id"), ("language", "locale")


@functools.lru_cache(maxsize=2)
def _open(name: str) -> tuple[Any, dict[str, Any]]:
    """Builder and data source by split of `NAME`, a registered name or the folder of a prepared set."""
    import tensorflow_datasets as tfds

    from e2etts_jax.data import catalog
    from e2etts_jax.data.tfds_audio import allow_audio_without_tensorflow

    allow_audio_without_tensorflow()
    try:
        if _is_folder(name):
            builder = tfds.builder_from_directory(os.path.expanduser(name))
        else:
            builder = tfds.builder(name, data_dir=str(catalog.data_dir()), file_format="array_record")
        return builder, {split: builder.as_data_source(split) for split in builder.info.splits}
    except (tfds.core.registered.DatasetNotFoundError, AssertionError, NotImplementedError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"cannot open tfds:{name}: {first}; it must be prepared with file_format=array_record"
        ) from error


def _is_folder(name: str) -> bool:
    from pathlib import Path

    return (Path(name).expanduser() / "dataset_info.json").is_file()


def _feature(features: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in features), None)


def read(name: str) -> Iterator[Row]:
    """A row for every record; ids are `split-number`, and texts are read with the audio, once.

    Raises:
      ValueError: no such set, not prepared as ArrayRecord, or without audio and text.
    """
    builder, splits = _open(name)
    features = builder.info.features
    if not _feature(features, AUDIO) or not _feature(features, TEXT):
        raise ValueError(f"tfds:{name} has no audio and text, only {', '.join(features)}")
    if not splits:
        how = f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()"
        raise ValueError(f"tfds:{name} is not prepared; run {how}")
    for split, records in splits.items():
        for i in range(len(records)):
            yield Row(f"{split}-{i:08d}", f"{split}#{i}", "", split=split)


def label_names(name: str) -> dict[str, list[str]]:
    """The classes of every label besides the speaker."""
    import tensorflow_datasets as tfds

    builder, _ = _open(name)
    return {
        field: list(feature.names)
        for field, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.ClassLabel) and field not in SPEAKER + LANGUAGE
    }


def load(name: str, row: Row) -> tuple[np.ndarray, int, Row]:
    """f32[W, 1] recording of a row, its rate in Hz, and the row with text, speaker, language and labels.

    Raises:
      Rejected: no text.
      ValueError: the set does not say its sample rate.
    """
    builder, splits = _open(name)
    features = builder.info.features
    split, _, number = row.audio.partition("#")
    record = splits[split][int(number)]
    audio, text = _feature(features, AUDIO), _feature(features, TEXT)
    assert audio and text
    rate = getattr(features[audio], "sample_rate", None) or (builder.info.metadata or {}).get("sample_rate")
    if not rate:
        raise ValueError(f"tfds:{name} does not say its sample rate")
    wav = np.asarray(record[audio])
    if wav.dtype.kind in "iu":  # TFDS stores what the file held, mostly 16 bits in an int64
        wide = wav.size and np.abs(wav).max() > 32768
        wav = wav.astype(np.float32) / (2.0**31 if wide else 32768)
    string = functools.partial(_string, features, record)
    row = Row(row.key, row.audio, string(text), string(_feature(features, SPEAKER)),
              string(_feature(features, LANGUAGE)), row.split)  # fmt: skip
    row.labels = {field: string(field) for field in label_names(name)}
    if not row.text:
        raise Rejected("text empty", "the record has no text")
    return wav.astype(np.float32).reshape(len(wav), wav.shape[1] if wav.ndim > 1 else 1), int(rate), row


def _string(features: Any, record: dict[str, Any], name: str | None) -> str:
    if name is None:
        return ""
    value = record[name]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(features[name], "int2str"):
        return features[name].int2str(int(value)) if value >= 0 else ""
    return str(value)
