"""The index of a split: what is written is read, all of it or nothing."""

from pathlib import Path

import numpy as np
import pytest

from e2etts_jax.data import index
from e2etts_jax.data.index import Index, Strings

TEXTS = ["yes", "", "déjà vu", "你好", "\U0001f600 ok", "a" * 5000]


def made(**changes) -> Index:
    n = len(TEXTS)
    fields = {
        "keys": [f"clip-{i}" for i in range(n)],
        "texts": TEXTS,
        "samples": np.arange(n) * 2**40,
        "speakers": np.array([0, 1, -1, 0, 1, 0]),
        "languages": np.full(n, -1),
        "labels": {"emotion": np.array([-1, 2, 0, 1, -1, 2])},
        "names": {"speaker": ["ann", "bob"], "language": [], "emotion": ["calm", "glad", "sad"]},
    }
    return Index(**{**fields, **changes})


def test_what_is_written_is_read(tmp_path: Path):
    path = index.path_of(tmp_path, "train")
    index.write(path, made())
    index.write(path, made())  # over what is there
    found = index.read(path)
    assert list(found.texts) == TEXTS and found.texts[-1] == TEXTS[-1] and found.texts[1:4] == TEXTS[1:4]
    assert len(found) == 6 and found.keys[5] == "clip-5" and found.names == made().names
    np.testing.assert_array_equal(found.samples, made().samples)
    np.testing.assert_array_equal(found.labels["emotion"], made().labels["emotion"])
    assert isinstance(found.samples, np.memmap) and [p.name for p in tmp_path.iterdir()] == ["index-train"]
    with pytest.raises(IndexError):
        found.texts[6]


def test_an_empty_split_has_an_index(tmp_path: Path):
    none = np.zeros(0, np.int64)
    index.write(
        tmp_path / "i", made(keys=[], texts=[], samples=none, speakers=none, languages=none, labels={}, names={})
    )
    assert len(index.read(tmp_path / "i")) == 0


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="has 6 keys, but 2 texts"):
        made(texts=Strings.of(["a", "b"]))


def test_a_missing_index_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no index .*index-test"):
        index.read(index.path_of(tmp_path, "test"))


def test_an_index_that_is_the_same_stays_with_what_was_made_of_it(tmp_path: Path):
    path = index.path_of(tmp_path, "train")
    index.write(path, made())
    (path / "texts-some-en").mkdir()
    (path / "texts-some-en" / "strings.npy").write_text("prepared")
    index.write(path, made())
    assert (path / "texts-some-en" / "strings.npy").read_text() == "prepared"
    assert [p.name for p in tmp_path.iterdir()] == ["index-train"]
    other = {"names": {"speaker": ["ann", "bob"], "language": []}, "labels": {}}
    for changes in ({"texts": [*TEXTS[:-1], "b" * 5000]}, {"samples": np.arange(len(TEXTS))}, other):
        (path / "texts-some-en").mkdir(exist_ok=True)
        index.write(path, made(**changes))
        assert not (path / "texts-some-en").exists() and list(index.read(path).texts) == changes.get("texts", TEXTS)
