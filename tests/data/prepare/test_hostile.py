"""More than fifty bad clips: none ends the run, each is named with its reason, and the good ones are kept."""

import csv
import io
import json
import os
import struct
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import tensorflow_datasets as tfds

from e2etts_jax.data.prepare import layouts, manifest, rows

RATE = 16_000
KEPT = None  # instead of a reason
TEXT = "a dozen words"


def wav_header(data_bytes: int, rate: int = RATE, bits: int = 16, channels: int = 1) -> bytes:
    block = channels * bits // 8
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, 1, channels, rate, rate * block, block,
        bits, b"data", data_bytes
    )  # fmt: skip


def build(root: Path, voice: Callable[..., np.ndarray]) -> list[tuple[str, Any, str | None]]:
    """Name, manifest row (a dict is completed, a string is a line as it is), and the reason to expect."""
    cases: list[tuple[str, Any, str | None]] = []
    good = voice(1.0)

    def case(name: str, reason: str | None, **fields: Any) -> None:
        cases.append((name, {"id": name, "audio": f"{name}.wav", "text": TEXT, "split": "train"} | fields, reason))

    def audio(
        name: str, reason: str | None, wav: np.ndarray, rate: int = RATE, ext: str = "wav", **kwargs: Any
    ) -> None:
        fields = {k: kwargs.pop(k) for k in ("text", "id") if k in kwargs}
        sf.write(root / f"{name}.{ext}", wav, rate, **kwargs)
        case(name, reason, **{"audio": f"{name}.{ext}"} | fields)

    def raw(name: str, reason: str | None, content: bytes, ext: str = "wav", **fields: Any) -> None:
        (root / f"{name}.{ext}").write_bytes(content)
        case(name, reason, **{"audio": f"{name}.{ext}"} | fields)

    # files that are not what they say
    audio("good", KEPT, good)
    whole = (root / "good.wav").read_bytes()
    raw("truncated-wav", "truncated", whole[: len(whole) // 2])
    for ext, kwargs in (("flac", {}), ("ogg", {}), ("opus", {"format": "OGG", "subtype": "OPUS"})):
        audio(f"whole-{ext}", KEPT, voice(3.0), ext=ext, **kwargs)
        content = (root / f"whole-{ext}.{ext}").read_bytes()
        raw(f"truncated-{ext}", ("truncated", "unreadable"), content[: len(content) // 2], ext)
    raw("zero-bytes", "empty", b"")
    raw("header-only", "empty", wav_header(0))
    raw("half-a-header", "unreadable", whole[:20])
    raw("random-bytes", "unreadable", np.random.default_rng(0).bytes(5000))
    raw("text-as-audio", "unreadable", b"this is no recording\n" * 100)
    raw("json-as-mp3", "unreadable", b'{"a": 1}' * 500, "mp3")
    raw("html-as-ogg", "unreadable", b"<html>404 not found</html>" * 50, "ogg")
    raw("raw-extension", "unreadable", whole, "raw")  # by that name a file without header
    raw("wav-named-mp3", KEPT, whole, "mp3")
    raw("wav-named-txt", KEPT, whole, "txt")
    raw("streamed-wav", KEPT, wav_header(0xFFFFFFFF - 36)[:40] + b"\xff\xff\xff\xff" + whole[44:])
    raw("absurd-channels", ("unreadable", "empty", "too short"), wav_header(32000, channels=30000) + whole[44:])
    raw("rate-zero", "unreadable", wav_header(32000, rate=0) + whole[44:])
    # recordings that are not speech
    audio("one-sample", "too short", good[:1])
    audio("no-sample-flac", "empty", good[:0], ext="flac")
    with_nan, with_inf = good.copy(), good.copy()
    with_nan[500], with_inf[500] = np.nan, np.inf
    audio("nan", "not finite", with_nan, subtype="FLOAT")
    audio("inf", "not finite", with_inf, subtype="FLOAT")
    audio("huge-floats", ("clipped", "not finite"), good * np.float32(1e30), subtype="FLOAT")
    audio("doubles", KEPT, good, subtype="DOUBLE")
    audio("eight-channels", KEPT, np.stack([good] * 8, axis=1))
    audio("opposite-channels", "silent", np.stack([good, -good], axis=1), subtype="FLOAT")
    audio("192-khz", KEPT, voice(1.0, 192_000), 192_000)
    audio("four-khz", KEPT, voice(1.0, 4000), 4000)
    with (root / "four-hours.wav").open("wb") as file:
        size = 4 * 3600 * 8000
        file.write(wav_header(size, rate=8000, bits=8))
        file.truncate(44 + size)  # sparse
    case("four-hours", "too long")
    audio("just-too-long", "too long", voice(30.01, 8000), 8000, text="a " * 40)
    audio("just-not-too-long", KEPT, voice(30.0, 8000), 8000, text="a " * 40)
    audio("silence", "silent", np.zeros(RATE, np.float32))
    audio("offset-only", "silent", np.full(RATE, 0.5, np.float32))
    audio("speech-with-offset", KEPT, good * 0.5 + np.float32(0.3))
    audio("faint-noise", "silent", 1e-4 * np.random.default_rng(1).standard_normal(RATE), subtype="FLOAT")
    audio("clipped", "clipped", np.clip(50 * good, -1, 1))
    audio("short-noise-long-text", "too short", voice(0.2), text="far more than can be said " * 3)
    audio("text-of-another", "text/audio ratio", voice(0.5), text="far more than can be said " * 3)
    audio("one-letter-in-20-s", "text/audio ratio", voice(20.0, 8000), 8000, text="a")
    # paths
    (root.parent / "secret.wav").write_bytes(whole)
    case("up-and-out", "outside the folder", audio="../secret.wav")
    case("hidden-up-and-out", "outside the folder", audio="x/../../secret.wav")
    case("absolute", "outside the folder", audio=str(root.parent / "secret.wav"))
    case("absolute-inside", KEPT, audio=str(root / "good.wav"))
    (root / "link-out.wav").symlink_to(root.parent / "secret.wav")
    case("link-out", "outside the folder")
    (root / "dev-zero.wav").symlink_to("/dev/zero")
    case("dev-zero", "outside the folder")
    (root / "link-loop.wav").symlink_to(root / "link-loop.wav")
    case("link-loop", ("unreadable", "missing file"))
    (root / "link-to-nothing.wav").symlink_to(root / "nothing-here.wav")
    case("link-to-nothing", "missing file")
    case("missing", "missing file")
    case("file-as-folder", "unreadable", audio="good.wav/x.wav")
    (root / "a-folder.wav").mkdir()
    case("a-folder", "not a file")
    os.mkfifo(root / "a-pipe.wav")
    case("a-pipe", "not a file")
    case("url", "missing file", audio="https://example.com/x.wav")
    case("nul-in-path", "bad row", audio="good\0.wav")
    case("path-of-5000", ("unreadable", "missing file"), audio="x" * 5000)
    case("empty-path", "bad row", audio="")
    if os.geteuid():  # root reads everything
        raw("no-permission", "unreadable", whole)
        (root / "no-permission.wav").chmod(0)
    (root / "d é 🎙 '\"$(rm).wav").write_bytes(whole)
    case("odd-path", KEPT, audio="d é 🎙 '\"$(rm).wav")
    # texts
    share = {"audio": "good.wav"}
    case("emoji-only", "text empty", text="🎉🎉 🚀", **share)
    case("emoji-and-words", KEPT, text="we won 🎉 today", **share)
    case("right-to-left", KEPT, text="שלום לכולם", **share)
    case("arabic-with-marks", KEPT, text="السَّلَامُ عَلَيْكُمْ", **share)
    case("chinese", KEPT, text="今天天气很好", **share)
    case("bidi-override", KEPT, text="\u202eabc\u202c words", **share)
    case("text-of-10000", "text too long", text="word " * 2000, **share)
    case("empty-text", "text empty", text="", **share)
    case("white-space", "text empty", text=" \t\n\u3000", **share)
    case("punctuation", "text empty", text="?!... --", **share)
    case("control-characters", "bad text", text="a\x07bell rings", **share)
    case("nul-in-text", "bad text", text="a nul\0 here", **share)
    cases.append(
        ("half-a-surrogate", '{"id": "half-a-surrogate", "audio": "good.wav", "text": "a \\ud800 b"}', "bad text")
    )
    case("null-text", "text empty", text=None, **share)
    case("number-as-text", KEPT, text=1984, **share)
    case("list-as-text", "bad row", text=["a", "b"], **share)
    case("true-as-text", "bad row", text=True, **share)
    case("null-audio", "bad row", audio=None)
    case("object-as-audio", "bad row", audio={"path": "good.wav"})
    case("null-speaker", KEPT, speaker=None, **share)
    case("decomposed", KEPT, text="cafe\u0301 e\u0301te\u0301", **share)
    # keys
    case("nul\0in-key", "bad key", **share)
    case("slash/in/../key", KEPT, **share)
    case("k" * 300, KEPT, **share)
    case("k" * 600, "bad key", **share)
    case("ключ-鍵-🔑", KEPT, **share)
    case("twice", KEPT, **share)
    case("twice", "duplicate id", **share)
    case(17, KEPT, **share)
    # lines
    cases.append(("line", '{"id": "broken", "audio": ', "bad row"))
    cases.append(("line", "[1, 2, 3]", "bad row"))
    cases.append(("line", '"just a string"', "bad row"))
    cases.append(("line", "[" * 100_000, "bad row"))
    cases.append(("line", '{"id": "no-audio", "text": "words"}', "bad row"))
    return cases


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, Callable]) -> tuple[Path, list, str]:
    root = tmp_path_factory.mktemp("hostile") / "corpus"
    root.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = build(root, tools["voice"])
    # with a byte order mark and CRLF, as Windows writes
    lines = [c[1] if isinstance(c[1], str) else json.dumps(c[1]) for c in cases]
    (root / "metadata.jsonl").write_bytes("\r\n".join(["\ufeff" + lines[0], *lines[1:], ""]).encode())
    out = root.parent / "out"
    return out, cases, tools["run"](root, out)


def test_every_bad_clip_is_named_with_its_reason_and_every_good_one_kept(hostile: tuple[Path, list, str]) -> None:
    out, cases, _ = hostile
    assert sum(reason is not None for *_, reason in cases) >= 50
    records = tfds.builder_from_directory(out).as_data_source("train")
    kept = [r["key"].decode() for r in records]
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert len(kept) + len(rejected) == len(cases)
    reasons: dict[str, list[str]] = {}
    for r in rejected:
        name = "line" if r["key"].startswith("line ") else r["key"]
        reasons.setdefault(name, []).append(r["reason"])
        assert r["detail"] and set(r) == {"key", "path", "reason", "detail"}
    wrong = []
    for name, row, expected in cases:
        name = str(name)
        if expected is KEPT:
            found = "kept" if name in kept else reasons.get(name)
            wrong += [] if found == "kept" else [(name[:40], "kept", found)]
        else:
            expected = (expected,) if isinstance(expected, str) else expected
            names = (name, "line") if isinstance(row, str) else (name,)
            found = [r for n in names for r in reasons.get(n, [])]
            wrong += [] if set(found) & set(expected) else [(name[:40], expected, found)]
    assert not wrong, "\n".join(map(str, wrong))


def test_what_is_stored_of_the_good_ones(hostile: tuple[Path, list, str]) -> None:
    out, _, printed = hostile
    records = {r["key"].decode(): r for r in tfds.builder_from_directory(out).as_data_source("train")}
    for name, record in records.items():
        wav = record["audio"].astype(np.float64) / 32768
        assert record["audio"].dtype == np.int16 and np.abs(wav).max() < 0.999, name
        assert abs(wav.mean()) < 0.01, name
    for name in ("eight-channels", "192-khz", "wav-named-mp3", "doubles"):
        assert len(records[name]["audio"]) == RATE, name
    np.testing.assert_allclose(records["eight-channels"]["audio"], records["good"]["audio"], atol=2)
    assert records["decomposed"]["text"].decode() == "café été"
    assert records["emoji-and-words"]["text"].decode() == "we won 🎉 today"
    assert records["number-as-text"]["text"] == b"1984"
    assert "WARNING" in printed and "rejected, bad row" in printed


def test_a_root_opens_another_folder(tmp_path: Path, tools: dict[str, Callable]) -> None:
    (tmp_path / "a").mkdir()
    sf.write(tmp_path / "x.wav", tools["voice"](1.0), RATE)
    source = tools["write_jsonl"](tmp_path / "a" / "m.jsonl", [{"audio": str(tmp_path / "x.wav"), "text": TEXT}])
    with pytest.raises(ValueError, match="all 1 clips were rejected .outside the folder: 1"):
        tools["run"](source, tmp_path / "out1")
    assert "1 clips kept" in tools["run"](source, tmp_path / "out2", roots=(str(tmp_path),))


def test_keeping_the_rate_wants_one_rate(tmp_path: Path, tools: dict[str, Callable]) -> None:
    for i, rate in enumerate((8000, 8000, 16000)):
        sf.write(tmp_path / f"{i}.wav", tools["voice"](1.0, rate), rate)
    rows = [{"audio": f"{i}.wav", "text": TEXT} for i in range(3)]
    printed = tools["run"](tools["write_jsonl"](tmp_path / "m.jsonl", rows), tmp_path / "out", sample_rate=0)
    assert "2 clips kept, 1 rejected" in printed and "at 8000 Hz" in printed and "other sample rate: 1" in printed


def texts() -> list[tuple[str, str, str | None, str]]:
    """Name, text, the reason to expect, and the text as it is kept, of rows as a table can hold them."""
    long = "word " * 2000
    return [
        ("plain", "a dozen words", KEPT, "a dozen words"),
        ("commas", "well, yes; or\tno | maybe", KEPT, "well, yes; or\tno | maybe"),
        ("quotes", 'he said "yes"', KEPT, 'he said "yes"'),
        ("all-quoted", '"yes" she said "no"', KEPT, '"yes" she said "no"'),
        ("two-lines", "well,\nyes, she said", KEPT, "well,\nyes, she said"),
        ("windows-lines", "well,\r\nno", KEPT, "well,\r\nno"),
        ("paths-in-it", "good.wav\nis a name", KEPT, "good.wav\nis a name"),
        ("emoji", "we won 🎉 today", KEPT, "we won 🎉 today"),
        ("emoji-only", "🎉🎉", "text empty", ""),
        ("right-to-left", "שלום לכולם", KEPT, "שלום לכולם"),
        ("line-separator", "one two", KEPT, "one two"),
        ("decomposed", "café", KEPT, "café"),
        ("nul", "a nul\0 here", "bad text", ""),
        ("bell", "a\x07bell rings", "bad text", ""),
        ("10000", long, "text too long", ""),
        ("200000-quoted", "no, " * 50_000, ("bad row", "text too long"), ""),
        ("empty", "", "text empty", ""),
        ("white", " \t　", "text empty", ""),
        ("backslash", "a \\n b \\", KEPT, "a \\n b \\"),
        ("formula", "=1+1 is two", KEPT, "=1+1 is two"),
        ("key\0nul", "a dozen words", "bad key", ""),
        ("plain", "the same id", "duplicate id", ""),
        ("ключ", "a dozen words", KEPT, "a dozen words"),
    ]  # fmt: skip


LINES = {  # as they stand in the file: what is wrong with the row is in its place there
    "short": "short{0}good.wav",
    "wide": "wide{0}good.wav{0}a dozen words{0}{0}{0}too much",
    "no-audio": "no-audio{0}{0}a dozen words{0}{0}",
    "junk-after-quote": 'junk-after-quote{0}good.wav{0}"closed" here{0}{0}',
    "only-delimiters": "{0}{0}{0}{0}",
    "unclosed": 'unclosed{0}good.wav{0}"never closed{0}{0}',
}


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_hostile_table(tmp_path: Path, tools: dict[str, Callable], delimiter: str, newline: str) -> None:
    sf.write(tmp_path / "good.wav", tools["voice"](1.0), RATE)
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, delimiter=delimiter, lineterminator=newline)
    writer.writerow(["id", " audio", "text ", "speaker", "mood"])
    for name, text, *_ in texts():
        writer.writerow([name, "good.wav", text, "安娜", "calm"])
    for line in LINES.values():
        lines.write(line.format(delimiter) + newline)
    writer.writerow(["after", "good.wav", "a dozen words", "bob", "glad"])
    path = tmp_path / ("m.tsv" if delimiter == "\t" else "m.csv")
    path.write_bytes(("﻿" + newline + lines.getvalue()).encode())
    source, layout = layouts.locate(path, "auto")
    assert layout == "manifest"
    kept, rejected = rows.sift(manifest.read(source), 30 * 35)
    assert len(kept) + len(rejected) == len(texts()) + len(LINES) + 1, "every row is kept, or named"
    found = {row.key: row for row in kept}
    assert found.pop("after").labels == {"mood": "glad"}
    assert {row.key: row.text for row in kept} == {n: kept for n, _, reason, kept in texts() if reason is KEPT} | {
        "after": "a dozen words"
    } | ({"unclosed": '"never closed', "junk-after-quote": '"closed" here'} if delimiter in "\t|" else {})
    assert all(found[n].speaker == "安娜" for n, _, reason, _ in texts() if reason is KEPT)
    lost = Counter(r["reason"] for r in rejected)
    for reason, count in {"text empty": 3, "bad text": 2, "bad key": 1, "duplicate id": 1}.items():
        assert lost[reason] == count, rejected
    assert lost["bad row"] + lost["text too long"] == len(rejected) - 7


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no row"),
        (b"\xef\xbb\xbf", "has no row"),
        (b"\r\n \r\n", "has no row"),
        (b"audio,text\r\n", "has no row"),
        (b"audio;text;speaker", "has no row"),
        (b"audio,words\na.wav,hello\n", "needs a first line with columns 'audio' and 'text'; it has 'audio', 'words'"),
        (b"a.wav,hello\nb.wav,there\n", "needs a first line .* it has 'a.wav', 'hello'"),
        (b"audio,text,text\na.wav,hello,there\n", "has 2 columns named 'text'; rename one"),
        ("audio,text\na.wav,café\n".encode("latin-1"), "0xe9 in line 2.*iconv -f latin1"),
        ("audio,text\na.wav,café\n".encode("utf-16"), "0xff in line 1.*iconv -f utf-16"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        list(manifest.read(tmp_path / "m.csv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\naudio;text\r\na.wav;one, two\r\n",  # as Excel writes it
        '"audio","text"\n"a.wav","one, two"\n',
        "\n\naudio|text\na.wav|one, two\n",
        'audio,text,,\na.wav,"one, two",,\n',
        'audio\ttext\na.wav\t"one, two"\n',  # as pandas writes a table of tabs
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: str) -> None:
    for name in ("m.csv", "m.txt"):
        (tmp_path / name).write_bytes(content.encode())
        (row,) = manifest.read(layouts.locate(tmp_path / name, "auto")[0])
        assert (row.key, row.audio, row.text, row.problem) == ("a", "a.wav", "one, two", None)


def test_a_table_is_prepared_like_lines_of_json(tmp_path: Path, tools: dict[str, Callable]) -> None:
    sf.write(tmp_path / "good.wav", tools["voice"](1.0), RATE)
    with (tmp_path / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["id", "audio", "text", "split"])
        writer.writerows([name, "good.wav", text, "train"] for name, text, *_ in texts())
    printed = tools["run"](tmp_path, tmp_path / "out", workers=1)
    kept = {n: text for n, _, reason, text in texts() if reason is KEPT}
    assert f"{len(kept)} clips kept, {len(texts()) - len(kept)} rejected" in printed
    records = tfds.builder_from_directory(tmp_path / "out").as_data_source("train")
    assert {r["key"].decode(): r["text"].decode() for r in records} == kept


def test_a_table_of_bad_rows_alone_says_what_is_wrong_with_them(tmp_path: Path, tools: dict[str, Callable]) -> None:
    (tmp_path / "m.csv").write_text("audio,text\n" + "".join(f'w{i}.wav,"never closed\n' for i in range(99)))
    with pytest.raises(ValueError, match="has no usable clip; 99 were refused, the first: .*is a quote not closed"):
        tools["run"](tmp_path / "m.csv", tmp_path / "out", workers=1)
