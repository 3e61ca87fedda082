"""The composed clips: what they say, how they sound, and that splits share nothing."""

from pathlib import Path

import numpy as np
import pytest

from e2etts_jax.data import sources
from e2etts_jax.data.datasets.numbers import builder, compose, grammar, units, vocabulary
from e2etts_jax.data.text import CharTokenizer


def said(kind: str, *groups: str) -> compose.Utterance:
    return compose.Utterance(kind, tuple(tuple(group.split()) for group in groups))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (55, "fifty five"),
        (100, "one hundred"),
        (522, "five hundred twenty two"),
        (1000, "one thousand"),
        (2005, "two thousand five"),
        (99_912, "ninety nine thousand nine hundred twelve"),
    ],
)
def test_cardinals(number: int, words: str):
    assert " ".join(grammar.cardinal(number)) == words


@pytest.mark.parametrize(
    ("day", "words"),
    [(1, "first"), (12, "twelfth"), (20, "twentieth"), (23, "twenty third"), (30, "thirtieth"), (31, "thirty first")],
)
def test_ordinals(day: int, words: str):
    assert " ".join(grammar.ordinal(day)) == words


def test_every_kind_says_only_recorded_words_of_the_alphabet():
    rng, tokenizer = np.random.default_rng(0), CharTokenizer()
    for kind, (_, make) in grammar.KINDS.items():
        for _ in range(200):
            utterance = compose.Utterance(kind, make(rng))
            assert all(word in vocabulary.KEYS for group in utterance.groups for word in group), utterance
            tokenizer.encode(utterance.text)
            assert 1 <= len(utterance.text.split()) <= 10 and len(utterance.text) <= 96


def test_every_unit_is_trimmed_levelled_and_free_of_clicks():
    for word, key in vocabulary.KEYS.items():
        wav = units.unit(key, 1.5)
        rms = units.frame_rms(wav)
        loud = np.nonzero(rms > rms.max() * 10 ** (units.TRIM_DB / 20))[0]
        assert loud[0] <= 4 and loud[-1] >= len(rms) - 6, f"{word}: silence at the ends"
        assert np.abs(wav).max() <= 0.901, word
        assert abs(wav[0]) < 1e-4 and abs(wav[-1]) < 1e-4, f"{word}: a step at the joint"
        speech = rms[rms > rms.max() * 10 ** (-25 / 20)]
        level = 20 * np.log10(np.sqrt((speech**2).mean()) / units.LEVEL)
        assert -3.0 < level < 0.5, f"{word}: {level:.1f} dB off"
        assert 0.1 < len(wav) / units.RATE < 1.6, word


def test_hasten_shortens_time_and_keeps_pitch():
    time = np.arange(units.RATE) / units.RATE
    wav = 0.3 * np.sin(2 * np.pi * 200 * time).astype(np.float32)
    out = units.hasten(wav, 1.5)
    assert len(out) == pytest.approx(len(wav) / 1.5, rel=0.01)
    middle = out[2000:8000]
    assert np.argmax(np.abs(np.fft.rfft(middle * np.hanning(6000)))) == pytest.approx(200 * 6000 / units.RATE, abs=1)
    assert units.frame_rms(middle).min() > 0.8 * units.frame_rms(wav).mean()


def test_tens_are_bound_to_their_ones():
    def gap(utterance: compose.Utterance) -> float:
        wav = compose.compose(utterance, np.random.default_rng(1))
        return sum(np.diff(np.nonzero(wav)[0])[np.diff(np.nonzero(wav)[0]) > 50]) / units.RATE

    assert gap(said("amount", "fifty six")) < 0.02
    assert gap(said("telephone", "five six")) > 0.015
    assert gap(said("telephone", "five", "six")) > 0.1


def test_a_clip_begins_and_ends_with_a_tenth_of_a_second_of_silence():
    wav = builder.render(said("amount", "five hundred twenty two"))
    assert wav.dtype == np.int16
    assert not wav[: units.RATE // 10].any() and not wav[-units.RATE // 10 :].any()
    assert wav[units.RATE // 10 : units.RATE // 10 + 1600].any()


def test_drawing_is_deterministic_and_texts_differ():
    first, second = builder.draw(40), builder.draw(40)
    assert [u for u, _ in first] == [u for u, _ in second]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))
    assert len({u.text for u, _ in first}) == 40
    assert all(builder.MIN_SECONDS * 16_000 <= len(w) <= builder.MAX_SECONDS * 16_000 for _, w in first)
    assert len({u.kind for u, _ in first}) >= 5


def test_splits_have_their_sizes_and_share_no_string(numbers):
    texts = {split: sources.open_source(numbers, split).texts for split in ("train", "validation", "test")}
    assert {split: len(t) for split, t in texts.items()} == {"train": 50, "validation": 13, "test": 7}
    assert len({text for t in texts.values() for text in t}) == 70


def test_examples_carry_text_audio_and_kind(numbers):
    examples = sources.load_examples(numbers, "test", 5, 22_050)
    assert len(examples) == 5 and len(sources.load_examples(numbers, "test", 100, 22_050)) == 7
    source = sources.open_source(numbers, "test")
    for i, example in enumerate(examples):
        assert example.text == source.texts[i] and example.key == f"test-{i:05d}"
        assert example.kind in grammar.KINDS and example.wav.dtype == np.float32
        assert len(example.wav) == source.samples(22_050)[i]
        assert 0.1 < np.abs(example.wav).max() <= 1.0


def test_the_stored_clip_is_the_rendered_one(numbers):
    source = sources.open_source(numbers, "train")
    by_text = {u.text: w for u, w in builder.draw(70)}
    for i in (0, 7, 49):
        np.testing.assert_array_equal(source.clip(i, 16_000).wav, by_text[source.texts[i]])


def test_a_killed_build_is_swept_up_and_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers):
    stale = tmp_path / "numbers" / "small" / "incomplete.KILLED_1.0.0"
    stale.mkdir(parents=True)
    (stale / "half").write_bytes(b"x")
    source = sources.open_source(type(numbers)("numbers", str(tmp_path)), "test")
    assert len(source) == 7 and not stale.exists()
