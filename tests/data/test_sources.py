"""Corpora by name: the sets of TFDS (mocked), prepared folders, mixtures, and what is wrong said clearly."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mocks import mocked

from e2etts_jax.data import catalog, pipeline, sources
from e2etts_jax.data.text import CharTokenizer

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
        if not catalog.TFDS[name].splits:  # one stored split: its last clips are kept
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
        tokenizer=CharTokenizer(),
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
            tokenizer=CharTokenizer("".join(map(chr, range(32, 127)))),
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
