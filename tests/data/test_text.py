"""Characters to ids and back."""

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


def test_unknown_character_is_named_with_the_alphabet():
    with pytest.raises(ValueError, match="'7' of 'room 7'.*alphabet"):
        CharTokenizer().encode("room 7")


def test_unknown_id_and_bad_alphabets():
    with pytest.raises(ValueError, match="id 29"):
        CharTokenizer().decode([29])
    with pytest.raises(ValueError, match="'a'"):
        CharTokenizer("aab")
    with pytest.raises(ValueError):
        CharTokenizer("")


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
    ],
)
def test_normalize(written: str, expected: str):
    assert normalize(written) == expected


def test_normalize_keeps_punctuation_of_the_alphabet():
    assert normalize("Yes, no - maybe.", " ,-abcdefghijklmnopqrstuvwxyz") == "yes, no - maybe"
