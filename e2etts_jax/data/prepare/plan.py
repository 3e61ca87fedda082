"""Which clip goes into which shard: decided once, from the source alone, and written down before any work."""

import collections
import dataclasses
import hashlib
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from e2etts_jax.data.prepare import layouts
from e2etts_jax.data.prepare.options import Options
from e2etts_jax.data.prepare.rows import Row, sift

VERSION = 1  # of the folder's format and of what is done to a clip; shards of another one are not continued
NAME = "speech"  # of the data set in TFDS; the same for every folder, so that equal input gives equal bytes
MAX_CLIPS = 500  # a shard: about 256 MB at 24 kHz and 10 s a clip
MIN_CLIPS = 25
SHARDS = 64  # a small corpus is cut into about so many, so that every core has work and a kill loses little
MAX_CLASSES = 64
RESERVED = ("audio", "text", "key", "speaker", "language", "xvector", "split")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Number `number` of the `count` shards of `split`, planned for `clips` clips."""

    split: str
    number: int
    count: int
    clips: int

    @property
    def file(self) -> str:
        """As TFDS names it."""
        return f"{NAME}-{self.split}.array_record-{self.number:05d}-of-{self.count:05d}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
      options: what the user asked for.
      labels: classes of every label column.
      shards: all of them.
      clips: planned ones.
      digest: of the options and every row; a shard of another digest does not belong to the plan.
    """

    options: Options
    labels: dict[str, list[str]]
    shards: list[Shard]
    clips: int
    digest: str

    @classmethod
    def read(cls, out: Path) -> "Plan":
        """The plan that `make` wrote into `out`."""
        stored = json.loads((out / "prepare" / "plan.json").read_text())
        return cls(Options.from_json(stored["options"]), stored["labels"], [Shard(*s) for s in stored["shards"]],
                   stored["clips"], stored["digest"])  # fmt: skip

    def rows(self, out: Path, shard: Shard) -> list[Row]:
        """The rows of a shard."""
        with (out / "prepare" / f"{shard.file}.rows.jsonl").open() as file:
            return [Row(**json.loads(line)) for line in file]


