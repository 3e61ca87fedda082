"""The embedded recordings, their licence, and their builder."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from e2etts_jax.data import catalog, sources
from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.data.datasets.asterisk_en.builder import split_of
from e2etts_jax.data.text import CharTokenizer

FILES = resources.files("e2etts_jax.data.datasets.asterisk_en")


def test_licence_and_attribution_lie_beside_the_recordings():
    licence = FILES.joinpath("LICENSE").read_text()
    assert licence.startswith("Creative Commons Attribution-ShareAlike 3.0") and "7. Termination" in licence
    attribution = FILES.joinpath("ATTRIBUTION.md").read_text()
    assert "Allison Smith" in attribution and "Digium" in attribution and "modified" in attribution


def test_the_archive_is_complete_and_small():
    assert len(prompts.metadata()) == 551
    assert len(FILES.joinpath("prompts.zip").read_bytes()) < 8_000_000
    for key in ("digits/7", "vm-num-i-have", "demo-instruct", "letters/exclaimation-point"):
        wav = prompts.read(key)
        assert wav.dtype == np.float32 and len(wav) / 16_000 == pytest.approx(
            prompts.metadata()[key]["seconds"], abs=0.021
        )
        assert 0.1 < np.abs(wav).max() <= 1.0
    with pytest.raises(KeyError, match="no embedded prompt 'digits/77'"):
        prompts.read("digits/77")


def test_texts_are_words_of_the_alphabet():
    tokenizer = CharTokenizer()
    for entry in prompts.metadata().values():
        tokenizer.encode(entry["text"])
    assert prompts.metadata()["vm-repeat"]["text"] == "press five to repeat the current message"


def test_the_voice_is_one_unit_vector():
    vector = prompts.speaker_vector()
    assert vector.shape == (256,) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_builder_splits_every_prompt_by_its_key(data_config, asterisk_dir: Path):
    cfg = data_config("asterisk_en", asterisk_dir)
    keys = {split: list(sources.open_source(cfg, split).keys) for split in ("train", "validation", "test")}
    assert sorted(sum(keys.values(), [])) == sorted(prompts.metadata())
    assert all(split_of(key) == split for split, names in keys.items() for key in names)
    assert len(keys["train"]) > 450 and min(map(len, keys.values())) > 15


def test_builder_keeps_audio_and_text(data_config, asterisk_dir: Path):
    source = sources.open_source(data_config("asterisk_en", asterisk_dir), "test")
    assert source.corpora[0].sample_rate == 16_000 and source.labels == {}
    for i in (0, len(source) - 1):
        assert source.texts[i] == prompts.metadata()[source.keys[i]]["text"]
        wav = source.clip(i, 16_000).wav
        assert wav.dtype == np.int16 and len(wav) == source.samples(16_000)[i]
        np.testing.assert_allclose(wav / 32767, np.clip(prompts.read(source.keys[i]), -1, 1), atol=1e-4)
        np.testing.assert_array_equal(source.clip(i, 16_000).speaker, prompts.speaker_vector())
    assert sources.load_examples(data_config("asterisk_en", asterisk_dir), "test", 1, 16_000)[0].kind == ""


def test_data_dir_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("E2ETTS_DATA_DIR", str(tmp_path))
    assert catalog.data_dir() == tmp_path and catalog.data_dir("/a") == Path("/a")
    monkeypatch.delenv("E2ETTS_DATA_DIR")
    assert catalog.data_dir() == Path.home() / ".cache" / "e2etts_jax"
