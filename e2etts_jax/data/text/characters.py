"""Characters to ids and back."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from e2etts_jax.data.text import base, reading
from e2etts_jax.data.text.symbols import SymbolTokenizer

DEFAULT_ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"


def normalize(text: str, alphabet: str = DEFAULT_ALPHABET) -> str:
    """NFKC, lower case, punctuation outside `alphabet` dropped, runs of white space made one space, ends stripped.

    Letters and digits outside the alphabet stay, so that the tokenizer names them instead of losing words.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    kept = (
        " " if c.isspace() or unicodedata.category(c) == "Pd" and c not in alphabet else c
        for c in text
        if c in alphabet or c.isspace() or unicodedata.category(c) == "Pd" or unicodedata.category(c)[0] not in "PSC"
    )
    return " ".join("".join(kept).split())


class CharTokenizer(SymbolTokenizer):
    """One id per character of `alphabet`, from 1; id 0 is padding and the CTC blank.

    Args:
      alphabet: the characters, each once, in lower case.
      languages, reading: see SymbolTokenizer.
    """

    def __init__(self, alphabet: str = DEFAULT_ALPHABET, languages: Sequence[str] = (), reading: bool = True) -> None:
        repeated = sorted(c for c, times in Counter(alphabet).items() if times > 1)
        if not alphabet or repeated:
            raise ValueError(f"the alphabet {alphabet!r} must have characters, each once; repeated: {repeated}")
        super().__init__(alphabet, f"the alphabet {base.quote(alphabet)}", languages, reading)
        self.alphabet = alphabet

    @property
    def fingerprint(self) -> str:
        """Changes with the alphabet, the languages and the reading."""
        return base.fingerprint("characters", self.alphabet, self.languages, self._rules())

    def prepare(self, text: str, language: str = "en") -> str:
        """The words of the text in the characters of the alphabet; a letter outside it is left for `encode` to name.

        Raises:
          ImportError: the text has digits and the library that reads them is not installed.
        """
        return normalize(reading.read(text, language) if self.reading else text, self.alphabet)

    def _unknown(self, symbol: str, text: str) -> str:
        return (
            f"character {symbol!r} of {base.quote(text)} ({base.name_of(symbol)}) is not in {self._name}; "
            "spell it out, or add it to text.alphabet"
        )
