"""Characters to ids and back."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from e2etts_jax.data.text import base, reading

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


class CharTokenizer:
    """One id per character of `alphabet`, from 1; id 0 is padding and the CTC blank.

    Args:
      alphabet: the characters, each once, in lower case.
      languages: names that get a tag id after the characters; none, no tag.
      reading: whether `prepare` turns written forms ("$3.50") into words.
    """

    def __init__(self, alphabet: str = DEFAULT_ALPHABET, languages: Sequence[str] = (), reading: bool = True) -> None:
        repeated = sorted(c for c, times in Counter(alphabet).items() if times > 1)
        if not alphabet or repeated:
            raise ValueError(f"the alphabet {alphabet!r} must have characters, each once; repeated: {repeated}")
        self.alphabet = alphabet
        self.languages = languages if isinstance(languages, str) else tuple(languages)
        self.reading = reading
        self._places = {c: i for i, c in enumerate(alphabet)}
        self._ids = base.Ids(len(alphabet), self.languages)

    @property
    def vocab_size(self) -> int:
        """Ids in use, padding and language tags included."""
        return self._ids.size

    @property
    def fingerprint(self) -> str:
        """Changes with the alphabet, the languages and the reading."""
        rules = reading.version() if self.reading else unicodedata.unidata_version
        return base.fingerprint("characters", self.alphabet, self.languages, rules)

    def prepare(self, text: str, language: str = "en") -> str:
        """The words of the text in the characters of the alphabet; a letter outside it is left for `encode` to name.

        Raises:
          ImportError: the text has digits and the library that reads them is not installed.
        """
        return normalize(reading.read(text, language) if self.reading else text, self.alphabet)

    def encode(self, text: str, language: str = "en") -> list[int]:
        """Ids of the characters, after the tag of `language` where there are tags.

        Raises:
          ValueError: a character outside the alphabet, or a language without a tag, named.
        """
        try:
            places = [self._places[c] for c in text]
        except KeyError as error:
            c = error.args[0]
            raise ValueError(
                f"character {c!r} of {base.quote(text)} ({base.name_of(c)}) is not in the alphabet "
                f"{base.quote(self.alphabet)}; spell it out, or add it to text.alphabet"
            ) from None
        return self._ids.add(places, language)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding and tags are skipped.

        Raises:
          ValueError: an id beyond the vocabulary.
        """
        return "".join(self.alphabet[i] for i in self._ids.strip(ids, f"the alphabet {base.quote(self.alphabet)}"))
