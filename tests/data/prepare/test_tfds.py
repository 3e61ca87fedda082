"""TFDS speech sets as a source."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

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


def test_an_audio_feature_as_published_sets_have_it(
    tmp_path: Path, tools: dict[str, Callable], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_audio_without_tensorflow()
    allow_audio_without_tensorflow()  # twice is once
    folder, out = tmp_path / "set", tmp_path / "out"
    folder.mkdir()
    features = tfds.features.FeaturesDict(
        {
            "speech": tfds.features.Audio(sample_rate=22_050),  # i64, as LJSpeech's and LibriTTS's
            "text_normalized": tfds.features.Text(),
            "speaker_id": tfds.features.ClassLabel(names=["p225", "p226"]),
            "accent": tfds.features.ClassLabel(names=["here", "there"]),
            "length": tfds.features.Scalar(np.int64),
        }
    )
    wav = np.round(tools["voice"](1.0, 22_050) * 32767).astype(np.int64)
    writer = array_record_module.ArrayRecordWriter(str(folder / "a-test.array_record-00000-of-00001"), "group_size:1")
    for i in range(4):
        record = {"speech": wav * (i < 3), "text_normalized": "a dozen words", "speaker_id": i % 2, "accent": -1}
        writer.write(features.serialize_example(record | {"length": i}))
    writer.close()
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="a", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="a"
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format("array_record")
    template = tfds.core.ShardedFileTemplate(
        dataset_name="a", data_dir=folder, split="test", filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(name="test", shard_lengths=[4], num_bytes=1, filename_template=template)
    info.set_splits(tfds.core.splits.SplitDict([split]))
    with monkeypatch.context() as patch:  # describing an Audio feature needs TensorFlow; reading it back does not
        patch.setattr(tfds.features.Audio, "dtype", np.dtype(np.int64))
        info.write_to_directory(folder)

    printed = tools["run"](f"tfds:{folder}", out, sample_rate=0, loudness=None)
    assert "3 clips kept, 1 rejected" in printed and "silent: 1" in printed
    records = tfds.builder_from_directory(out).as_data_source("test")
    np.testing.assert_array_equal(records[0]["audio"], wav)
    assert [r["speaker"] for r in records] == [b"p225", b"p226", b"p225"] and records[0]["accent"] == -1


def test_no_such_set() -> None:
    with pytest.raises(ValueError, match="cannot open tfds:no_such_set"):
        list(tfds_rows.read("no_such_set"))
