"""The rules of seed-tts-eval, one by one and as its own script applies them."""

import json
from pathlib import Path

import pytest

from e2etts_jax.evaluate.protocol import PUNCTUATION, chinese, english, form
from e2etts_jax.evaluate.scoring import score

GOLDEN = Path(__file__).parent.parent / "parity" / "seed_tts_eval_golden.jsonl"


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


def test_punctuation_is_that_of_the_script():
    assert len(PUNCTUATION) == len(set(PUNCTUATION)) == 114
    assert all(sign in PUNCTUATION for sign in "。，、！？：；“”‘’（）《》—…·!-'\"|~") and "〇" not in PUNCTUATION


@pytest.mark.parity
def test_the_score_is_the_published_one():
    """213 pairs: 114 odd ones chosen by hand, 96 with random edits, 3 without a word to say."""
    pairs = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    assert len(pairs) == 213 and len({p["wer"] for p in pairs}) > 20
    for pair in pairs:
        compared = form("seed-tts-eval", pair["language"])
        if pair["wer"] is None:
            with pytest.raises(ValueError, match="has no words"):
                score([pair["reference"]], [pair["hypothesis"]], compared)
        else:
            ours = score([pair["reference"]], [pair["hypothesis"]], compared).utterance_rate
            assert ours == pytest.approx(pair["wer"], abs=1e-12), pair


def test_unknown_protocols_are_refused():
    with pytest.raises(ValueError, match="no protocol 'other': choose one of seed-tts-eval, numbers"):
        form("other", "en")
    with pytest.raises(ValueError, match="does not say how 'de' is compared, only en, zh"):
        form("seed-tts-eval", "de")
