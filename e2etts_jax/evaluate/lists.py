"""What a system was to say: the lists of seed-tts-eval with any of their field counts, and plain manifests."""

import csv
import dataclasses
import io
import json
from pathlib import Path

from e2etts_jax.data.prepare.manifest import check_utf8

FIELDS = {  # of a line, separated by bars, by how many there are
    2: ("key", "text"),
    3: ("key", "text", "prompt"),
    4: ("key", "prompt_text", "prompt", "text"),
    5: ("key", "prompt_text", "prompt", "text", "reference"),
}
NAMES = {  # columns of a manifest, with other names that they go by
    "key": ("id", "utt", "name", "audio", "wav", "path", "file"),
    "text": ("target_text", "sentence", "transcript"),
    "prompt": ("prompt_wav", "prompt_audio"),
    "prompt_text": (),
    "reference": ("reference_wav", "recording"),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One utterance of a list.

    Attributes:
      key: its name; the sound is `<key>.wav` in the folder of a system.
      text: what is to be said.
      prompt: recording whose voice it is to have; prompt_text: what is said there.
      reference: recording of the same words.
    """

    key: str
    text: str
    prompt: Path | None = None
    prompt_text: str = ""
    reference: Path | None = None


def read(path: str | Path) -> list[Entry]:
    """The entries of a list; recordings that it names are relative to it.

    Args:
      path: lines `utt|text`, `utt|text|prompt wav`, `utt|prompt text|prompt wav|text` or
        `utt|prompt text|prompt wav|text|reference wav`; or a .jsonl, .csv or .tsv with a column `text`, one that names
        the sound (`id` or `audio`) and, if there are, `prompt`, `prompt_text` and `reference`.

    Raises:
      FileNotFoundError: no such list, or a recording that it names is missing.
      ValueError: a line that can't be read, a name that comes twice, a text without words, or nothing at all.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"no list {path}")
    check_utf8(place)
    content = place.read_text(encoding="utf-8-sig")
    rows = {".jsonl": _json, ".csv": _table, ".tsv": _table}.get(place.suffix.lower(), _bars)(content, str(path))
    entries: dict[str, Entry] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        key, text = _key(row.get("key", "")), row.get("text", "").strip()
        if not key or not any(c.isalnum() for c in text):
            raise ValueError(f"{where}: {'no name' if not key else f'the text {text!r} has no words'}")
        if key in entries:
            raise ValueError(f"{where}: {key!r} comes a second time")
        sounds = {name: _sound(row.get(name, ""), place.parent, where) for name in ("prompt", "reference")}
        entries[key] = Entry(key, text, prompt_text=row.get("prompt_text", "").strip(), **sounds)
    if not entries:
        raise ValueError(f"{path} is empty")
    return list(entries.values())


def _key(name: str) -> str:
    name = name.strip()
    return name[:-4] if name.lower().endswith(".wav") else name


def _sound(name: str, folder: Path, where: str) -> Path | None:
    if not name.strip():
        return None
    path = folder / name.strip()  # an absolute one stays what it is
    if not path.is_file():
        raise FileNotFoundError(f"{where}: no recording {path}")
    return path


def _lines(content: str) -> list[tuple[int, str]]:
    """Lines with something in them, with their numbers. Only \\n ends one: a text may hold U+2028."""
    return [(number, line.strip()) for number, line in enumerate(content.split("\n"), 1) if line.strip()]


def _bars(content: str, name: str) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in _lines(content):
        parts = line.split("|")
        if len(parts) not in FIELDS:
            raise ValueError(f"{name}, line {number}: {len(parts)} fields; a line has 2 to 5, separated by '|'")
        rows.append((number, dict(zip(FIELDS[len(parts)], parts, strict=True))))
    return rows


def _json(content: str, name: str) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in _lines(content):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}, line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{name}, line {number} is no JSON object")
        rows.append((number, _named(row, name)))
    return rows


def _table(content: str, name: str) -> list[tuple[int, dict[str, str]]]:
    delimiter = "\t" if name.lower().endswith(".tsv") else ","
    return [
        (number, _named(row, name))
        for number, row in enumerate(csv.DictReader(io.StringIO(content), delimiter=delimiter), 2)
    ]


def _named(row: dict, name: str) -> dict[str, str]:
    """The columns by our names for them."""
    found = {}
    for field, others in NAMES.items():
        column = next((c for c in (field, *others) if row.get(c) is not None), None)
        if column:
            found[field] = str(row[column])
    if "text" not in found or "key" not in found:
        has = ", ".join(map(str, row))
        raise ValueError(f"{name} needs a column `text` and one that names the sound (`id` or `audio`); it has {has}")
    return found
