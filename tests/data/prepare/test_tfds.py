"""TFDS speech sets as a source."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from e2etts_jax.data.prepare import tfds_rows
from e2etts_jax.data.tfds_audio import allow_audio_without_tensorflow


def test_a_prepared_folder_prepared_once_more(prepared: Path, tmp_path: Path, tools: dict[str, Callable]) -> None:
    printed = tools["run"](f"tfds:{prepared}", tmp_path / "out", sample_rate=0, loudness=None)
    assert "117 clips kept, 0 rejected" in printed
    first = tfds.builder_from_directory(prepared).as_data_source("train")
    again = tfds.builder_from_directory(tmp_path / "out").as_data_source("train")
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["audio"], b["audio"])
        assert a["text"] == b["text"] and a["speaker"] == b["speaker"] and a["emotion"] == b["emotion"]
        assert b["key"].decode().startswith("train-")


def published() -> dict[str, Any]:
    """The features of a set as LJSpeech, LibriTTS and VCTK have them."""
    allow_audio_without_tensorflow()
    allow_audio_without_tensorflow()  # twice is once
    return {
        "speech": tfds.features.Audio(sample_rate=22_050),  # i64
        "text_normalized": tfds.features.Text(),
        "speaker_id": tfds.features.ClassLabel(names=["p225", "p226"]),
        "accent": tfds.features.ClassLabel(names=["here", "there"]),
        "length": tfds.features.Scalar(np.int64),
    }


def record(wav: np.ndarray, i: int) -> dict[str, Any]:
    return {"speech": wav, "text_normalized": "a dozen words", "speaker_id": i % 2, "accent": -1, "length": i}


def test_an_audio_feature_as_published_sets_have_it(
    tmp_path: Path, tools: dict[str, Callable], write_tfds: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    wav = np.round(tools["voice"](1.0, 22_050) * 32767).astype(np.int64)
    folder = write_tfds(tmp_path / "set", published(), {"test": [record(wav * (i < 3), i) for i in range(4)]})
    printed = tools["run"](f"tfds:{folder}", out, sample_rate=0, loudness=None)
    assert "3 clips kept, 1 rejected" in printed and "silent: 1" in printed
    records = tfds.builder_from_directory(out).as_data_source("test")
    np.testing.assert_array_equal(records[0]["audio"], wav)
    assert [r["speaker"] for r in records] == [b"p225", b"p226", b"p225"] and records[0]["accent"] == -1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_set", "no data set 'no_such_set': it is neither one of asterisk_en, "),
        ("huggingface:some", "no data set 'huggingface:some'"),  # nothing is asked of the network
        ("ljspeech/no_such_config", "no data set 'ljspeech/no_such_config'"),
        ("vctk", "vctk is not in .*: `tfds build vctk --file_format=array_record"),
        ("xtreme_s/fleurs.en_us", "(without TensorFlow; name the folder|xtreme_s.fleurs.en_us is not in)"),
    ],
)
def test_sets_that_cannot_be_opened(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2ETTS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=f"^cannot open tfds:{name}: .*{says}") as error:
        list(tfds_rows.read(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_set_has_one_full_scale_whatever_its_clips(
    tmp_path: Path, tools: dict[str, Callable], write_tfds: Callable[..., Path], bits: int
) -> None:
    speech = tools["voice"](1.0, 22_050)
    quiet = speech * 2.0 ** -(bits - 3)  # nothing but the last bits: silence, however the other clips are
    waves = [np.round(w * (2 ** (bits - 1) - 1)).astype(np.int64) for w in (speech, quiet, speech * 0.05)]
    folder = write_tfds(tmp_path / "set", published(), {"test": [record(wav, i) for i, wav in enumerate(waves)]})
    assert tfds_rows.full_scale(str(folder)) == 2.0 ** (bits - 1)
    printed = tools["run"](f"tfds:{folder}", tmp_path / "out", workers=1, sample_rate=0, loudness=None)
    assert "2 clips kept, 1 rejected" in printed and "silent: 1" in printed
    kept = tfds.builder_from_directory(tmp_path / "out").as_data_source("test")
    for stored, wav in zip(kept, (speech, speech * 0.05), strict=True):
        np.testing.assert_allclose(stored["audio"] / 32768, wav, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_full_scale_of_samples_of_a_known_kind(
    tmp_path: Path, tools: dict[str, Callable], write_tfds: Callable[..., Path], dtype: type
) -> None:
    wav = tools["voice"](0.5) * (32767 if dtype is np.int16 else 1)
    features = {"audio": tfds.features.Tensor(shape=(None,), dtype=dtype), "text": tfds.features.Text()}
    made = {"train": [{"audio": wav.astype(dtype), "text": "words"}]}
    folder = write_tfds(tmp_path / "set", features, made, sample_rate=16_000)
    (row,) = tfds_rows.read(str(folder))
    got, rate, _ = tfds_rows.load(str(folder), row)
    assert rate == 16_000 and got.dtype == np.float32
    np.testing.assert_allclose(got[:, 0], tools["voice"](0.5), atol=1e-4)


def test_a_set_without_a_rate_is_refused_before_the_work(tmp_path: Path, write_tfds: Callable[..., Path]) -> None:
    features = {"audio": tfds.features.Tensor(shape=(None,), dtype=np.int16), "text": tfds.features.Text()}
    folder = write_tfds(tmp_path / "set", features, {"train": [{"audio": np.zeros(9, np.int16), "text": "words"}]})
    with pytest.raises(ValueError, match="cannot open tfds:.*: data set .* does not say its sample rate"):
        list(tfds_rows.read(str(folder)))
