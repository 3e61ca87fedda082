"""How texts are compared: which signs count, and what is a token.

`seed-tts-eval` restates the published protocol of that benchmark (BytedanceSpeech/seed-tts-eval, run_wer.py), oddities
included, so that its numbers can be put beside ours:

  * every sign of `PUNCTUATION` is deleted, not replaced by a space: "twenty-one" is the word "twentyone";
  * of all apostrophes only ' (U+0027) stays: "don't" is one word, but "don’t" becomes "dont", another one;
  * English is lower-cased and split at white space. Chinese is split into characters, white space dropped, and nothing
    is lower-cased, so that "OK" and "ok" are two errors. Traditional characters of a transcript become simplified ones,
    those of a reference stay;
  * digits are compared as they are written: "5" for "five" is an error, "５" for "5" too.

`numbers` is our own form for spoken English numbers (canonical.py), which forgives the last.

`words` is for every other language: all signs of Unicode are deleted but apostrophes within a word, whose forms are
one; letters are lower-case and composed; languages without spaces are compared by character.
"""

import re
import string
import unicodedata
from collections.abc import Callable

from e2etts_jax.evaluate.canonical import canonical

# The signs of CJK text that the protocol deletes (the constant `punctuation` of zhon.hanzi 2.1), by their code points.
_CJK = (
    "FF02-FF0D FF0F FF1A-FF1E FF20 FF3B-FF40 FF5B-FF60 FF62-FF64 3000-3001 3003 3008-3011 3014-301F 3030 303E-303F "
    "2013-2014 2018-2019 201B-201F 2026-2027 FE4F FE51 FE54 00B7 FF0E FF01 FF1F FF61 3002"
)


def _signs(ranges: str) -> str:
    spans = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    return "".join(chr(code) for span in spans for code in range(span[0], span[-1] + 1))


PUNCTUATION = _signs(_CJK) + string.punctuation
_DELETED = {ord(sign): None for sign in PUNCTUATION if sign != "'"}

Form = Callable[[str], str]  # a text to its tokens, separated by single spaces


def english(text: str) -> str:
    """Lower-case words without punctuation. A no-break space alone parts no words, as in jiwer."""
    return re.sub(r"\s\s+", " ", text.translate(_DELETED).lower()).strip()


def chinese(text: str) -> str:
    """Characters without punctuation and white space."""
    return " ".join("".join(text.translate(_DELETED).split()))


_APOSTROPHES = {ord(sign): "'" for sign in "’‘ʼ＇`´"}


def words(text: str) -> str:
    """Lower-case words of any language without signs; marks of vowels and tones are part of their letters."""
    lower = text.lower().replace("i\u0307", "i").translate(_APOSTROPHES)  # of a Turkish capital, its dot
    plain = unicodedata.normalize("NFC", lower)
    kept = "".join(c for c in plain if c == "'" or not _sign(unicodedata.category(c)))
    return " ".join(word for token in kept.split() if (word := token.strip("'")))


def _sign(category: str) -> bool:
    """Punctuation and symbols, and what has no shape: soft hyphens, joiners."""
    return category[0] in "PS" or category == "Cf"


def characters(text: str) -> str:
    """The characters of `words`, each with its marks."""
    made: list[str] = []
    for c in words(text).replace(" ", ""):
        if made and unicodedata.category(c)[0] == "M":
            made[-1] += c
        else:
            made.append(c)
    return " ".join(made)


UNSPACED = ("bo", "ja", "km", "lo", "my", "th", "yue", "zh")
FORMS: dict[str, dict[str, Form]] = {
    "seed-tts-eval": {"en": english, "zh": chinese},
    "numbers": {"en": canonical},
}
PROTOCOLS = (*FORMS, "words")


def code(language: str) -> str:
    """The code of a language without region: en of en-US."""
    return re.split("[-_]", language.strip().lower())[0]


def usual(language: str) -> str:
    """The protocol that other people's numbers for the language follow."""
    return "seed-tts-eval" if language in FORMS["seed-tts-eval"] else "words"


def of_runs(language: str) -> str:
    """The protocol by which our own runs are compared: the default data set is of English numbers."""
    return "numbers" if language == "en" else usual(language)


def unit(language: str) -> str:
    """What is counted: characters or words."""
    return "characters" if language in UNSPACED else "words"


def form(protocol: str, language: str) -> Form:
    """What brings a text to the tokens that are compared.

    Args:
      language: its code, as recognisers know it: en, zh, de and so on.

    Raises:
      ValueError: no such protocol, or none for the language.
    """
    if protocol == "words":
        return characters if language in UNSPACED else words
    if protocol not in FORMS:
        raise ValueError(f"no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if language not in FORMS[protocol]:
        known = ", ".join(FORMS[protocol])
        raise ValueError(
            f"the protocol {protocol} does not say how {language!r} is compared, only {known}: take words for any other"
        )
    return FORMS[protocol][language]


def simplified(text: str) -> str:
    """A Chinese transcript in simplified characters.

    Raises:
      ImportError: zhconv is missing.
    """
    try:
        import zhconv
    except ImportError as error:
        raise ImportError("Chinese transcripts need zhconv: pip install 'e2etts_jax[multilingual]'") from error
    return zhconv.convert(text, "zh-cn")
