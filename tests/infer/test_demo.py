"""The page to try a run on: what it does, without a browser (tests/demo/check.py has one)."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from tiny import Tiny

from e2etts_jax import cli, demo
from e2etts_jax.infer.demonstrator import Demonstrator
from e2etts_jax.infer.prompt import Prompt

LONG = "abc de. fgh ij. kl"


@pytest.fixture(scope="module")
def model(built: Tiny, speaker: np.ndarray) -> Demonstrator:
    return Demonstrator(built.config, built.params, speaker=speaker)


@pytest.fixture(scope="module")
def stages(workdir: Path) -> demo.Stages:
    return demo.Stages(str(workdir), "joint")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise, then of silence, as WAV files."""
    folder = tmp_path_factory.mktemp("prompts")
    sf.write(folder / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(32000), 16000)
    sf.write(folder / "silence.wav", np.zeros(32000), 16000)
    return folder


def test_it_shows_what_it_says(model: Demonstrator) -> None:
    spoken = model.speak("abc", seed=3)
    (wav,), (ids,) = model.say(["abc"], 3), model.generate_tokens(["abc"], 3)
    assert np.array_equal(spoken.wav, wav) and np.array_equal(spoken.ids, ids)
    assert spoken.read == model.recognize_tokens([ids])[0]
    assert len(spoken.wav) == 1024 * len(ids) and len(spoken.log_mel) == 4 * len(ids)
    assert spoken.span == spoken.seconds == len(wav) / spoken.rate and spoken.pieces == 1
    assert not model.speak("abc", seed=4).compiled


def test_a_long_text_is_shown_in_its_pieces(model: Demonstrator) -> None:
    spoken = model.speak(LONG)
    (wav,) = model.say([LONG])
    assert np.array_equal(spoken.wav, wav) and spoken.pieces > 1
    assert len(spoken.log_mel) == 4 * len(spoken.ids)
    assert spoken.span == pytest.approx(1024 * len(spoken.ids) / spoken.rate)


def test_the_prompt_counts(model: Demonstrator, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(model, "lead", lambda prompt: asked.append(prompt))
    monkeypatch.setattr(model, "_pieces", lambda text, language, before: asked.append(before) or [(text, 0.0)])
    model.speak("abc", prompt=(prompt := Prompt(np.ones(16000, np.float32), 16000, "de")))
    assert asked == [prompt, "de"]


def test_stages_are_kept_while_they_are_heard(
    workdir: Path, built: Tiny, speaker: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(workdir: str, stage: str | None, infer: object) -> Demonstrator:
        loaded.append(stage)
        return Demonstrator(built.config, built.params, stage=stage or "tune", speaker=speaker)

    monkeypatch.setattr(Demonstrator, "load", load)
    stages = demo.Stages(str(workdir))
    assert stages.names == ["joint", "tune", "chain"] and stages.first == "tune"
    for name in ("tune", "joint", "tune", "chain", "tune", "joint"):
        assert stages[name].stage == name
    assert loaded == [None, "joint", "chain", "joint"]


@pytest.mark.parametrize(
    ("text", "recording", "words", "message"),
    [
        (" \n", None, "", "is empty; there is nothing to say"),
        ("caf\u00e9", None, "", "character '\u00e9'"),
        ("abc", None, "de", "words without a recording"),
        ("abc", "silence.wav", "de", "the prompt is silent"),
        ("abc", "noise.wav", "", "the prompt needs its words"),
        ("abc", "absent.wav", "de", "no audio file"),
    ],
)
def test_a_mistake_says_what_to_mend(
    stages: demo.Stages, noise: Path, text: str, recording: str | None, words: str, message: str
) -> None:
    stages["joint"].config.data.buckets = (200,)  # longer prompts can be used than eight tokens
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        demo.speak(stages, text, str(noise / recording) if recording else None, words, "joint", 0)


def test_warnings_are_collected_once() -> None:
    logger = logging.getLogger("e2etts_jax.infer.somewhere")
    with demo.collected_warnings() as heard:
        for _ in range(2):
            logger.warning("%d of %d", 1, 2)
        logger.info("nothing")
        logging.getLogger("other").warning("not ours")
    logger.warning("later")
    assert heard == ["1 of 2"]


def test_samples_keep_their_loudness() -> None:
    assert demo.pcm(np.array([0.0, 0.5, -1.0, 2.0], np.float32)).tolist() == [0, 16384, -32767, 32767]


def test_without_gradio_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delenv("E2ETTS_TRACEBACK", raising=False)
    assert cli.guarded(demo.gradio) == 1
    assert capsys.readouterr().err == 'error: the page needs Gradio: pip install "e2etts_jax[demo]"\n'


def test_what_is_read_is_text(model: Demonstrator) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: the eval extra")
    from dataclasses import replace

    spoken = replace(model.speak("abc"), read="<b>", took=2.0, compiled=True, pieces=3)
    shown = demo.shown(spoken)
    assert "&lt;b&gt;" in shown and "<b>" + f"{2 / spoken.seconds:.2f}" in shown
    assert "compiled meanwhile" in shown and "3 pieces" in shown and shown.count("<rect") == len(spoken.ids)


def test_the_page_speaks_and_refuses(stages: demo.Stages, recwarn: pytest.WarningsRecorder) -> None:
    gr = pytest.importorskip("gradio", reason="the page needs Gradio: the demo extra")
    (pressed,) = (fn.fn for fn in demo.page(stages, "runs/x").fns.values() if fn.api_name == "speak")
    (rate, samples), shown = pressed("abc", None, "", "joint", 1)
    assert rate == 22050 and samples.dtype == np.int16 and samples.any() and "<svg" in shown
    with pytest.raises(gr.Error, match="nothing to say"):
        pressed("", None, "", "joint", 1)
