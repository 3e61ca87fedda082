"""A tokenizer from the `text` part of a configuration."""

from collections.abc import Mapping
from typing import Any

from e2etts_jax.data.text.base import Tokenizer
from e2etts_jax.data.text.bpe import BpeTokenizer
from e2etts_jax.data.text.characters import DEFAULT_ALPHABET, CharTokenizer
from e2etts_jax.data.text.phonemes import PhonemeTokenizer


def make(cfg_text: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a configuration names.

    Args:
      cfg_text: `tokenizer` ("characters", "phonemes" or "bpe"), `alphabet`, `vocabulary`, `languages`, `reading`.
        Absent fields take the defaults of the classes: checkpoints older than a field have none.

    Raises:
      ValueError: another tokenizer, or fields that the tokenizer refuses.
    """
    kind = cfg_text.get("tokenizer", "characters")
    languages = cfg_text.get("languages", ())
    reading = bool(cfg_text.get("reading", True))
    if kind == "characters":
        return CharTokenizer(cfg_text.get("alphabet", DEFAULT_ALPHABET), languages, reading)
    if kind == "phonemes":
        return PhonemeTokenizer(languages, reading)
    if kind == "bpe":
        return BpeTokenizer(cfg_text.get("vocabulary", ""), languages)
    raise ValueError(f"text.tokenizer {kind!r} is not one of characters, phonemes, bpe")
