"""Text to ids and back: reading of written forms, and tokenisers of characters, phonemes and byte pairs."""

from e2etts_jax.data.text.base import Tokenizer, joined
from e2etts_jax.data.text.bpe import BpeTokenizer
from e2etts_jax.data.text.characters import DEFAULT_ALPHABET, CharTokenizer, normalize
from e2etts_jax.data.text.make import Texts, differ, make, make_both, rm_limit
from e2etts_jax.data.text.phonemes import PhonemeTokenizer
from e2etts_jax.data.text.reading import read

__all__ = [
    "DEFAULT_ALPHABET",
    "BpeTokenizer",
    "CharTokenizer",
    "PhonemeTokenizer",
    "Texts",
    "Tokenizer",
    "differ",
    "joined",
    "make",
    "make_both",
    "normalize",
    "read",
    "rm_limit",
]
