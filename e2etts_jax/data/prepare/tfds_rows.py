"""Rows and recordings of a prepared TFDS speech set."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from e2etts_jax.data import catalog
from e2etts_jax.data.prepare.rows import Rejected, Row

FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)  # of what a set stores in integers wider than its samples
PROBED = 64  # clips of a split that are heard to know which


class _Set(NamedTuple):
    """A set, the Hz of its audio, and its records by split."""

    opened: catalog.Opened
    rate: int
    records: dict[str, Any]


@functools.lru_cache(maxsize=2)
def _open(name: str) -> _Set:
    """The set `name`, a registered name or the folder of a prepared one."""
    try:
        opened = catalog.open_tfds(name, str(catalog.data_dir()))
        return _Set(opened, opened.rate, {split: opened.records(split) for split in opened.builder.info.splits})
    except ValueError as error:
        raise ValueError(f"cannot open tfds:{name}: {error}") from error


def read(name: str) -> Iterator[Row]:
    """A row for every record; ids are `split-number`, and texts are read with the audio, once.

    Raises:
      ValueError: no such set, not prepared as ArrayRecord, without audio and text, or without a sample rate.
    """
    for split, records in _open(name).records.items():
        for i in range(len(records)):
            yield Row(f"{split}-{i:08d}", f"{split}#{i}", "", split=split)


def label_names(name: str) -> dict[str, list[str]]:
    """The classes of every label besides the speaker."""
    return _open(name).opened.classes


@functools.lru_cache(maxsize=2)
def full_scale(name: str) -> float:
    """What the samples of a set are divided by: one number for all its clips, so that a quiet one stays quiet.

    Integers are of their own width, or of 16, 24 or 32 bits in a wider one (TFDS keeps what a file held in an int64):
    of the least that the loudest of some clips from all over the set fits in.
    """
    stored, peak = _open(name), 0.0
    for records in stored.records.values():
        for i in range(0, len(records), max(1, len(records) // PROBED)):
            wav = np.asarray(records[i][stored.opened.fields.audio])
            if wav.dtype.kind not in "iu":
                return 1.0
            if wav.dtype.itemsize <= 2:
                return float(np.iinfo(wav.dtype).max) + 1
            peak = max(peak, float(np.abs(wav.astype(np.float64)).max(initial=0)))
    return next((scale for scale in FULL_SCALES if peak <= scale), FULL_SCALES[-1])


def load(name: str, row: Row) -> tuple[np.ndarray, int, Row]:
    """f32[W, C] recording of a row, its rate in Hz, and the row with text, speaker, language and labels.

    Raises:
      Rejected: no text.
    """
    opened, rate, records = _open(name)
    split, _, number = row.audio.partition("#")
    record, fields = records[split][int(number)], opened.fields
    said = functools.partial(opened.said, record)
    row = Row(row.key, row.audio, said(fields.text), said(fields.speaker), said(fields.language), row.split)
    row.labels = {field: said(field) for field in opened.classes}
    if not row.text:
        raise Rejected("text empty", "the record has no text")
    wav = np.asarray(record[fields.audio])
    wav = (wav / full_scale(name)).astype(np.float32)
    return wav.reshape(len(wav), wav.shape[1] if wav.ndim > 1 else 1), rate, row
