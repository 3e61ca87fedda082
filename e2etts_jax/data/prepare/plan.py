"""Which clip goes into which shard: decided once, from the source alone, and written down before any work."""

import collections
import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from e2etts_jax.data import catalog
from e2etts_jax.data.prepare import layouts, speaker
from e2etts_jax.data.prepare.options import Options
from e2etts_jax.data.prepare.rows import Row, sift

VERSION = 1  # of the folder's format and of what is done to a clip; shards of another one are not continued
NAME = "speech"  # of the data set in TFDS; the same for every folder, so that equal input gives equal bytes
MAX_CLIPS = 500  # a shard: about 256 MB at 24 kHz and 10 s a clip
MIN_CLIPS = 25
SHARDS = 64  # a small corpus is cut into about so many, so that every core has work and a kill loses little
MAX_CLASSES = 64
PART = ".prepare.{}.part"  # a plan that is being written
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
      speaker_dim: numbers of a speaker vector.
      speaker_model: SHA-256 of the model that makes them, '' for one that comes with a package.
      taken: clips that were taken out of the source's training split to validate on.
    """

    options: Options
    labels: dict[str, list[str]]
    shards: list[Shard]
    clips: int
    digest: str
    speaker_dim: int = speaker.DIM
    speaker_model: str = ""
    taken: int = 0

    @classmethod
    def read(cls, out: Path) -> "Plan":
        """The plan that `make` wrote into `out`."""
        stored = json.loads((out / "prepare" / "plan.json").read_text())
        del stored["version"]
        options, shards = Options.from_json(stored.pop("options")), [Shard(*s) for s in stored.pop("shards")]
        return cls(options=options, shards=shards, **stored)

    def to_json(self) -> str:
        """What `read` reads."""
        shards = [list(dataclasses.astuple(shard)) for shard in self.shards]
        stored = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {"version": VERSION, "options": self.options.to_json(), "shards": shards}
        return json.dumps(stored | changed, indent=1) + "\n"

    def rows(self, out: Path, shard: Shard) -> list[Row]:
        """The rows of a shard."""
        with (out / "prepare" / f"{shard.file}.rows.jsonl").open() as file:
            return [Row(**json.loads(line)) for line in file]


def make(options: Options, out: Path) -> Plan:
    """Reads the source and writes the plan into `out`, or finds there the plan it would write.

    Any number of processes and machines may do so at once: one of them is first, for the others the plan is begun.

    Raises:
      ValueError: the source has no usable row, or `out` belongs to another source, other options or another version.
    """
    plan, files = _planned(options)
    if not _is_begun(plan, out):
        _begin(plan, files, out)
    for left in out.glob(PART.format("*")):  # of a process that was killed, or that sees now that it isn't the first
        shutil.rmtree(left, ignore_errors=True)
    return plan


def _planned(options: Options) -> tuple[Plan, dict[str, str]]:
    """The plan, and the files that say which row goes where."""
    rows, rejected, labels = _rows(options)
    named = {row.split for row in rows} - {""}
    splits = assign_splits(rows, dict(options.splits))
    taken = len(splits.get("validation", ())) if named and "validation" not in named else 0
    digest = hashlib.sha256(json.dumps([VERSION, options.to_json(), labels], sort_keys=True).encode())
    shards, files = [], {}
    for split, members in sorted(splits.items()):
        size = min(MAX_CLIPS, max(MIN_CLIPS, -(-len(members) // SHARDS)))
        count = -(-len(members) // size)
        for k in range(count):
            part = members[k * len(members) // count : (k + 1) * len(members) // count]
            shard = Shard(split, k, count, len(part))
            text = "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in part)
            digest.update(text.encode())
            shards.append(shard)
            files[f"{shard.file}.rows.jsonl"] = text
    files["rejected.jsonl"] = "".join(json.dumps(r) + "\n" for r in rejected)
    digest.update(files["rejected.jsonl"].encode())
    plan = Plan(
        options,
        labels,
        shards,
        len(rows),
        digest.hexdigest(),
        speaker_dim=speaker.width(options.speaker),
        speaker_model=speaker.fingerprint(options.speaker),
        taken=taken,
    )
    return plan, files


def _rows(options: Options) -> tuple[list[Row], list[dict[str, Any]], dict[str, list[str]]]:
    """Usable rows, the rejections of the others, and the classes of every label."""
    limit = options.max_seconds * options.max_rate
    if options.layout == "tfds":
        from e2etts_jax.data.prepare import tfds_rows

        name = options.source.removeprefix("tfds:")
        rows, rejected = sift(tfds_rows.read(name), limit, texts=False)
        labels = {name: names for name, names in tfds_rows.label_names(name).items() if name not in RESERVED}
    else:
        rows, rejected = sift(layouts.read(Path(options.source), options.layout), limit)
        labels = label_columns(rows)
    for row in rows:
        row.labels = {name: value.strip() for name, value in row.labels.items() if name in labels}
    return rows, rejected, labels


def _begin(plan: Plan, files: dict[str, str], out: Path) -> None:
    """Writes the plan's folder under another name and moves it into place: all of it or nothing, and the first wins.

    Raises:
      OSError: it can't be written.
      ValueError: another process was first, with another plan.
    """
    part = out / PART.format(secrets.token_hex(8))
    try:
        part.mkdir(parents=True)
        for name, text in (files | {"plan.json": plan.to_json()}).items():
            (part / name).write_text(text)
        os.sync()  # once for tens of thousands of files
        part.replace(out / "prepare")
    except OSError:  # also where the first one has swept up our part
        if not _is_begun(plan, out):
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_begun(plan: Plan, out: Path) -> bool:
    """Does `out` hold this plan already? False if it is new or empty; refuses a folder that holds anything else."""
    folder, cure = out / "prepare", "give another --out, or remove that folder to prepare it anew"
    # Looked at first: another process may begin right now, and whatever is there comes into being after its plan.
    other = sorted(p.name for p in out.iterdir() if not p.match(PART.format("*"))) if out.is_dir() else []
    filled = folder.is_dir() and any(folder.iterdir())
    if not (folder / "plan.json").exists():
        if filled:
            raise ValueError(f"{folder} holds no plan, a run of an earlier version was killed; {cure}")
        other = [name for name in other if name != folder.name]
        if other or (out.exists() and not out.is_dir()):
            raise ValueError(f"{out} holds other files ({', '.join(other[:3])}); give --out a new or empty folder")
        return False
    stored = json.loads((folder / "plan.json").read_text())
    if stored["version"] != VERSION:
        raise ValueError(f"{out} was prepared by version {stored['version']} of this command, not {VERSION}; {cure}")
    now = plan.options.to_json()
    differ = [
        f"{k}={stored['options'].get(k)!r} there, {v!r} now" for k, v in now.items() if stored["options"].get(k) != v
    ]
    if differ:
        raise ValueError(f"{out} was prepared with other options: {'; '.join(differ)}; {cure}")
    if stored.get("speaker_model", plan.speaker_model) != plan.speaker_model:
        raise ValueError(f"the model {plan.options.speaker} has changed since {out} was begun; {cure}")
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

    A split with a share above 0 gets a clip at least; with fewer than two clips for each all are for training. Where
    the source names splits, but none to validate on, the share of `validation` is taken out of what it trains on.
    """
    named = any(row.split for row in rows)
    for row in rows:
        row.split = re.sub(r"[^A-Za-z0-9_]+", "_", row.split.strip()) or "train"
    there = sorted({row.split for row in rows})
    train = catalog.stored_as("train", there)
    if named:  # a source that is all for training is divided by the trainer
        wanted = set(there) > set(train) and not catalog.stored_as("validation", there)
        shares = {name: share for name, share in shares.items() if name == "validation"} if wanted else {}
    _hold_out([row for row in rows if row.split in train], shares)
    found = collections.defaultdict(list)
    for row in rows:
        found[row.split].append(row)
    return dict(found)


def _hold_out(rows: list[Row], shares: dict[str, float]) -> None:
    """Gives the first rows in the order of the hashes of their ids to the splits `shares`."""
    if len(rows) < 2 * (len(shares) + 1):
        return
    order, start = sorted(rows, key=lambda row: hashlib.sha256(row.key.encode()).digest()), 0
    for name, share in shares.items():
        stop = start + -int(-len(rows) * share // 1)
        for row in order[start:stop]:
            row.split = name
        start = stop


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
