"""One shard: written by a function of the plan alone, so that any process on any machine may do it, and again."""

import functools
import json
import os
import secrets
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data.prepare import clip as clips
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.data.prepare.options import RATES, Options
from e2etts_jax.data.prepare.plan import Plan, Shard, write_whole
from e2etts_jax.data.prepare.rows import Rejected, rejection


@functools.lru_cache(maxsize=1)
def _plan(out: Path) -> Plan:
    return Plan.read(out)


def note_path(out: Path, shard: Shard) -> Path:
    """What is known of a finished shard; written after it, so it stands for both."""
    return out / "prepare" / f"{shard.file}.json"


def place_path(out: Path, shard: Shard) -> Path:
    """The row at work: who dies leaves it behind."""
    return out / "prepare" / f"{shard.file}.at"


def read_note(out: Path, shard: Shard, digest: str) -> dict[str, Any] | None:
    """The note of a shard that is finished and whole, else None."""
    try:
        note = json.loads(note_path(out, shard).read_text())
        whole = note["digest"] == digest and (out / shard.file).stat().st_size == note["bytes"]
    except (OSError, ValueError, KeyError):
        return None
    return note if whole else None


def features(labels: dict[str, list[str]], speaker_dim: int) -> Any:
    """The TFDS features of a record; a label that a clip lacks is -1, `speaker_dim` numbers make a speaker vector."""
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "text": text(),
            "key": text(),
            "speaker": text(),
            "language": text(),
            "xvector": tfds.features.Tensor(shape=(speaker_dim,), dtype=np.float32, encoding="bytes"),
        }
        | {name: tfds.features.ClassLabel(names=names) for name, names in labels.items()}
    )


def serializer(labels: dict[str, list[str]], speaker_dim: int) -> Callable[[dict[str, Any]], bytes]:
    """From a record to the bytes that TFDS reads; equal records give equal bytes."""
    from tensorflow_datasets.core import example_serializer

    spec = features(labels, speaker_dim)
    examples = example_serializer.ExampleSerializer(spec.get_serialized_info())

    def serialize(record: dict[str, Any]) -> bytes:
        # not spec.serialize_example: the fields of a protobuf map come in an order that changes with the process
        return examples.get_tf_example(spec.encode_example(record)).SerializeToString(deterministic=True)

    return serialize


def rate_of(options: Options, out: Path, plan: Plan) -> int:
    """Hz of the stored audio: the one asked for, or that of the first recording that can be read.

    Raises:
      ValueError: none can be read, or it is no rate of speech.
    """
    if options.sample_rate:
        return options.sample_rate
    for shard in plan.shards:
        for row in plan.rows(out, shard):
            try:
                rate = clips.load(row, options)[1]
            except Rejected:
                continue
            if not RATES[0] <= rate <= RATES[1]:
                raise ValueError(
                    f"--sample_rate=0: {row.audio}, the first, is at {rate} Hz, not {RATES[0]}..{RATES[1]}; "
                    "say which rate to store, as in --sample_rate=24000"
                )
            return rate
    raise ValueError(f"--sample_rate=0: no recording of {options.source} can be read, so none tells the rate")


@functools.lru_cache(maxsize=1)
def _rate(out: Path, plan_digest: str) -> int:
    return rate_of(_plan(out).options, out, _plan(out))


def write_shard(out: Path, number: int, skip: Collection[int] = (), on_clip: Callable[[], None] = lambda: None) -> None:
    """Writes shard `number` of the plan in `out`, and then its note.

    Args:
      skip: rows that killed a process, to be rejected unread.
      on_clip: called after every clip.

    Raises:
      OSError: the disk is full, or the folder gone.
    """
    from array_record.python import array_record_module

    plan = _plan(out)
    shard, options = plan.shards[number], plan.options
    rows, rate, serialize = plan.rows(out, shard), _rate(out, plan.digest), serializer(plan.labels, plan.speaker_dim)
    extractor = speakers.cached(options.speaker)
    kept, rejected = [], []
    part = out / "prepare" / f".{shard.file}.{secrets.token_hex(4)}.part"
    # TFDS compresses, which saves a sixth of PCM and makes reading four times as slow
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1,uncompressed")
    place = os.open(place_path(out, shard), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        for i, row in enumerate(rows):
            os.pwrite(place, struct.pack("<q", i), 0)
            try:
                if i in skip:
                    raise Rejected("kills the reader", "the process that read it died twice at this clip")
                clip = clips.process(row, options, rate, extractor)
            except Rejected as error:
                rejected.append(rejection(row, error.reason, error.detail))
            except Exception as error:  # noqa: BLE001 -- a night's run must not end at one clip; it is named
                rejected.append(rejection(row, "failed", f"{type(error).__name__}: {error}"[:300]))
            else:
                labels = {
                    n: c.index(clip.row.labels[n]) if clip.row.labels.get(n) else -1 for n, c in plan.labels.items()
                }
                fields = {
                    "text": clip.row.text,
                    "key": row.key,
                    "speaker": clip.row.speaker,
                    "language": clip.row.language,
                }
                writer.write(serialize(fields | labels | {"audio": clip.samples, "xvector": clip.xvector}))
                kept.append(
                    fields
                    | {"samples": len(clip.samples), "labels": labels, "loudness": round(clip.loudness, 2)}
                    | {"limited": clip.limited}
                )
            on_clip()
        os.pwrite(place, struct.pack("<q", len(rows)), 0)
        writer.close()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        size = part.stat().st_size
        part.replace(out / shard.file)
    finally:
        os.close(place)
        part.unlink(missing_ok=True)
    note = {"digest": plan.digest, "bytes": size, "rate": rate, "clips": kept, "rejected": rejected}
    write_whole(note_path(out, shard), json.dumps(note))
    place_path(out, shard).unlink(missing_ok=True)