def make(options: Options, out: Path) -> Plan:
    """Reads the source and writes the plan into `out`, or finds there the plan it would write.

    Raises:
      ValueError: the source has no usable row, or `out` belongs to another source, other options or another version.
    """
    is_tfds = options.layout == "tfds"
    limit = options.max_seconds * options.max_rate
    if is_tfds:
        from e2etts_jax.data.prepare import tfds_rows

        name = options.source.removeprefix("tfds:")
        rows, rejected = sift(tfds_rows.read(name), limit, texts=False)
        labels = {name: names for name, names in tfds_rows.label_names(name).items() if name not in RESERVED}
    else:
        rows, rejected = sift(layouts.read(Path(options.source), options.layout), limit)
        labels = label_columns(rows)
    for row in rows:
        row.labels = {name: value.strip() for name, value in row.labels.items() if name in labels}
    splits = assign_splits(rows, dict(options.splits))
    digest = hashlib.sha256(json.dumps([VERSION, options.to_json(), labels], sort_keys=True).encode())
    shards, parts = [], []
    for split, members in sorted(splits.items()):
        size = min(MAX_CLIPS, max(MIN_CLIPS, -(-len(members) // SHARDS)))
        count = -(-len(members) // size)
        for k in range(count):
            part = members[k * len(members) // count : (k + 1) * len(members) // count]
            shards.append(Shard(split, k, count, len(part)))
            parts.append("".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in part))
            digest.update(parts[-1].encode())
    refused = "".join(json.dumps(r) + "\n" for r in rejected)
    digest.update(refused.encode())
    plan = Plan(options, labels, shards, len(rows), digest.hexdigest())
    if _is_begun(plan, out):
        return plan
    folder = out / "prepare"
    folder.mkdir(parents=True, exist_ok=True)
    for shard, text in zip(shards, parts, strict=True):
        write_whole(folder / f"{shard.file}.rows.jsonl", text, sync=False)
    write_whole(folder / "rejected.jsonl", refused)
    os.sync()  # once for tens of thousands of files; plan.json says that they are all there
    stored = {"version": VERSION, "options": options.to_json(), "labels": labels, "clips": len(rows),
              "digest": plan.digest, "shards": [list(dataclasses.astuple(s)) for s in shards]}  # fmt: skip
    write_whole(folder / "plan.json", json.dumps(stored, indent=1) + "\n")
    return plan


def _is_begun(plan: Plan, out: Path) -> bool:
    """Does `out` hold this plan already? False if it is new or empty; refuses a folder that holds anything else."""
    path = out / "prepare" / "plan.json"
    if not path.exists():
        other = sorted(p.name for p in out.iterdir() if p.name != "prepare") if out.is_dir() else []
        if other or (out.exists() and not out.is_dir()):
            raise ValueError(f"{out} holds other files ({', '.join(other[:3])}); give --out a new or empty folder")
        return False
    stored = json.loads(path.read_text())
    cure = "give another --out, or remove that folder to prepare it anew"
    if stored["version"] != VERSION:
        raise ValueError(f"{out} was prepared by version {stored['version']} of this command, not {VERSION}; {cure}")
    now = plan.options.to_json()
    differ = [
        f"{k}={stored['options'].get(k)!r} there, {v!r} now" for k, v in now.items() if stored["options"].get(k) != v
    ]
    if differ:
        raise ValueError(f"{out} was prepared with other options: {'; '.join(differ)}; {cure}")
    if stored["digest"] != plan.digest:
        raise ValueError(
            f"{plan.options.source} has changed since {out} was begun ({stored['clips']} usable rows then, "
            f"{plan.clips} now); {cure}"
        )
    return True


def label_columns(rows: list[Row]) -> dict[str, list[str]]:
    """Columns that are labels, with their classes: 2 to 64 different strings, on average each twice, not numbers."""
    values: dict[str, collections.Counter[str] | None] = {}
    for row in rows:
        for name, value in row.labels.items():
            counted = values.setdefault(name, collections.Counter())
            if counted is not None and value.strip():
                counted[value.strip()] += 1
                if len(counted) > MAX_CLASSES:
                    values[name] = None  # stop counting: a text, not a label
    return {
        name: sorted(counted)
        for name, counted in sorted(values.items())
        if counted
        and len(counted) > 1
        and counted.total() >= 2 * len(counted)
        and name.isidentifier()
        and name not in RESERVED
        and not all(map(_is_number, counted))
        and all(value.isprintable() for value in counted)  # TFDS keeps them one a line
    }


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def assign_splits(rows: list[Row], shares: dict[str, float]) -> dict[str, list[Row]]:
    """Rows by split: the source's own splits, or else the given shares, chosen by a hash of the id.

    A split with a share above 0 gets a clip at least; with fewer than two clips for each all are for training.
    """
    found = collections.defaultdict(list)
    if any(row.split for row in rows):
        for row in rows:
            row.split = re.sub(r"[^A-Za-z0-9_]+", "_", row.split.strip()) or "train"
            found[row.split].append(row)
        return dict(found)
    order = sorted(rows, key=lambda row: hashlib.sha256(row.key.encode()).digest())
    start, held = 0, {}
    for name, share in shares.items() if len(rows) >= 2 * (len(shares) + 1) else ():
        stop = start + -int(-len(rows) * share // 1)
        held.update({row.key: name for row in order[start:stop]})
        start = stop
    for row in rows:
        row.split = held.get(row.key, "train")
        found[row.split].append(row)
    return dict(found)


def write_whole(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Writes a file that is either whole or not there, with `sync` also after a power cut."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with part.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def describe(plan: Plan) -> dict[str, Any]:
    """What the data set's metadata says of how it was made."""
    return {
        "loudness": plan.options.loudness,
        "speaker_vectors": plan.options.speaker,
        "label_names": plan.labels,
        "digest": plan.digest,
    }
