"""Judgements while a run trains, with fake judges."""

import numpy as np
import pytest
from tiny import build, load, shrink

from e2etts_jax import samples
from e2etts_jax.data.sources import Example
from e2etts_jax.evaluate import asr, live, quality, similarity
from e2etts_jax.samples import JUDGED, SENTENCES, Sampler


class Reader:
    name, version = "reader", "reader-1"

    def transcribe(self, wavs, rate):
        return ["ab" if np.abs(wav).max() == 0.5 else "" for wav in wavs]


class Embedder:
    name = "voice"

    def __call__(self, wavs):
        return [np.array([1.0, 0.0]) if np.abs(wav).max() > 0.49 else np.array([0.0, 1.0]) for wav in wavs]


class Writer:
    def __init__(self):
        self.numbers, self.sounds = {}, []

    def scalars(self, values, step, stage):
        self.numbers |= values
        assert step == 7 and stage == "joint"

    def audio(self, name, *_):
        self.sounds.append(name)

    def image(self, *_): ...


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr, "load_recognizers", lambda names=(), language="en": [Reader()])
    monkeypatch.setattr(similarity, "installed", lambda log: [Embedder()])
    monkeypatch.setattr(quality, "installed", lambda log: [])


@pytest.mark.parametrize("every", [0, 5])
def test_a_few_sentences_are_judged_where_asked(every: int, judged: None, monkeypatch: pytest.MonkeyPatch):
    config = shrink(load("joint"))
    config.listen_every, config.infer.max_tokens = every, 4
    config.data.dataset = "many_voices"
    wav = 0.5 * np.sign(np.sin(np.arange(4000) / 9)).astype(np.float32)
    asked = []

    def examples(data, split, count, rate, keep):
        asked.append((split, count))
        return [Example("ab", wav, "", str(i)) for i in range(count)]

    monkeypatch.setattr(samples, "load_examples", examples)
    made, writer = build(config), Writer()
    Sampler(config, np.zeros(8, np.float32)).log(made.params, writer, 7, "joint")
    assert len(writer.sounds) == 3 * SENTENCES and asked == [("validation", JUDGED if every else SENTENCES)]
    if not every:
        assert writer.numbers == {}
        return
    names = {"reader", "similarity_voice", "seconds", "silence"}
    assert set(writer.numbers) == {
        f"listen/{k}/{n}" for k in ("recording", "reconstruction", "synthesis") for n in names
    }
    assert writer.numbers["listen/recording/reader"] == 0 and writer.numbers["listen/recording/similarity_voice"] == 1
    assert writer.numbers["listen/synthesis/reader"] == 1


def test_only_what_can_be_judged_is_said(judged: None):
    keep = live.installed("en-GB").keep(lambda text, of: text != "no", "en-GB")
    texts = [("ab", ""), ("ab", "en"), ("ab", "de"), ("no", "en"), ("Привет", "en")]
    assert [keep(*pair) for pair in texts] == [True, True, False, False, False]


def test_a_run_goes_on_without_judges(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def missing(language):
        raise ImportError("pip install 'e2etts_jax[eval]'")

    monkeypatch.setattr(asr, "load_recognizers", missing)
    monkeypatch.setattr(similarity, "installed", lambda log: [])
    monkeypatch.setattr(quality, "installed", lambda log: [])
    judges = live.installed("en")
    assert "nobody reads what is said: pip install" in caplog.text
    assert set(live.scores(judges, {"recording": [np.ones(800, np.float32)]}, ["a"], 8000)) == {
        "listen/recording/seconds",
        "listen/recording/silence",
    }
