"""The tokenizers of the `text` part of a configuration."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from e2etts_jax.data.text.base import Tokenizer, Unread
from e2etts_jax.data.text.bpe import BpeTokenizer
from e2etts_jax.data.text.characters import DEFAULT_ALPHABET, CharTokenizer
from e2etts_jax.data.text.phonemes import PhonemeTokenizer


def make(cfg_text: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a configuration names.

    Args:
      cfg_text: `tokenizer` (characters, phonemes, bpe or none), `alphabet`, `vocabulary`, `languages`, `reading`.
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
    if kind == "none":
        return Unread()
    raise ValueError(f"text.tokenizer {kind!r} is not one of characters, phonemes, bpe, none")


class Texts(NamedTuple):
    """How a text is given to the models: `llm` reads it, `rm` is to write it. One object where they do not differ."""

    llm: Tokenizer
    rm: Tokenizer

    @property
    def sizes(self) -> tuple[int, int]:
        """Ids in use by each."""
        return self.llm.vocab_size, self.rm.vocab_size


def make_both(cfg_text: Mapping[str, Any]) -> Texts:
    """The tokenizers of both models: `text.tokenizer`, and `text.rm_tokenizer` where it names another one.

    They share the fields that `make` reads. Errors as in `make`.
    """
    llm = make(cfg_text)
    return Texts(llm, make({**cfg_text, "tokenizer": cfg_text["rm_tokenizer"]}) if differ(cfg_text) else llm)


def differ(cfg_text: Mapping[str, Any]) -> bool:
    """Whether the RM writes in other ids than the LLM reads."""
    return cfg_text.get("rm_tokenizer", "") not in ("", cfg_text.get("tokenizer", "characters"))


def rm_limit(cfg_data: Any) -> str:
    """The field of `config.data` that limits the ids of a text which the RM writes in other ids than the LLM reads."""
    return "max_rm_text" if cfg_data.max_rm_text else "max_text"
