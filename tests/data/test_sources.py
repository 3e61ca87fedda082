"""Corpora by name: the sets of TFDS (mocked), prepared folders, mixtures, and what is wrong said clearly."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from mocks import mocked

from e2etts_jax.data import catalog, pipeline, sources
from e2etts_jax.data.text import make_both

NAMES = sorted(catalog.TFDS)


@pytest.fixture
def cfg(data_config, tmp_path: Path):
    return lambda dataset: data_config(dataset, tmp_path, buckets=(4,), max_text=64)


@pytest.mark.parametrize("name", NAMES)
def test_sets_of_tfds_open_by_name_without_tensorflow(name: str, cfg):
    rates = {"ljspeech": 22_050, "libritts": 24_000, "librispeech": 16_000, "vctk": 48_000}
    with mocked():
        parts = {split: sources.open_source(cfg(name), split) for split in catalog.SPLITS}
        train = parts["train"]
        (rate,) = {corpus.sample_rate for corpus in train.corpora}
        assert rate == rates[name]
        assert all(len(source) for source in parts.values()) and len(train) >= 18
        if not catalog.TFDS[name]:  # one stored split: its last clips are kept
            assert [len(parts[s]) for s in catalog.SPLITS] == [18, 1, 1]
        clip = train.clip(3, rate)
        assert clip.wav.dtype == np.int16 and len(clip.wav) == train.samples(rate)[3] > 0 and clip.speaker is None
        assert len(train.clip(3, 8000).wav) == train.samples(8000)[3] < len(clip.wav)
        assert isinstance(train.texts[3], str) and len(set(train.keys)) > 1
        assert (train.speakers >= 0).all() == (name != "ljspeech")
        if name == "vctk":
            assert train.label_names["gender"] == ["F", "M"] and train.labels["accent"].max() < 13


def test_a_set_that_is_not_there_is_refused_with_the_cure(cfg, tmp_path: Path):
    with pytest.raises(ValueError, match=r"vctk is not in .*tfds build vctk --file_format=array_record"):
        sources.open_source(cfg("vctk"), "train")
    with pytest.raises(ValueError, match=r"no data set 'vtck': .*asterisk_en, librispeech.*prepare --source"):
        sources.open_source(cfg("vtck"), "train")
    with pytest.raises(ValueError, match="no data set .*: it is neither"):
        sources.open_source(cfg(str(tmp_path)), "train")
    with mocked(), pytest.raises(ValueError, match="no split 'train_clean99'; it has dev_clean"):
        sources.open_source(cfg("libritts:train_clean99"), "train")


def test_the_splits_to_train_on_can_be_chosen(cfg):
    with mocked():
        names = [
            corpus.name for corpus in sources.open_source(cfg("libritts:dev_clean+train_clean100"), "train").corpora
        ]
        assert [name.rpartition("[")[2] for name in names] == ["dev_clean]", "train_clean100]"]
        (test,) = sources.open_source(cfg("libritts:dev_clean"), "test").corpora
        assert test.name.endswith("[test_clean]")


def test_clips_that_are_kept_are_not_trained_on(cfg):
    with mocked(300):
        parts = [sources.open_source(cfg("ljspeech"), split) for split in catalog.SPLITS]
        assert [len(p) for p in parts] == [294, 3, 3]
        spans = [i for p in parts for i in p.corpora[0].span]
        assert spans == list(range(300))
    with mocked(2), pytest.raises(ValueError, match="has 2 clips: too few"):
        sources.open_source(cfg("ljspeech"), "train")


def test_a_mixture_numbers_clips_voices_and_classes_through(numbers, asterisk_dir: Path):
    root = Path(numbers.data_dir)
    mixed = sources.open_source(dataclasses.replace(numbers, dataset="numbers=0.75, asterisk_en=0.25"), "train")
    first, second = mixed.corpora
    assert [len(p) for p in mixed.parts] == [50, len(second)] and len(mixed) == 50 + len(second)
    assert [float(s) for s in mixed.shares] == [0.75, 0.25]
    assert mixed.texts[49] == first.index.texts[49] and mixed.texts[50] == second.index.texts[0]
    np.testing.assert_array_equal(mixed.clip(52, 22_050).wav, second.clip(2, 22_050).wav)
    assert mixed.speakers[0] != mixed.speakers[50], "voices of two corpora are two voices"
    assert mixed.label_names["kind"] == first.index.names["kind"]
    assert (mixed.labels["kind"][:50] >= 0).all() and (mixed.labels["kind"][50:] == -1).all()
    assert mixed.keys[50:52] == second.index.keys[0:2] and list(mixed.keys)[-1] == second.index.keys[-1]
    cfg = dataclasses.replace(numbers, dataset="numbers=0.75,asterisk_en=0.25", buckets=(96, 300), max_text=400)
    batches = pipeline.make_batches(
        cfg,
        sample_rate=22_050,
        samples_per_token=1024,
        texts=make_both({}),
        split="train",
        batch_size=8,
        seed=0,
        shuffle=True,
    )
    unlabelled = [int((batches[step]["labels"]["kind"] < 0).sum()) for step in range(60)]
    assert sum(unlabelled) / 480 == pytest.approx(0.25, abs=0.06)
    assert root.is_dir()


def test_classes_that_agree_are_one_class():
    names, classes = sources._united(
        [(["sad", "glad"], np.array([0, 1, -1])), ([], np.array([-1])), (["glad", "calm"], np.array([1, 0]))]
    )
    assert names == ["sad", "glad", "calm"] and classes.tolist() == [0, 1, -1, -1, 2, 1]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("", "data.dataset is empty; name one of asterisk_en"),
        ("numbers=0.5,asterisk_en", "give every corpus a weight"),
        ("numbers=no", "'numbers=no' is not name"),
        ("numbers=-1", "is not name"),
        ("numbers=1/0", "is not name"),
        ("=0.5", "is not name"),
    ],
)
def test_misspelled_mixtures_are_refused(dataset: str, message: str):
    with pytest.raises(ValueError, match=message):
        catalog.parse(dataset)


def test_unknown_splits_say_what_there_is(numbers):
    with pytest.raises(ValueError, match="data set 'numbers' has no split 'dev'; it has"):
        sources.open_source(numbers, "dev")


def test_an_index_that_cannot_be_kept_costs_nothing_but_time(cfg, monkeypatch: pytest.MonkeyPatch, caplog):
    def refuse(path: Path, made: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sources.index, "write", refuse)
    with mocked(), caplog.at_level("WARNING"):
        source = sources.open_source(cfg("vctk"), "train")
        batches = pipeline.make_batches(
            cfg("vctk"),
            sample_rate=22_050,
            samples_per_token=1024,
            texts=make_both({"alphabet": "".join(map(chr, range(32, 127)))}),
            split="train",
            batch_size=2,
            seed=0,
            shuffle=True,
        )
        assert len(source) == 18 and batches[0]["wav_len"].all()
    assert "its index can't be kept" in caplog.text


@pytest.mark.parametrize(
    ("there", "split", "chosen", "expected"),
    [
        (("train", "dev"), "validation", (), (("dev",), False)),
        (
            ("dev_clean", "dev_other", "train_clean100", "train_other500"),
            "train",
            (),
            (("train_clean100", "train_other500"), False),
        ),
        (("dev_clean", "dev_other", "train_clean100"), "validation", (), (("dev_clean", "dev_other"), False)),
        (("train", "train_more", "dev"), "train", (), (("train",), False)),
        (("train", "train_more", "dev"), "train", ("train_more",), (("train_more",), False)),
        (("train",), "train", ("train",), (("train",), True)),
        (("train",), "test", (), (("train",), True)),
    ],
)
def test_splits_are_found_under_the_names_that_they_have(there: tuple, split: str, chosen: tuple, expected: tuple):
    builder = SimpleNamespace(info=SimpleNamespace(splits=dict.fromkeys(there), name="some"))
    assert catalog.Opened(builder, catalog.Fields(), {}).stored(split, chosen) == expected


def test_a_set_without_validation_says_what_to_do():
    builder = SimpleNamespace(info=SimpleNamespace(splits={"train": 0, "test": 0}, name="some"))
    with pytest.raises(ValueError, match="no split 'validation'; it has train, test; .* call one validation, or dev"):
        catalog.Opened(builder, catalog.Fields(), {}).stored("validation", ())


def test_examples_that_cannot_be_said_are_left_out(numbers, caplog: pytest.LogCaptureFixture):
    texts = list(sources.open_source(numbers, "test").texts)
    with caplog.at_level("WARNING"):
        found = sources.load_examples(numbers, "test", 3, 22_050, keep=lambda text, language: text != texts[1])
    assert [e.text for e in found] == [texts[0], texts[2], texts[3]]
    assert "1 clips can't be said and are left out, such as 'test-00001'" in caplog.text
    with pytest.raises(ValueError, match="no text can be said; look at text.alphabet"):
        sources.load_examples(numbers, "test", 3, 22_050, keep=lambda text, language: False)


def folder_of(write_tfds, path: Path, names: dict, size: int = 0, **metadata) -> Path:
    """A set of four clips, of which `names` says how its features are called; with speaker vectors of `size`."""
    features = {
        names.get("audio", "audio"): tfds.features.Tensor(shape=(None,), dtype=np.int16),
        names.get("text", "text"): tfds.features.Text(),
        "speaker": tfds.features.ClassLabel(names=["ann", "bob"]),
        "locale": tfds.features.ClassLabel(names=["en", "de"]),
        "mood": tfds.features.ClassLabel(names=["calm", "glad"]),
    }
    vector = {"xvector": tfds.features.Tensor(shape=(size,), dtype=np.float32)} if size else {}
    records = [
        dict(zip(features, (np.full(9000, i, np.int16), f"words {i}", 1 - i % 2, -(i == 3), i % 2), strict=True))
        | ({"xvector": np.full(size, not metadata, np.float32)} if size else {})
        for i in range(4)
    ]
    return write_tfds(path, features | vector, {"train": records}, sample_rate=22_050, **metadata)


def test_any_set_of_tfds_opens_by_the_names_of_its_features(cfg, write_tfds, tmp_path: Path):
    path = folder_of(write_tfds, tmp_path / "set", {"audio": "speech", "text": "sentence"})
    source = sources.open_source(cfg(str(path)), "train")
    assert list(source.texts) == ["words 0", "words 1"] and list(source.keys) == ["train-00000000", "train-00000001"]
    assert source.speakers.tolist() == [1, 0] and source.corpora[0].index.names["speaker"] == ["ann", "bob"]
    assert source.label_names == {"mood": ["calm", "glad"]} and source.labels["mood"].tolist() == [0, 1]
    assert [source.language(i) for i in range(2)] == ["en", "en"] and source.corpora[0].index.languages[3] == -1
    assert source.clip(1, 22_050).wav.tolist() == [1] * 9000 and source.clip(1, 22_050).speaker is None


def test_a_set_without_audio_or_text_is_named(cfg, write_tfds, tmp_path: Path):
    path = folder_of(write_tfds, tmp_path / "set", {"text": "label"})
    with pytest.raises(ValueError, match="has no audio with text, only audio, label, locale, mood, speaker"):
        sources.open_source(cfg(str(path)), "train")


def test_speaker_vectors_have_the_width_of_the_corpus(cfg, write_tfds, tmp_path: Path):
    paths = {size: folder_of(write_tfds, tmp_path / f"of{size}", {}, size) for size in (192, 512)}
    silent = folder_of(write_tfds, tmp_path / "none", {}, 256, speaker_vectors="none")
    for dataset, size in ((f"{paths[512]},{silent}", 512), (f"{paths[192]}", 192), (f"{silent}", 256)):
        batches = pipeline.make_batches(
            dataclasses.replace(cfg(dataset), buckets=(16,)),
            sample_rate=22_050,
            samples_per_token=1024,
            texts=make_both({}),
            split="train",
            batch_size=4,
            seed=0,
            shuffle=False,
        )
        assert batches[0]["speaker"].shape == (4, size)
    with pytest.raises(ValueError, match=r"different sizes: 192 numbers in .*, 512 numbers in .*the same --speaker"):
        sources.open_source(cfg(f"{paths[192]},{paths[512]}"), "train")


def test_models_of_another_width_say_what_to_set(cfg, write_tfds, tmp_path: Path):
    source = sources.open_source(cfg(str(folder_of(write_tfds, tmp_path / "set", {}, 512))), "train")
    sources.check_speaker(source, fm=512, rm=512)
    sources.check_speaker(source, fm=512, rm=0)  # without a head
    cure = "set --config.model.fm.speaker=512 --config.model.rm.speaker=512$"
    with pytest.raises(ValueError, match=f"model.fm.speaker=256: speaker vectors of the data have 512 numbers; {cure}"):
        sources.check_speaker(source, fm=256, rm=256)
    with pytest.raises(ValueError, match=f"model.rm.speaker=256: .*; {cure}"):
        sources.check_speaker(source, fm=512, rm=256)
    with pytest.raises(ValueError, match="model.fm.speaker=0: .*; set --config.model.fm.speaker=512$"):
        sources.check_speaker(source, fm=0, rm=0)


def test_a_refused_text_that_is_named_is_of_the_split(
    cfg, write_tfds, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    features = {"audio": tfds.features.Tensor(shape=(None,), dtype=np.int16), "text": tfds.features.Text()}
    texts = {3: "caf\u00e9", 297: "\u4f60\u597d"}  # of 300 clips the last ones validate and test
    records = [{"audio": np.zeros(2000, np.int16), "text": texts.get(i, "words")} for i in range(300)]
    path = write_tfds(tmp_path / "set", features, {"train": records}, sample_rate=22_050)
    made = {"sample_rate": 22_050, "samples_per_token": 1024, "texts": make_both({}), "batch_size": 1}
    with caplog.at_level("WARNING"):
        pipeline.make_batches(cfg(str(path)), split="train", seed=0, shuffle=True, **made)
    assert "1 of 294 clips" in caplog.text and "clip 'train-00000003': character '\u00e9'" in caplog.text
    with pytest.raises(ValueError, match="1 of 3 clips of .*: clip 'train-00000297': character '[\u4f60\u597d]'"):
        pipeline.make_eval_batches(cfg(str(path)), split="test", **made)
