"""What a system was to say: the lists of seed-tts-eval with any of their field counts, and plain manifests."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from e2etts_jax.data.prepare import manifest
from e2etts_jax.data.prepare.rows import AUDIO as SUFFIXES

FIELDS = {  # of a line, separated by bars, by how many there are
    2: ("key", "text"),
    3: ("key", "text", "prompt"),
    4: ("key", "prompt_text", "prompt", "text"),
    5: ("key", "prompt_text", "prompt", "text", "reference"),
}
NAMES = {  # columns of a manifest, with the names that they go by; the first one found counts
    "key": (*manifest.KEY, "name"),
    "sound": manifest.AUDIO,
    "text": ("text", "target_text", *manifest.TEXT),
    "prompt": ("prompt", "prompt_wav", "prompt_audio"),
    "prompt_text": ("prompt_text",),
    "reference": ("reference", "reference_wav", "recording"),
}

Rows = Iterator[tuple[int, Mapping[str, str]]]  # numbers of lines, and what stands there by our names


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


def read(path: str | Path, num: int = 0) -> list[Entry]:
    """The entries of a list; recordings that it names are relative to it.

    Args:
      path: lines `utt|text`, `utt|text|prompt wav`, `utt|prompt text|prompt wav|text` or
        `utt|prompt text|prompt wav|text|reference wav`; or a .jsonl, .csv or .tsv with a column `text`, one that names
        the sound (`id`, or `audio`, of which the file's name counts) and, if there are, `prompt`, `prompt_text` and
        `reference`.
      num: entries to read, the first ones; 0 = all.

    Raises:
      FileNotFoundError: no such list, or a recording that it names is missing.
      ValueError: a line that can't be read, a name that comes twice, a text without words, or nothing at all.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"no list {path}")
    manifest.check_utf8(place)
    content = place.read_text(encoding="utf-8-sig")
    rows = {".jsonl": _json, ".csv": _csv, ".tsv": _tsv}.get(place.suffix.lower(), _bars)(content, str(path))
    entries: dict[str, Entry] = {}
    lines: dict[str, int] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        key, text = _key(row, where), row.get("text", "").strip()
        if unwritable(f"{key}{text}"):
            raise ValueError(f"{where}: a broken character (half of a surrogate pair)")
        if not any(c.isalnum() for c in text):
            raise ValueError(f"{where}: the text {text!r} has no words")
        if key in entries:
            raise ValueError(f"{where}: {key!r} comes a second time, after line {lines[key]}")
        sounds = {name: _sound(row, name, place.parent, where) for name in ("prompt", "reference")}
        entries[key] = Entry(key, text, prompt_text=row.get("prompt_text", "").strip(), **sounds)
        lines[key] = number
        if len(entries) == num:
            break
    if not entries:
        raise ValueError(f"{path} is empty")
    return list(entries.values())


def unwritable(text: str) -> bool:
    """Whether it has characters that no file of UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _key(row: Mapping[str, str], where: str) -> str:
    """The name of an utterance: that of a file, of which a column `audio` may tell the folder, too."""
    name = row.get("key", "").strip()
    path = PurePosixPath((name or row.get("sound", "").strip()).replace("\\", "/"))
    if not path.name:
        raise ValueError(f"{where}: no name")
    if name and (path.is_absolute() or ".." in path.parts):
        raise ValueError(f"{where}: the name {name!r} leads out of a system's folder")
    if path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
    return str(path) if name else path.name


def _sound(row: Mapping[str, str], column: str, folder: Path, where: str) -> Path | None:
    name = row.get(column, "").strip()
    if not name:
        return None
    path = folder / name  # an absolute one stays what it is
    if not path.is_file():
        hint = f"; a line is {row['form']}" if "form" in row else ""
        raise FileNotFoundError(f"{where}: no recording {path}{hint}")
    return path


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Lines with something in them, with their numbers. Only \\n ends one: a text may hold U+2028."""
    return ((number, line.strip()) for number, line in enumerate(content.split("\n"), 1) if line.strip())


def _bars(content: str, name: str) -> Rows:
    for number, line in _lines(content):
        parts = line.split("|")
        if len(parts) not in FIELDS:
            hint = "; a manifest's name ends in .tsv, .csv or .jsonl" if len(parts) == 1 else ""
            raise ValueError(f"{name}, line {number}: {len(parts)} fields; a line has 2 to 5, separated by '|'{hint}")
        names = FIELDS[len(parts)]
        yield number, {**dict(zip(names, parts, strict=True)), "form": "|".join(names)}


def _json(content: str, name: str) -> Rows:
    for number, line in _lines(content):
        where = f"{name}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where} is no JSON object")
        ours = {name for names in NAMES.values() for name in names}
        odd = next((k for k, v in row.items() if k.strip().lower() in ours and not _is_text(v)), None)
        if odd is not None:
            raise ValueError(f"{where}: {odd!r} is no text: {row[odd]!r}")
        yield number, _named({key: str(value) for key, value in row.items() if value is not None}, list(row), where)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _csv(content: str, name: str) -> Rows:
    table = csv.DictReader(io.StringIO(content, newline=""), strict=True, skipinitialspace=True)
    try:
        _head(list(table.fieldnames or ()), name)
        for row in table:
            where = f"{name}, line {table.line_num}"
            broken = next((str(value) for value in row.values() if "\n" in str(value)), "")
            if broken:
                raise ValueError(f"{where}: a field of several lines; is a quote left open in {broken[:30]!r}?")
            if None in row:
                raise ValueError(f"{where}: more fields than the {len(row) - 1} of the head; quote a text with commas")
            filled = {column: value for column, value in row.items() if column and value}
            yield table.line_num, _named(filled, list(table.fieldnames or ()), where)
    except csv.Error as error:
        raise ValueError(f"{name}, after line {table.line_num}: {error}") from None


def _tsv(content: str, name: str) -> Rows:
    """Without quotes: a text may begin with one."""
    head: list[str] = []
    for number, line in ((n, line.strip("\r")) for n, line in enumerate(content.split("\n"), 1)):
        fields, where = line.split("\t"), f"{name}, line {number}"
        if not line.strip():
            continue
        if not head:
            head = _head(fields, name)
            continue
        if len(fields) > len(head):
            raise ValueError(f"{where}: {len(fields)} fields; the head has {len(head)}")
        yield number, _named(dict(zip(head, fields, strict=False)), head, where)


def _head(columns: list[str], name: str) -> list[str]:
    """The columns of a table.

    Raises:
      ValueError: two of one name.
    """
    if twice := manifest.repeated([column.strip().lower() for column in columns]):
        raise ValueError(f"{name}: two columns named {twice!r}")
    return columns


def _named(row: Mapping[str, str], columns: list[str], where: str) -> dict[str, str]:
    """The columns by our names for them."""
    lower = {column.strip().lower(): value for column, value in row.items()}
    found = {}
    for field, names in NAMES.items():
        value = next((lower[name] for name in names if lower.get(name)), None)
        if value:
            found[field] = value
    known = {column.strip().lower() for column in columns}
    if not known & {*NAMES["text"]} or not known & {*NAMES["key"], *NAMES["sound"]}:
        has = ", ".join(columns)
        raise ValueError(f"{where}: needs a column `text` and one that names the sound (`id` or `audio`); it has {has}")
    return found
