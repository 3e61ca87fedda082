"""Texts are prepared once, by any number of processes, and kept for each tokenizer apart."""

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
    assert made.lengths[:6].tolist() == [6, 0, 11, 0, 0, 4] and len(made.refused) == 5
    assert made.refused[0].startswith("clip 'c1': character '\u00e9'")


def test_many_processes_make_the_same(corpus: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    alone = transcripts.of(corpus, CharTokenizer(), "en")
    monkeypatch.setattr(transcripts, "CHUNK", 7)
    together = transcripts._prepare(corpus, CharTokenizer(), "en")
    assert list(together.strings) == list(alone.strings) and together.refused == alone.refused
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
