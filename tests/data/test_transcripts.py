"""Texts are prepared once, by any number of processes, and kept for each tokenizer apart."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from e2etts_jax.data import index, transcripts
from e2etts_jax.data.index import Index
from e2etts_jax.data.text import CharTokenizer

TEXTS = ["Yes, no.", "caf\u00e9", "room 12", "", "...", "it's"] * 5


@pytest.fixture
def corpus(tmp_path: Path) -> SimpleNamespace:
    n = len(TEXTS)
    none = np.full(n, -1, np.int32)
    made = Index(
        [f"c{i}" for i in range(n)], TEXTS, np.ones(n, np.int64), none, none, {}, {"speaker": [], "language": []}
    )
    index.write(tmp_path / "index-train", made)
    return SimpleNamespace(
        name="some[train]", folder=tmp_path / "index-train", index=index.read(tmp_path / "index-train")
    )


def test_words_and_lengths(corpus: SimpleNamespace):
    made = transcripts.of(corpus, CharTokenizer(), "en")
    assert list(made.strings[:6]) == ["yes no", "", "room twelve", "", "", "it's"]
    assert made.lengths[:6].tolist() == [6, 0, 11, 0, 0, 4]


def test_why_a_text_has_no_ids():
    why = functools.partial(transcripts.why_refused, language="en", tokenizer=CharTokenizer(languages=("en", "de")))
    assert why("caf\u00e9").startswith("character '\u00e9'")
    assert why("...") == why("") == "nothing is left of its text"


def test_many_processes_make_the_same(corpus: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    alone = transcripts.of(corpus, CharTokenizer(), "en")
    monkeypatch.setattr(transcripts, "CHUNK", 7)
    together = transcripts._prepare(corpus, CharTokenizer(), "en")
    assert list(together.strings) == list(alone.strings)
    np.testing.assert_array_equal(together.lengths, alone.lengths)


def test_what_is_kept_is_used_again_by_the_same_tokenizer_alone(
    corpus: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    first = transcripts.of(corpus, CharTokenizer(), "en")
    monkeypatch.setattr(transcripts, "_prepare", lambda *a: pytest.fail("prepared again"))
    assert list(transcripts.of(corpus, CharTokenizer(), "en").strings) == list(first.strings)
    for other, language in ((CharTokenizer(" abc"), "en"), (CharTokenizer(), "zh")):
        with pytest.raises(pytest.fail.Exception, match="prepared again"):
            transcripts.of(corpus, other, language)


def test_a_text_of_which_nothing_is_left_has_no_length_with_tags_either(corpus: SimpleNamespace):
    made = transcripts.of(corpus, CharTokenizer(languages=("en", "de")), "en")
    assert made.lengths[:6].tolist() == [7, 0, 12, 0, 0, 5]


@pytest.fixture
def foreign(corpus: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`foreign(folder)`: nothing can be written below it."""
    closed = []
    write = transcripts._write

    def refuse(folder: Path, made: transcripts.Transcripts) -> None:
        if any(folder.is_relative_to(other) for other in closed):
            raise PermissionError(13, "Permission denied", str(folder))
        write(folder, made)

    monkeypatch.setattr(transcripts, "_write", refuse)
    monkeypatch.setattr(transcripts, "_held", {})
    monkeypatch.setenv("E2ETTS_DATA_DIR", str(tmp_path / "cache"))
    return closed.append


def test_texts_of_a_corpus_of_others_are_kept_in_the_users_folder(
    corpus: SimpleNamespace, foreign: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    foreign(corpus.folder)
    first = transcripts.of(corpus, CharTokenizer(), "en")
    assert [p.name for p in tmp_path.glob("cache/texts/*/*/strings.npy")] and not list(corpus.folder.glob("texts-*"))
    unkept = SimpleNamespace(name="some[train]", folder=tmp_path / "nowhere", index=replace(corpus.index, texts=TEXTS))
    with monkeypatch.context() as patch:
        patch.setattr(transcripts, "_prepare", lambda *a: pytest.fail("prepared again"))
        for same in (corpus, unkept):
            again = transcripts.of(same, CharTokenizer(), "en")
            assert list(again.strings) == list(first.strings) and isinstance(again.lengths, np.memmap)
    other = SimpleNamespace(
        name="some[train]", folder=corpus.folder, index=replace(corpus.index, texts=["other", *TEXTS[1:]])
    )
    assert transcripts.of(other, CharTokenizer(), "en").strings[0] == "other"
    said = replace(corpus.index, languages=np.zeros(len(TEXTS), np.int32), names={"speaker": [], "language": ["zh"]})
    spoken = SimpleNamespace(name="some[train]", folder=corpus.folder, index=said)
    assert transcripts.of(spoken, CharTokenizer(), "en").strings[2] != "room twelve"


def test_texts_that_can_be_kept_nowhere_are_prepared_once(
    corpus: SimpleNamespace, foreign: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    foreign(tmp_path)
    first = transcripts.of(corpus, CharTokenizer(), "en")
    monkeypatch.setattr(transcripts, "_prepare", lambda *a: pytest.fail("prepared again"))
    assert transcripts.of(corpus, CharTokenizer(), "en") is first
    with pytest.raises(pytest.fail.Exception, match="prepared again"):
        transcripts.of(corpus, CharTokenizer(), "zh")
