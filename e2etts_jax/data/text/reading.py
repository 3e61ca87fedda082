"""Written forms to spoken words: "$3.50" to "three dollars and fifty cents"."""

import functools
import importlib.metadata
import re
import unicodedata
from pathlib import Path

from e2etts_jax.data.text import base, chinese, english


def read(text: str, language: str = "en") -> str:
    """The words that a reader says, in one line; letters and ordinary punctuation stay. `read(read(t)) == read(t)`.

    English ("en") and Chinese ("zh") are read. Of other languages the text only becomes NFKC, and a digit in it is
    then an error of the tokenizer. Text without numbers needs no library.

    Raises:
      ImportError: the text has numbers and `wetext` is not installed.
    """
    if language not in ("en", "zh"):
        return unicodedata.normalize("NFKC", text)
    words = english.read if language == "en" else chinese.read
    return " ".join(words(_clean(text)).split())


def _clean(text: str) -> str:
    """NFKC, ASCII digits, no control, zero-width or direction characters, white space as single spaces."""
    # NFKC would glue these to the number before them: 5½ to 51/2, 10³ to 103.
    text = re.sub("(?<=\\w)(?=[¼-¾⅐-⅞])", " ", text).replace("\u2044", "/")
    text = re.sub("(?<=\\d)²", " squared", re.sub("(?<=\\d)³", " cubed", text))
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").replace("\u2212", "-")
    kept = (
        " " if c.isspace() else str(unicodedata.decimal(c)) if c.isdecimal() else c
        for c in text
        if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
    )
    # Once more: a letter and an accent may have become neighbours.
    return " ".join(unicodedata.normalize("NFKC", "".join(kept)).split())


@functools.lru_cache(maxsize=1)
def version() -> str:
    """What the reading depends on: the rules beside this file, the Unicode tables and the library."""
    folder = Path(__file__).parent
    rules = [
        (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("reading", "english", "chinese", "spoken")
    ]
    try:
        library = importlib.metadata.version("wetext")
    except importlib.metadata.PackageNotFoundError:
        library = ""
    return base.fingerprint(rules, unicodedata.unidata_version, library)
