"""Characters to ids and back."""

import unicodedata
from collections.abc import Sequence

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
    """One id per character of `alphabet`, from 1; id 0 is padding and the CTC blank."""

    def __init__(self, alphabet: str = DEFAULT_ALPHABET) -> None:
        repeated = sorted({c for c in alphabet if alphabet.count(c) > 1})
        if not alphabet or repeated:
            raise ValueError(f"the alphabet {alphabet!r} must have characters, each once; repeated: {repeated}")
        self.alphabet = alphabet
        self._ids = {c: i for i, c in enumerate(alphabet, start=1)}

    @property
    def vocab_size(self) -> int:
        """Ids in use, padding included."""
        return len(self.alphabet) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of the characters.

        Raises:
          ValueError: a character outside the alphabet, named.
        """
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            raise ValueError(
                f"character {error.args[0]!r} of {text!r} is not in the alphabet {self.alphabet!r}; "
                "spell it out, or add it to text.alphabet"
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding is skipped.

        Raises:
          ValueError: an id beyond the alphabet.
        """
        bad = [int(i) for i in ids if not 0 <= i < self.vocab_size]
        if bad:
            raise ValueError(f"id {bad[0]} is outside 0..{self.vocab_size - 1} of the alphabet {self.alphabet!r}")
        return "".join(self.alphabet[i - 1] for i in ids if i)
