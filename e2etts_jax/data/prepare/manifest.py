"""Rows of a JSONL or CSV manifest."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2etts_jax.data.prepare.rows import Row

# The names that other projects give the columns; the first one found counts.
AUDIO = ("audio", "audio_filepath", "audio_path", "audio_file", "path", "file", "wav", "filename")
TEXT = ("text", "transcript", "transcription", "sentence")
KEY = ("id", "key", "utt_id", "utt", "clip_id")
SPEAKER = ("speaker", "speaker_id", "spk", "client_id")
LANGUAGE = ("language", "lang", "locale")
SPLIT = ("split", "subset")


def read(path: Path) -> Iterator[Row]:
    """Rows of the manifest `path`: .csv, .tsv, or JSON objects one a line.

    Raises:
      ValueError: not UTF-8, no column with audio or text, or no row.
    """
    check_utf8(path)
    pairs = _csv(path) if path.suffix.lower() in (".csv", ".tsv") else _jsonl(path)
    seen, usable, last = False, False, {}
    for number, fields in pairs:
        seen = True
        if isinstance(fields, dict):
            last = fields
            usable |= _pick(fields, AUDIO) is not None and _pick(fields, TEXT) is not None
            yield _row(path, number, fields)
        else:
            yield Row(f"line {number}", path.name, "", problem=("bad row", fields))
    if not seen:
        raise ValueError(f"manifest {path} has no row")
    if not usable:
        found = ", ".join(map(repr, last)) or "no JSON object"
        raise ValueError(f"manifest {path} needs columns 'audio' and 'text'; it has {found}")


def check_utf8(path: Path) -> None:
    """Refuses a file in another encoding, which would garble every text.

    Raises:
      ValueError: not UTF-8, naming the line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 (byte 0x{line[error.start]:02x} in line {number}); "
                    f"convert it: iconv -f latin1 -t utf-8 {path.name} > utf8{path.suffix}"
                ) from None


def _jsonl(path: Path) -> Iterator[tuple[int, dict | str]]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:  # a text may hold U+2028; only \n ends a line
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"
                continue
            yield number, fields if isinstance(fields, dict) else f"a {type(fields).__name__}, not an object"


def _csv(path: Path) -> Iterator[tuple[int, dict | str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t|", key=first.count)
        # in a table of tabs a quote is a quote; elsewhere it may hold delimiters and line ends, but no rows
        plain = delimiter in "\t|"
        reader = csv.reader(
            file, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL, strict=True
        )
        names: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"not CSV up to line {reader.line_num}: {error}; is a quote not closed?"
                continue
            if not values:
                continue
            if names is None:
                names = [name.strip() for name in values]
                if not (set(names) & set(AUDIO) and set(names) & set(TEXT)):
                    raise ValueError(
                        f"manifest {path} needs a first line with columns 'audio' and 'text'; it has "
                        f"{', '.join(map(repr, names))[:200]}"
                    )
            elif any(part.count(delimiter) >= len(names) - 1 for value in values for part in value.splitlines()[1:]):
                yield line, f"a quote that opens here closes in line {reader.line_num}, over other rows"
            elif len(values) != len(names):
                yield reader.line_num, f"{len(values)} fields instead of {len(names)}"
            else:
                yield reader.line_num, dict(zip(names, values, strict=True))


def _pick(fields: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)


def _row(path: Path, number: int, fields: dict[str, Any]) -> Row:
    taken: dict[str, str] = {}
    problem = None
    for role, names in (("audio", AUDIO), ("text", TEXT), ("key", KEY), ("speaker", SPEAKER), ("language", LANGUAGE),
                        ("split", SPLIT)):  # fmt: skip
        name = _pick(fields, names)
        value = fields.get(name) if name else None
        if value is None and role == "text" and name:
            value = ""  # null: nothing is said
        if value is None and role in ("audio", "text"):
            problem = problem or ("bad row", f"line {number} of {path.name} has no {role}")
        elif value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            problem = problem or ("bad row", f"{name} in line {number} is a {type(value).__name__}, not a string")
            value = None
        taken[role] = "" if value is None else str(value)
    if not taken["audio"] and problem is None:
        problem = ("bad row", f"line {number} of {path.name} names no recording")
    used = set(AUDIO + TEXT + KEY + SPEAKER + LANGUAGE + SPLIT)
    labels = {name: value for name, value in fields.items() if name not in used and isinstance(value, str) and value}
    key = taken.pop("key") or os.path.splitext(taken["audio"])[0] or f"line {number}"
    return Row(key=key, labels=labels, problem=problem, **taken)
