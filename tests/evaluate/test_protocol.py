"""The rules of seed-tts-eval, one by one and as its own script applies them."""

import json
from pathlib import Path

import pytest

from e2etts_jax.evaluate.protocol import PUNCTUATION, chinese, code, english, form, usual
from e2etts_jax.evaluate.scoring import score

GOLDEN = Path(__file__).parent.parent / "parity" / "seed_tts_eval_golden.jsonl"
PAIRS = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("Hello, World!", "hello world"),  # signs go, capitals too
        ("twenty-one", "twentyone"),  # deleted, so the word closes up
        ("twenty - one", "twenty one"),
        ("don't", "don't"),  # this apostrophe stays
        ("don’t", "dont"),  # that one is a sign of CJK punctuation
        ("'quoted'", "'quoted'"),
        ("$5.50, 1,000", "550 1000"),
        ("a—b … c", "ab c"),
        ("ｆｕｌｌ，width！", "ｆｕｌｌwidth"),  # full-width signs go, full-width letters stay
        ("  a   b ", "a b"),
        ("?!", ""),
    ],
)
def test_english_by_hand(text: str, tokens: str):
    assert english(text) == tokens


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("你好，世界！", "你 好 世 界"),
        ("他说：“走吧！”", "他 说 走 吧"),
        ("我有5个iPhone", "我 有 5 个 i P h o n e"),  # capitals stay
        ("OK 吗　？", "O K 吗"),  # white space is no character
        ("５％", "５"),
        ("don't", "d o n ' t"),
        ("……", ""),
    ],
)
def test_chinese_by_hand(text: str, tokens: str):
    assert chinese(text) == tokens


@pytest.mark.parametrize(
    "language, text, tokens",
    [
        ("de", "„Schön“, sagt ER – 3,5 Prozent!", "schön sagt er 35 prozent"),
        ("fr", "L’e\u0301té, c'est «bien» ?", "l'été c'est bien"),
        ("fr", "‘L‘été’ so\u00adft", "l'été soft"),  # quotes go, apostrophes of all forms are one
        ("uk", "мʼя м’я ' İ", "м'я м'я i"),
        ("es", "¿Qué? ¡Sí!", "qué sí"),
        ("hi", "नमस्ते दुनिया।", "नमस्ते दुनिया"),  # marks of vowels are no signs
        ("ja", "これは、本です。", "こ れ は 本 で す"),
        ("ja", "か\u3099く", "が く"),  # composed
        ("km", "ខ្ញុំ។", "ខ្ ញុំ"),
        ("th", "สวัสดี", "ส วั ส ดี"),  # what can't be composed stays with its letter
        ("zh", "OK吗？", "o k 吗"),
    ],
)
def test_words_of_any_language_by_hand(language: str, text: str, tokens: str):
    assert form("words", language)(text) == tokens


def test_codes_of_languages():
    assert [code(language) for language in ("en", "zh-CN", "ja_JP", " EN ")] == ["en", "zh", "ja", "en"]


def test_the_usual_protocol():
    assert [usual(language) for language in ("en", "zh", "de")] == ["seed-tts-eval", "seed-tts-eval", "words"]


def test_punctuation_is_that_of_the_script():
    assert len(PUNCTUATION) == len(set(PUNCTUATION)) == 114
    assert all(sign in PUNCTUATION for sign in "。，、！？：；“”‘’（）《》—…·!-'\"|~") and "〇" not in PUNCTUATION


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS, ids=[str(number) for number in range(len(PAIRS))])
def test_the_score_is_the_published_one(pair: dict):
    """Errors / tokens as worked by hand from the pair alone, and the quotient that the published script prints.

    114 odd pairs, 96 with random edits, 3 without a word to say.
    """
    compared = form("seed-tts-eval", pair["language"])
    if pair["worked"] is None:
        assert pair["wer"] is None
        with pytest.raises(ValueError, match="has no words"):
            score([pair["reference"]], [pair["hypothesis"]], compared)
        return
    ours = score([pair["reference"]], [pair["hypothesis"]], compared)
    assert f"{ours.errors[0]}/{ours.tokens[0]}" == pair["worked"]
    assert ours.utterance_rate == pytest.approx(pair["wer"], abs=1e-12)


def test_the_table_has_all_kinds():
    assert len(PAIRS) == 213 and len({pair["wer"] for pair in PAIRS}) > 20
    assert sum(pair["language"] == "zh" for pair in PAIRS) > 70 and sum(not pair["hypothesis"] for pair in PAIRS) == 2


def test_unknown_protocols_are_refused():
    with pytest.raises(ValueError, match="no protocol 'other': choose one of seed-tts-eval, numbers, words"):
        form("other", "en")
    with pytest.raises(ValueError, match="does not say how 'de' is compared, only en, zh"):
        form("seed-tts-eval", "de")
