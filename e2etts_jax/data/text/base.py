"""The interface of the tokenisers, and what they share: language tags, fingerprints, names of characters."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """Text to ids from 1; id 0 is padding and the CTC blank. `decode(encode(p)) == p` for every prepared p."""

    @property
    def vocab_size(self) -> int:
        """Ids in use, padding and language tags included."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change whenever the ids of a text may change; the name of a cache."""

    def prepare(self, text: str, language: str = "en") -> str:
        """What `encode` takes, from what a person wrote. May be empty: it is for the caller to reject that."""

    def encode(self, prepared: str, language: str = "en") -> list[int]:
        """Ids, after the tag of `language` where there are tags. Raises ValueError that names what has no id."""

    def decode(self, ids: Sequence[int]) -> str:
        """The prepared text; padding and tags are skipped. Raises ValueError for an id beyond the vocabulary."""


class Unread:
    """For models that read nothing: every text of any language, even an empty one, is the same one id."""

    vocab_size = 2

    @property
    def fingerprint(self) -> str:
        return fingerprint("none")

    def prepare(self, text: str, language: str = "en") -> str:
        return "-"

    def encode(self, prepared: str, language: str = "en") -> list[int]:
        return [1]

    def decode(self, ids: Sequence[int]) -> str:
        return "-"


def joined(tokenizer: Tokenizer, before: str, words: str, language: str) -> list[int]:
    """Ids of two prepared texts, one after the other."""
    try:
        return tokenizer.encode(f"{before} {words}", language)
    except ValueError:  # written without spaces
        return tokenizer.encode(before + words, language)


class Ids:
    """Places of symbols and language tags in one vocabulary: 0 is padding, then `symbols` symbols, then the tags."""

    def __init__(self, symbols: int, languages: Sequence[str]) -> None:
        repeated = sorted({name for name in languages if list(languages).count(name) > 1})
        if isinstance(languages, str) or repeated or not all(languages):
            raise ValueError(f"languages {languages!r} must be a tuple of names, each once")
        self.size = 1 + symbols + len(languages)
        self._symbols = symbols
        self._tags = {name: 1 + symbols + i for i, name in enumerate(languages)}

    def add(self, places: Sequence[int], language: str) -> list[int]:
        """Ids of symbols (from 0), the tag of `language` in front if there are tags."""
        if self._tags and language not in self._tags:
            raise ValueError(f"language {language!r} has no tag; text.languages has {', '.join(self._tags)}")
        return [*([self._tags[language]] if self._tags else []), *(1 + place for place in places)]

    def strip(self, ids: Sequence[int], vocabulary: str) -> list[int]:
        """Places of the symbols. Tags are skipped wherever they stand: a recogniser may emit one in the middle."""
        bad = [int(i) for i in ids if not 0 <= i < self.size]
        if bad:
            raise ValueError(f"id {bad[0]} is outside 0..{self.size - 1} of {vocabulary}")
        return [int(i) - 1 for i in ids if 0 < i <= self._symbols]


def fingerprint(*parts: Any) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over JSON values: the same in every process."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def name_of(character: str) -> str:
    """'U+00E9 LATIN SMALL LETTER E WITH ACUTE'."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def quote(text: str, limit: int = 80) -> str:
    """The text in quotes, cut so that a message stays readable when someone passes a whole book."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text)} characters)"
