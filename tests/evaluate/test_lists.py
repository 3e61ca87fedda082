"""Lists with every number of fields, manifests, and what is wrong with them."""

from pathlib import Path

import pytest

from e2etts_jax.evaluate.lists import Entry, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wavs").mkdir()
    for name in ("p.wav", "r.wav"):
        (tmp_path / "wavs" / name).write_bytes(b"")
    return tmp_path


def listed(folder: Path, content: str, name: str = "meta.lst") -> list[Entry]:
    (folder / name).write_text(content, encoding="utf-8")
    return read(folder / name)


def test_every_field_count_of_seed_tts_eval(folder: Path):
    prompt, reference = folder / "wavs/p.wav", folder / "wavs/r.wav"
    made = listed(
        folder,
        "a|Hello there.\n"
        "b.wav|Two of them.|wavs/p.wav\n"
        "\n"
        "c|What he says.|wavs/p.wav|Three of them.\n"
        f"d|他说什么。|{prompt}|四个。|wavs/r.wav\n",
    )
    assert made == [
        Entry("a", "Hello there."),
        Entry("b", "Two of them.", prompt),
        Entry("c", "Three of them.", prompt, "What he says."),
        Entry("d", "四个。", prompt, "他说什么。", reference),
    ]


@pytest.mark.parametrize(
    "name, content",
    [
        (
            "m.jsonl",
            '{"id": "a", "text": "Hi.", "reference": "wavs/r.wav", "other": 3}\n\n{"audio": "b.wav", "text": "Ho"}\n',
        ),
        ("m.csv", "id,text,reference\na,Hi.,wavs/r.wav\nb,Ho,\n"),
        ("m.tsv", "wav\tsentence\treference_wav\na.wav\tHi.\twavs/r.wav\nb\tHo\t\n"),
    ],
)
def test_manifests(folder: Path, name: str, content: str):
    assert listed(folder, content, name) == [Entry("a", "Hi.", reference=folder / "wavs/r.wav"), Entry("b", "Ho")]


def test_names_that_are_paths(folder: Path):
    """A file's name counts, of any ending and folder; a name may have folders of its own, inside a system's."""
    made = listed(folder, 'audio,Text\n/other/system/a.flac,Hi\nB/b.mp3,Ho\n"C\\c.WAV","Hi, ho"\n', "m.csv")
    assert [(e.key, e.text) for e in made] == [("a", "Hi"), ("b", "Ho"), ("c", "Hi, ho")]
    assert [e.key for e in listed(folder, "en/a|Hi\nv1.5|Ho\n")] == ["en/a", "v1.5"]


def test_quotes_of_a_table_with_tabs_are_signs_of_the_text(folder: Path):
    made = listed(folder, 'id\ttext\na\t"Hi\nb\t"Ho" he said\n', "m.tsv")
    assert [e.text for e in made] == ['"Hi', '"Ho" he said']
    assert listed(folder, 'id, text\n1, "Hi, all"\n', "m.csv") == [Entry("1", "Hi, all")]
    assert listed(folder, '{"id": 7, "text": "Hi", "seconds": 1.5}\n', "m.jsonl") == [Entry("7", "Hi")]


def test_no_more_is_read_than_wanted(folder: Path):
    (folder / "meta.lst").write_text("a|Hi\nb|Ho|none.wav\n")
    assert [e.key for e in read(folder / "meta.lst", 1)] == ["a"]


def test_a_byte_order_mark_is_no_part_of_a_name(folder: Path):
    (folder / "meta.lst").write_bytes(b"\xef\xbb\xbfa|Hi\r\nb|Ho\r\n")
    assert [e.key for e in read(folder / "meta.lst")] == ["a", "b"]


@pytest.mark.parametrize(
    "name, content, error, says",
    [
        ("meta.lst", "a|b|c|d|e|f\n", ValueError, "line 1: 6 fields"),
        ("meta.lst", "just a line\n", ValueError, "line 1: 1 fields"),
        ("meta.lst", "a\tHi\n", ValueError, "1 fields.*a manifest's name ends in .tsv"),
        ("meta.lst", "a|Hi\na|Ho\n", ValueError, "line 2: 'a' comes a second time, after line 1"),
        ("meta.lst", "../a|Hi\n", ValueError, "line 1: the name '../a' leads out"),
        ("meta.lst", "/b/a|Hi\n", ValueError, "leads out of a system's folder"),
        ("meta.lst", "a|x.wav|Hi\n", FileNotFoundError, r"a line is key\|text\|prompt"),
        ("m.csv", "id,text\na,Hi\nb\n", ValueError, "line 3: the text '' has no words"),
        ("m.csv", "id,text\na,Hi, all\n", ValueError, "line 2: more fields than the 2 of the head; quote"),
        ("m.csv", "id,Text,text\na,Hi,Ho\n", ValueError, "two columns named 'text'"),
        ("m.tsv", "id\ttext\na\tHi\tall\n", ValueError, "line 2: 3 fields; the head has 2"),
        ("m.tsv", "id\ttext\ttext\na\tHi\tall\n", ValueError, "two columns named 'text'"),
        ("m.jsonl", '{"id": "a", "text": ["Hi"]}\n', ValueError, r"line 1: 'text' is no text: \['Hi'\]"),
        ("m.jsonl", '{"audio": {"path": "a.wav"}, "text": "Hi"}\n', ValueError, "'audio' is no text"),
        ("m.jsonl", '{"id": "a", "text": "x\\ud800"}\n', ValueError, "line 1: a broken character"),
        ("m.jsonl", '{"id": "a", "text": null}\n', ValueError, "line 1: the text '' has no words"),
        ("m.csv", 'id,text\na,"Hi\nb,"Ho"\n', ValueError, "after line 1: ',' expected"),
        ("m.csv", 'id,text\na,"Hi\nb,Ho"\n', ValueError, "line 3: a field of several lines; is a quote left open"),
        ("meta.lst", "a|Hi\n|Ho\n", ValueError, "line 2: no name"),
        ("meta.lst", "a|...\n", ValueError, "has no words"),
        ("meta.lst", "\n", ValueError, "is empty"),
        ("meta.lst", "a|Hi|wavs/none.wav\n", FileNotFoundError, "line 1: no recording .*none.wav"),
        ("m.jsonl", "{broken\n", ValueError, "line 1 is no JSON"),
        ("m.jsonl", "[1]\n", ValueError, "no JSON object"),
        ("m.csv", "id,words\na,Hi\n", ValueError, "needs a column `text`.*it has id, words"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, name: str, content: str, error: type, says: str):
    with pytest.raises(error, match=says):
        listed(folder, content, name)


def test_no_list(folder: Path):
    with pytest.raises(FileNotFoundError, match="no list"):
        read(folder / "none.lst")
    (folder / "latin.lst").write_bytes("a|Über\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read(folder / "latin.lst")
