"""The library that reads numbers, on one written form at a time."""

import functools
from collections.abc import Callable


@functools.lru_cache(maxsize=2)
def _normalizer(language: str) -> Callable[[str], str]:
    # The import loads the grammars: 0.3 s, once a process. They are only read afterwards: a fork inherits them, and
    # eight threads gave the same words as one.
    try:
        import wetext
    except ImportError as error:
        raise ImportError("wetext") from error
    return wetext.Normalizer(lang=language, operator="tn").normalize


@functools.lru_cache(maxsize=4096)
def say(written: str, language: str) -> str:
    """The words of a written form, or "" where the library knows none.

    Raises:
      ImportError: the library is not installed.
    """
    try:
        normalize = _normalizer(language)
    except ImportError as error:
        raise ImportError(f"{written!r} can't be read aloud without wetext: pip install 'e2etts_jax[data]'") from error
    try:
        words = normalize(written)
    except AssertionError:  # its way to say that the grammar has no path
        return ""
    return "" if any(c.isdigit() for c in words) else words
