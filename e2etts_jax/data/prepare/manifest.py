"""Rows of a JSONL or CSV manifest."""

import codecs
import collections
import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from e2etts_jax.data.prepare.rows import AUDIO as SUFFIXES
from e2etts_jax.data.prepare.rows import Row

# The names that other projects give the columns; the first one found counts.
AUDIO = ("audio", "audio_filepath", "audio_path", "audio_file", "path", "file", "wav", "filename")
TEXT = ("text", "transcript", "transcription", "sentence")
KEY = ("id", "key", "utt_id", "utt", "clip_id")
SPEAKER = ("speaker", "speaker_id", "spk", "client_id")
LANGUAGE = ("language", "lang", "locale")
SPLIT = ("split", "subset")


def read(path: Path) -> Iterator[Row]:
    """Rows of the manifest `path`: JSON objects one a line, or a table whose first line names the columns.

    Raises:
      ValueError: not UTF-8, no column with audio or text, a column named twice, or no row.
    """
    check_utf8(path)
    is_json = path.suffix.lower() in (".jsonl", ".json") or first_line(path).startswith("{")
    pairs = _jsonl(path) if is_json else _csv(path)
    seen, usable, last = False, not is_json, {}  # a table has said its columns
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
                wide = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                raise ValueError(
                    f"{path} is not UTF-8 (byte 0x{line[error.start]:02x} in line {number}); "
                    f"convert it: iconv -f {'utf-16' if wide else 'latin1'} -t utf-8 {path.name} > utf8{path.suffix}"
                ) from None


def first_line(path: Path) -> str:
    """The first line with something in it, '' if there is none."""
    with path.open("rb") as file:
        lines = (file.readline(100_000) for _ in range(1000))
        found = next((line for line in lines if line.strip(codecs.BOM_UTF8 + b" \t\r\n")), b"")
    return found.decode(errors="replace").strip("\ufeff \r\n")


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


class _Lines:
    """The lines of a file, some of which may be given back to be read again.

    Attributes:
      number: of the line that was given last.
    """

    def __init__(self, file: Iterable[str]) -> None:
        self._file, self.number = iter(file), 0
        self._back: collections.deque[str] = collections.deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._file)
        self.number += 1
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


def _csv(path: Path) -> Iterator[tuple[int, dict | str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _Lines(file)
        names, delimiter = _header(path, lines)
        audio = next((names.index(name) for name in AUDIO if name in names), 0)
        for line in lines:
            if not line.strip(" \r\n"):
                continue
            number, values = lines.number, line.rstrip("\r\n").split(delimiter)
            if '"' in line:
                found = _quoted(line, lines, delimiter, len(names), audio)
                literal = delimiter in "\t|"  # in a table of tabs or bars a quote may also be a quote
                if isinstance(found, list) and (len(found) == len(names) or not literal):
                    values = found
                elif isinstance(found, str) and not literal:
                    yield number, found
                    continue
            if len(values) != len(names):
                yield number, f"{len(values)} fields instead of {len(names)}"
            else:
                yield number, dict(zip(names, values, strict=True))


def _header(path: Path, lines: _Lines) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them."""
    first = next((line for line in lines if line.strip()), "")
    said = first.strip().removeprefix("sep=")  # Excel says it in a line of its own
    if said != first.strip() and len(said) == 1:
        first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t|", key=first.count)
    names = [name.strip().strip("\ufeff") for name in next(csv.reader([first], delimiter=delimiter), [])]
    if names and not (set(names) & set(AUDIO) and set(names) & set(TEXT)):
        raise ValueError(
            f"manifest {path} needs a first line with columns 'audio' and 'text'; it has "
            f"{', '.join(map(repr, names))[:200]}"
        )
    if twice := repeated(names):
        raise ValueError(f"manifest {path} has {names.count(twice)} columns named {twice!r}; rename one of them")
    return names, delimiter


def repeated(names: Sequence[str]) -> str:
    """The first name that comes more than once, '' if none does."""
    return next((name for name in names if name and names.count(name) > 1), "")


def _quoted(line: str, lines: _Lines, delimiter: str, width: int, audio: int) -> list[str] | str:
    """The fields of a row that begins with `line` and has quotes, or what is wrong with them.

    A quote may hold delimiters and line ends, but no other rows; then only `line` is lost.

    Args:
      lines: those that follow.
      width: fields of a row, the one numbered `audio` is the path of a recording.
    """
    taken = [line]

    def more() -> Iterator[str]:
        yield line
        for following in lines:
            taken.append(following)
            yield following

    try:
        values, wrong = next(csv.reader(more(), delimiter=delimiter, strict=True)), ""
    except csv.Error as error:
        values, wrong = [], f"{error}; is a quote not closed?"
    if len(taken) > 1 and not wrong:
        end = os.path.splitext(values[audio].strip().lower())[1] if len(values) == width else ""
        rows = [part for part in taken if _is_row(part.rstrip("\r\n").split(delimiter), width, audio, end)]
        if len(values) != width:
            wrong = f"{len(values)} fields instead of {width}"
        elif len(rows) > 1:
            wrong = "it would hold other rows; is a quote not closed?"
    if not wrong:
        return values
    last = lines.number
    lines.give_back(taken[1:])
    return f"no row, read up to line {last}: {wrong}"


def _is_row(pieces: list[str], width: int, audio: int, end: str) -> bool:
    """Could a line be a row of its own? It has the fields, and a recording among them where one should be.

    `end` is that of the file's name in the row that holds the line; without one every name could be a recording's.
    """
    if len(pieces) < width:
        return False
    places = {pieces[audio], pieces[audio - width]}  # commas in the text before it or after it
    return not end or any(piece.strip(' "').lower().endswith((end, *SUFFIXES)) for piece in places)


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
