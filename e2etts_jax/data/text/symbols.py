"""What tokenisers with one id a symbol share: characters and phonemes."""

import unicodedata
from collections.abc import Sequence

from e2etts_jax.data.text import base
from e2etts_jax.data.text import reading as reader


class SymbolTokenizer:
    """One id per symbol, from 1, then the language tags; id 0 is padding and the CTC blank.

    Args:
      symbols: the symbols, each once.
      name: of all of them, for messages.
      languages: names that get a tag id after the symbols; none, no tag.
      reading: whether `prepare` turns written forms ("$3.50") into words.
    """

    def __init__(self, symbols: str, name: str, languages: Sequence[str], reading: bool) -> None:
        self.languages = languages if isinstance(languages, str) else tuple(languages)
        self.reading = reading
        self._symbols, self._name = symbols, name
        self._places = {c: i for i, c in enumerate(symbols)}
        self._ids = base.Ids(len(symbols), self.languages)

    @property
    def vocab_size(self) -> int:
        """Ids in use, padding and language tags included."""
        return self._ids.size

    def encode(self, text: str, language: str = "en") -> list[int]:
        """Ids of the symbols, after the tag of `language` where there are tags.

        Raises:
          ValueError: a symbol that there is no id for, or a language without a tag, named.
        """
        try:
            places = [self._places[c] for c in text]
        except KeyError as error:
            raise ValueError(self._unknown(error.args[0], text)) from None
        return self._ids.add(places, language)

    def decode(self, ids: Sequence[int]) -> str:
        """The prepared text of ids; padding and tags are skipped.

        Raises:
          ValueError: an id beyond the vocabulary.
        """
        return "".join(self._symbols[i] for i in self._ids.strip(ids, self._name))

    def _unknown(self, symbol: str, text: str) -> str:
        """What to say of a symbol of `text` that has no id."""
        raise NotImplementedError

    def _rules(self) -> str:
        """What `prepare` depends on, for the fingerprint."""
        return reader.version() if self.reading else unicodedata.unidata_version
