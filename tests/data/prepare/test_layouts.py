"""The layouts of published corpora, and manifests as people write them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile as sf
import tensorflow_datasets as tfds

from e2etts_jax.data.prepare import layouts, manifest, rows


@pytest.fixture
def put(tmp_path: Path, tools: dict[str, Callable]) -> Callable[[str, str | None], None]:
    """`put("a/b.wav", None)` is a recording, `put("a/b.txt", "words")` a text."""

    def write(name: str, text: str | None) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            sf.write(path, tools["voice"](1.0), 16_000)
        else:
            path.write_text(text)

    return write


def found(root: Path) -> tuple[str, list[tuple[str, str, str, str]]]:
    source, layout = layouts.detect(root)
    return layout, sorted((r.key, r.audio, r.text.strip(), r.speaker) for r in layouts.read(source, layout))


def test_ljspeech(tmp_path: Path, put: Callable) -> None:
    put("metadata.csv", "LJ001-0001|Chapter 1|Chapter one\nLJ001-0002|\u00abas is\u00bb\n\nbroken line\n")
    layout, read = found(tmp_path)
    assert layout == "ljspeech"
    assert read == [
        ("LJ001-0001", "wavs/LJ001-0001.wav", "Chapter one", ""),
        ("LJ001-0002", "wavs/LJ001-0002.wav", "\u00abas is\u00bb", ""),
        ("line 4", "metadata.csv", "", ""),
    ]
    assert layouts.detect(tmp_path / "metadata.csv") == layouts.detect(tmp_path)


@pytest.mark.parametrize("name", ["train_filelist.txt", "metadata.csv"])
@pytest.mark.parametrize(
    ("content", "speakers"),
    [
        ("d/a.wav|Words of Ann, yes\nd/b.WAV|Words of Bob\n", ("", "")),
        ("\ufeffd/a.wav|12|Words of Ann, yes\r\n\r\nd/b.WAV|7|Words of Bob\r\n", ("12", "7")),
        ("d/a.wav|Ann Lee|Words of Ann, yes\nd/b.WAV|Ann Lee|Words of Bob\n", ("Ann Lee", "Ann Lee")),
        ("d/a.wav|Words of Ann, yes|0\nd/b.WAV|Words of Bob|1\n", ("0", "1")),
        ("d/a.wav|Words of Ann: yes|Words of Ann, yes\nd/b.WAV|words of bob|Words of Bob\n", ("", "")),
    ],
)
def test_filelists_of_vits(tmp_path: Path, put: Callable, name: str, content: str, speakers: tuple[str, str]) -> None:
    put(name, content)
    assert found(tmp_path / name) == (
        "filelist",
        [("d/a", "d/a.wav", "Words of Ann, yes", speakers[0]), ("d/b", "d/b.WAV", "Words of Bob", speakers[1])],
    )


def test_a_filelist_is_known_by_a_file_without_an_end_too(tmp_path: Path, put: Callable) -> None:
    put("d/one", "no recording, but there")
    put("list.txt", "d/one|ann|some words\nd/two|ann|a|b\n")
    assert found(tmp_path / "list.txt") == (
        "filelist",
        [("d/one", "d/one", "some words", "ann"), ("line 2", "list.txt", "", "")],
    )
    put("other.txt", "one|some words\n")
    assert layouts.detect(tmp_path / "other.txt")[1] == "ljspeech"


def test_a_filelist_is_prepared(tmp_path: Path, put: Callable, tools: dict[str, Callable]) -> None:
    for i in range(4):
        put(f"corpus/d/{i}.wav", None)
    put("corpus/list.txt", "".join(f"d/{i}.wav|{i % 2}|some words\n" for i in range(5)))
    printed = tools["run"](tmp_path / "corpus" / "list.txt", tmp_path / "out", workers=1)
    assert "4 clips kept, 1 rejected" in printed and "2 speakers" in printed and "missing file: 1" in printed


def test_libritts(tmp_path: Path, put: Callable) -> None:
    for name in ("84_121550_000007_000000", "84_121550_000008_000000"):
        put(f"dev-clean/84/121550/{name}.wav", None)
    put("dev-clean/84/121550/84_121550_000007_000000.normalized.txt", "but words\n")
    put("dev-clean/84/121550/84_121550_000007_000000.original.txt", "But words\n")
    layout, read = found(tmp_path)
    assert layout == "libritts"
    folder = "dev-clean/84/121550/84_121550_00000"
    assert read == [
        ("84_121550_000007_000000", f"{folder}7_000000.wav", "but words", "84"),
        ("84_121550_000008_000000", f"{folder}8_000000.wav", "", "84"),
    ]


def test_vctk(tmp_path: Path, put: Callable) -> None:
    for mic in ("mic1", "mic2"):
        put(f"wav48_silence_trimmed/p225/p225_001_{mic}.flac", None)
    put("txt/p225/p225_001.txt", "Please call Stella.")
    assert found(tmp_path) == (
        "vctk",
        [("p225_001", "wav48_silence_trimmed/p225/p225_001_mic1.flac", "Please call Stella.", "p225")],
    )


def test_recordings_beside_texts(tmp_path: Path, put: Callable, tools: dict[str, Callable]) -> None:
    for i in range(4):
        put(f"a/{i}.wav", None)
        put(f"a/{i}.txt", "some words")
    put("a/untold.wav", None)
    put("readme.txt", "not a transcript")
    (tmp_path / "a" / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    put("a/latin.wav", None)
    printed = tools["run"](tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    assert "4 clips kept, 2 rejected" in printed and "missing file: 1" in printed and "bad text: 1" in printed
    builder = tfds.builder_from_directory(tmp_path.parent / f"{tmp_path.name}-out")
    assert [r["key"].decode() for r in builder.as_data_source("train")] == [f"a/{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "audio,text,speaker\na.wav,\"one, two\",x\nb.wav,three,\n"),
        ("m.csv", "\ufeffaudio;text;speaker\r\na.wav;one, two;x\r\nb.wav;three;\r\n"),
        ("m.tsv", "speaker\taudio\ttext\nx\ta.wav\tone, two\n\tb.wav\tthree\n"),
        ("m.csv", "audio|text|speaker\na.wav|one, two|x\nb.wav|three|\n"),
        ("m.jsonl", '\ufeff{"audio": "a.wav", "text": "one, two", "speaker": "x"}\r\n\r\n{"audio": "b.wav", '
         '"text": "three"}\r\n'),
        ("m.jsonl", '{"audio_filepath": "a.wav", "text": "one, two", "spk": "x", "duration": 1}\n'
         '{"path": "b.wav", "sentence": "three"}'),
    ],
)  # fmt: skip
def test_manifests(tmp_path: Path, put: Callable, name: str, content: str) -> None:
    put(name, content)
    layout, read = found(tmp_path / name)
    assert layout == "manifest"
    assert read == [("a", "a.wav", "one, two", "x"), ("b", "b.wav", "three", "")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.csv", b"file_name,words\na.wav,b\n", "needs a first line with columns 'audio' and 'text'"),
        ("m.csv", b"", "has no row"),
        ("m.jsonl", b"\n\n", "has no row"),
        ("m.jsonl", b'{"wave": "x"}\n', "needs columns 'audio' and 'text'; it has 'wave'"),
        ("m.jsonl", '{"audio": "a", "text": "x"}\n{"text": "caf\u00e9"}'.encode("latin-1"), "0xe9 in line 2"),
    ],
)  # fmt: skip
def test_manifests_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says):
        list(manifest.read(tmp_path / name))


def test_a_csv_line_with_too_few_fields_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('audio,text\na.wav\nb.wav,"quoted\nover lines"\n')
    bad, good = manifest.read(tmp_path / "m.csv")
    assert bad.problem == ("bad row", "1 fields instead of 2") and good.text == "quoted\nover lines"


def test_no_layout(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no recordings"):
        layouts.detect(tmp_path)
    with pytest.raises(ValueError, match="--layout=nonsense must be"):
        layouts.locate(tmp_path, "nonsense")
    with pytest.raises(FileNotFoundError, match="no file .*metadata.csv for --layout=ljspeech"):
        layouts.locate(tmp_path, "ljspeech")


def test_how_long_a_text_takes_to_say() -> None:
    assert rows.weight("ten words!") == 10
    assert rows.weight("1984") == 16
    assert rows.weight("\u4eca\u5929") == 6
    assert rows.weight("e\u0301") == 1


def test_a_quote_in_a_table_of_tabs_is_a_quote(tmp_path: Path) -> None:
    path = tmp_path / "validated.tsv"
    path.write_text('path\tsentence\na.wav\t"Hello there\nb.wav\tsecond line\nc.wav\tthird quoted" line\n')
    read = list(manifest.read(path))
    assert [(r.audio, r.text) for r in read] == [
        ("a.wav", '"Hello there'),
        ("b.wav", "second line"),
        ("c.wav", 'third quoted" line'),
    ]


@pytest.mark.parametrize(
    ("closing", "read_as"), [('d.wav,"closed" here', None), ('d.wav,closed"', 'closed"'), ("", None)]
)
def test_a_quote_that_swallows_rows_costs_its_own_row_alone(tmp_path: Path, closing: str, read_as: str | None) -> None:
    path = tmp_path / "m.csv"
    rows_ = ['a.wav,"all, well"', 'b.wav,"never closed', "c.wav,words", closing, "e.wav,last"]
    path.write_text("\n".join(["audio,text", *rows_, ""]))
    read = list(manifest.read(path))
    good = [(r.audio, r.text) for r in read if r.problem is None]
    assert good == [
        ("a.wav", "all, well"),
        ("c.wav", "words"),
        *[("d.wav", read_as)] * bool(read_as),
        ("e.wav", "last"),
    ]
    bad = [r for r in read if r.problem is not None]
    assert [r.key for r in bad] == ["line 3", "line 5"][: 1 + (closing != "" and read_as is None)]
    assert all(r.problem[0] == "bad row" and "quote" in r.problem[1] for r in bad), "every clip that stays out is named"


def test_the_longest_text_is_counted_as_it_is_read() -> None:
    from e2etts_jax.data.prepare.finish import longest_text
    from e2etts_jax.data.text import CharTokenizer

    texts = ["a plain text that is not so short", "it is $1,234.50 on Jan. 5"]
    assert longest_text(texts) >= max(len(CharTokenizer().prepare(t)) for t in texts) > len(texts[0])
