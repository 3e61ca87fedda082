"""Characters to ids and back."""

import random

import pytest

from e2etts_jax.data.text import DEFAULT_ALPHABET, CharTokenizer, normalize


def test_round_trip_and_ids_from_one():
    tokenizer = CharTokenizer()
    text = "it's seven o'clock"
    ids = tokenizer.encode(text)
    assert min(ids) >= 1 and max(ids) < tokenizer.vocab_size == 29
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, 0, 0]) == text
    assert tokenizer.encode(DEFAULT_ALPHABET) == list(range(1, 29))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("alphabet", "languages"), [(DEFAULT_ALPHABET, ()), ("你好世界,。 a", ("en", "zh")), ("é", ("en",))]
)
def test_every_string_of_the_alphabet_comes_back(alphabet: str, languages: tuple[str, ...], seed: int):
    rng = random.Random(seed)
    text = "".join(rng.choices(alphabet, k=rng.randrange(50)))
    tokenizer = CharTokenizer(alphabet, languages)
    ids = tokenizer.encode(text, language="en")
    assert len(ids) == len(text) + bool(languages)
    assert all(0 < i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == text


def test_unknown_character_is_named_with_the_alphabet():
    with pytest.raises(ValueError, match="'7' of 'room 7'.*alphabet"):
        CharTokenizer().encode("room 7")
    with pytest.raises(ValueError, match=r"'界' of '世界' \(U\+754C .*alphabet '世 '"):
        CharTokenizer("世 ").encode("世界")


def test_message_about_a_long_text_is_short():
    with pytest.raises(ValueError, match="10001 characters") as caught:
        CharTokenizer().encode("a" * 10_000 + "!")
    assert len(str(caught.value)) < 400


def test_unknown_id_and_bad_alphabets():
    with pytest.raises(ValueError, match="id 29"):
        CharTokenizer().decode([29])
    with pytest.raises(ValueError, match="id -1"):
        CharTokenizer().decode([-1])
    with pytest.raises(ValueError, match="'a'"):
        CharTokenizer("aab")
    with pytest.raises(ValueError):
        CharTokenizer("")


def test_language_tags_follow_the_characters():
    tokenizer = CharTokenizer("ab", ("en", "zh"))
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("ab") == [3, 1, 2]
    assert tokenizer.encode("ab", "zh") == [4, 1, 2]
    assert tokenizer.decode([4, 1, 0, 3, 2, 0]) == "ab"
    with pytest.raises(ValueError, match="'fr'.*en, zh"):
        tokenizer.encode("ab", "fr")
    assert CharTokenizer("ab").encode("ab", "fr") == [1, 2]
    for languages in (("en", "en"), "en", ("",)):
        with pytest.raises(ValueError, match="languages"):
            CharTokenizer("ab", languages)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  Hello,\t World!\n", "hello world"),
        ("It\u2019s \u201cfine\u201d", "it's fine"),
        ("twenty-two", "twenty two"),
        ("a \u2013 b", "a b"),
        ("\uff21\uff22\uff23", "abc"),  # full width
        ("caf\u00e9 7", "caf\u00e9 7"),  # left for the tokenizer to name
        ("...", ""),
        ("", ""),
        ("so \U0001f600 happy", "so happy"),
        ("a\u200bb\u202e\x00c\ufeff", "abc"),  # zero width, direction, control
        ("a\ud800b", "ab"),  # half of a surrogate pair
        ("e\u0301", "\u00e9"),
        ("q\u0301", "q\u0301"),  # a mark without a composed letter is left for the tokenizer to name
        ("\u05e9\u05dc\u05d5\u05dd!", "\u05e9\u05dc\u05d5\u05dd"),
    ],
)
def test_normalize(written: str, expected: str):
    assert normalize(written) == expected
    assert normalize(expected) == expected


def test_normalize_keeps_punctuation_of_the_alphabet():
    assert normalize("Yes, no - maybe.", " ,-abcdefghijklmnopqrstuvwxyz") == "yes, no - maybe"


def test_right_to_left_text_is_encoded_in_logical_order_or_named():
    hebrew = "\u05e9\u05dc\u05d5\u05dd"
    tokenizer = CharTokenizer("".join(sorted(set(hebrew))))
    assert tokenizer.decode(tokenizer.encode(tokenizer.prepare(f"\u200f{hebrew}!", "he"))) == hebrew
    with pytest.raises(ValueError, match="HEBREW LETTER SHIN"):
        CharTokenizer().encode(hebrew)
