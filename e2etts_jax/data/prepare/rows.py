"""One row for each clip of a source, and what can be said against it without opening the recording."""

import dataclasses
import unicodedata
from collections.abc import Iterable
from typing import Any

LAYOUTS = ("manifest", "filelist", "ljspeech", "libritts", "vctk", "folder", "tfds")
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")  # ends of file names
MAX_KEY = 512

# Every reason a clip can be rejected for, with what it means; rejected.jsonl says the particulars.
REASONS = {
    "bad row": "the line is not JSON, lacks a field, or a field is of the wrong type",
    "bad key": f"no id, an id over {MAX_KEY} characters, or one with control characters",
    "duplicate id": "another clip has the id; the first one is kept",
    "bad text": "not UTF-8, or control characters in it",
    "text empty": "no letter and no digit",
    "text too long": "more than can be said in --max_seconds",
    "missing file": "no such file",
    "outside the folder": "the recording lies outside the source's folder and of every --root",
    "not a file": "a folder, pipe or device",
    "unreadable": "no permission, or no audio that libsndfile reads",
    "truncated": "the file ends before the recording does",
    "empty": "no samples",
    "not finite": "NaN or infinite samples",
    "other sample rate": "with --sample_rate=0, not the rate of the first recording",
    "too short": "below --min_seconds",
    "too long": "above --max_seconds",
    "silent": "below -60 dBFS",
    "clipped": "more than 1 % of the samples at full scale",
    "text/audio ratio": "characters a second outside --chars_per_second",
    "speaker vector": "the extractor failed on it",
    "failed": "an error that none of the others describes",
    "kills the reader": "the process that read it died, twice",
}


class Rejected(Exception):
    """A clip that stays out: `reason`, one of REASONS, and `detail` for the user."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclasses.dataclass
class Row:
    """A clip as the source describes it.

    Attributes:
      key: its id.
      audio: path as written in the source; for TFDS `split#record`.
      text: its words; of a TFDS record still unknown.
      speaker, language, split: '' = not said.
      labels: further columns, those with few distinct values become labels.
      problem: reason and detail, where the source is wrong already.
    """

    key: str
    audio: str
    text: str
    speaker: str = ""
    language: str = ""
    split: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    problem: tuple[str, str] | None = None


def rejection(row: Row, reason: str, detail: str) -> dict[str, Any]:
    """A line of rejected.jsonl."""
    return {"key": row.key, "path": row.audio, "reason": reason, "detail": detail}


def weight(text: str) -> float:
    """Characters of `text`, each counted as the letters that take as long to say: a Han character 3, a digit 4."""
    return sum(map(_weight, text))


def _weight(c: str) -> float:
    if c.isascii():
        return 4 if c.isdigit() else 1
    if "\u3040" <= c <= "\u30ff":  # kana: a mora
        return 2
    if "\uac00" <= c <= "\ud7a3":  # Hangul: a syllable
        return 2.5
    if "\u3400" <= c <= "\u9fff" or "\uf900" <= c <= "\ufaff" or c >= "\U00020000":  # Han
        return 3
    return 0 if unicodedata.combining(c) else 1


def clean_text(text: str, limit: float) -> str:
    """The text in NFC without white space around it.

    Raises:
      Rejected: nothing to say, too much of it (`limit`, by `weight`), or not text.
    """
    text = unicodedata.normalize("NFC", text).strip()
    for c in text:
        if unicodedata.category(c) in ("Cc", "Cs") and not c.isspace():
            raise Rejected("bad text", f"holds U+{ord(c):04X}, a control character or half of one")
    if not any(unicodedata.category(c)[0] in "LN" for c in text):
        raise Rejected("text empty", f"{text[:40]!r} has no letter and no digit")
    if weight(text) > limit:
        raise Rejected("text too long", f"{len(text)} characters; {limit:.0f} can be said in the longest clip")
    return text


def clean_key(key: str) -> str:
    """The id in NFC.

    Raises:
      Rejected: it can't be one.
    """
    key = unicodedata.normalize("NFC", key).strip()
    if not key:
        raise Rejected("bad key", "no id")
    if len(key) > MAX_KEY:
        raise Rejected("bad key", f"{len(key)} characters; at most {MAX_KEY}")
    bad = [c for c in key if unicodedata.category(c) in ("Cc", "Cs")]
    if bad:
        raise Rejected("bad key", f"holds U+{ord(bad[0]):04X}, a control character or half of one")
    return key


def sift(rows: Iterable[Row], limit: float, texts: bool = True) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows worth opening, sorted by id, and the rejections of the others.

    `limit` is the longest text by `weight`; with `texts` False they are not known yet.
    """
    good: dict[str, Row] = {}
    rejected = []
    for row in rows:
        try:
            if row.problem:
                raise Rejected(*row.problem)
            row.key = clean_key(row.key)
            if texts:
                row.text = clean_text(row.text, limit)
            if row.key in good:
                raise Rejected("duplicate id", f"{good[row.key].audio} has it too and is kept")
            for value in (row.speaker, row.language, row.audio):
                if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
                    raise Rejected("bad row", f"{value[:60]!r} holds control characters or is not UTF-8")
            good[row.key] = row
        except Rejected as error:
            rejected.append(rejection(row, error.reason, error.detail))
    return [good[key] for key in sorted(good)], rejected
