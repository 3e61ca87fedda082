"""From clips to the two report files, and the command, with a fake model and fake recognisers."""

import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from e2etts_jax import cli
from e2etts_jax.data.sources import Example
from e2etts_jax.evaluate import asr, collect, command, quality, similarity
from e2etts_jax.evaluate.judges import Judges, Names
from e2etts_jax.infer.probe import Probe

RATE = 22050
MEL = {
    "n_fft": 1024,
    "win": 1024,
    "hop": 256,
    "n_mels": 80,
    "fmin": 0.0,
    "fmax": 8000.0,
    "power": 1.0,
    "scale": "ln",
    "floor": 1e-5,
    "mean": 0.0,
    "std": 1.0,
}
TEXTS = ["nineteen dollars", "five two two", "message from j o h n", "monday march third", "<b>&amp;", "ten"]
KINDS = ["price", "telephone", "name", "date", "", "price"]


def clips(shift: float = 0.0) -> list[np.ndarray]:
    """Tones whose mean tells the fake recogniser which text and condition it hears."""
    return [
        (0.1 * np.sin(np.arange(9000 + 700 * i) / 9) + 0.001 * i + shift).astype(np.float32) for i in range(len(TEXTS))
    ]


class Model:
    """Reconstruction loses the last word of text 1; synthesis says 'seven' to text 0, and nothing to text 2."""

    config = {
        "infer": {"candidates": 3},
        "mel": MEL,
        "audio": {"sample_rate": RATE},
        "data": {"dataset": "numbers", "data_dir": "", "language": "en"},
        "model": {"tokenizer": {"levels": 3, "dims": 8}},
    }
    sample_rate = RATE

    def __init__(self, stage="tune"):
        self.stage = stage

    def can_say(self, text, language):
        return True

    @classmethod
    def load(cls, workdir, stage=None, infer=()):
        if not (workdir / "config.json").exists():
            raise FileNotFoundError(f"no workdir {workdir}: give the --workdir of a training run")
        if stage == "none":
            raise ValueError("no checkpoint of a stage 'none'")
        return cls(stage or "tune")

    def synthesize(self, texts, seed=0, languages=()):
        return self.decode_tokens(self.generate_tokens(texts, seed, languages), seed)

    def generate_tokens(self, texts, seed=0, languages=()):
        assert list(texts) == TEXTS[: len(texts)]
        return [np.arange(3 + i) for i in range(len(texts))]

    def decode_tokens(self, ids, seed=0):
        return clips(0.3)[: len(ids)]

    def recognize_tokens(self, ids):
        return [TEXTS[len(row) - 3] for row in ids]

    def probe(self, wavs, texts, seed=0, languages=()):
        """Two bits a token, ten tokens a clip; what is drawn on the recording can't be read."""
        n = len(wavs)
        flow = np.tile(np.arange(1.0, 6.0), (n, 1))
        return Probe(np.full(n, 20 * np.log(2)), np.full(n, 10), flow, TEXTS[:n], [""] * n)

    def reconstruct(self, wavs, seed=0):
        return clips(0.2)[: len(wavs)]

    def copy_synthesis(self, wavs):
        return clips(0.1)[: len(wavs)]

    def tokenize(self, wavs):
        return [np.arange(len(wav) // 1024) for wav in wavs]

    def recognize(self, wavs):
        return TEXTS[: len(wavs)]


class Reader:
    version = "reader-1"

    def __init__(self, name):
        self.name = name

    def transcribe(self, wavs, rate):
        assert rate == RATE
        out = []
        for wav in wavs:
            mean = float(wav.mean())
            condition = round(mean * 10)
            row = round((mean - condition / 10) * 1000)
            text = TEXTS[row]
            if condition == 2 and row == 1:
                text = "5-2"
            if condition == 3 and row in (0, 2):
                text = "$7" if row == 0 else ""
            out.append(text)
        return out


READERS = [Reader("whisper"), Reader("moonshine")]
EXAMPLES = [Example(t, w, k, f"clip-{i}") for i, (t, w, k) in enumerate(zip(TEXTS, clips(), KINDS, strict=True))]

OTHER = Example("eins", clips()[0], "", "clip-de", "de")  # of a language that is not judged


@pytest.fixture
def evaluation():
    return collect.evaluate(Model(), EXAMPLES, Judges(READERS), log=lambda line: None)


def test_figures_by_hand(evaluation):
    rows = {row["name"]: row["scores"]["whisper"] for row in evaluation.figures["rows"]}
    assert list(rows) == ["recording", "copy", "reconstruction", "synthesis"]
    # 3 + 3 + 6 + 3 + 3 + 2 words: "1 9 dollars", "5 2 2", "message from j o h n", "monday march 3", "b and amp", "1 0"
    assert [rows[name]["tokens"] for name in rows] == [20] * 4
    assert [rows[name]["errors"] for name in rows] == [0, 0, 1, 8]
    assert rows["synthesis"]["rate"] == pytest.approx(0.4) and rows["synthesis"]["perfect"] == 4
    assert rows["synthesis"]["utterance_rate"] == pytest.approx((2 / 3 + 1) / 6)
    assert rows["synthesis"]["above_floor"]["difference"] == pytest.approx(0.4)
    assert rows["synthesis"]["low"] < 0.4 < rows["synthesis"]["high"]
    assert "above_floor" not in rows["recording"]
    kinds = {k["kind"]: k for k in evaluation.figures["kinds"]}
    assert sorted(kinds) == ["date", "name", "price", "telephone"]
    assert kinds["price"]["clips"] == 2 and kinds["price"]["rates"]["synthesis"]["moonshine"] == pytest.approx(2 / 5)
    john = evaluation.figures["utterances"][2]
    assert john["heard"]["synthesis"]["whisper"] == {
        "text": "",
        "errors": 6,
        "edits": [("delete", "message from j o h n", "")],
    }
    assert john["tokens"] == 6
    assert evaluation.figures["reward_model"]["errors"] == 0
    inside = evaluation.figures["inside"]
    assert inside["bits_per_token"] == pytest.approx(2) and list(inside["flow"].values()) == [1, 2, 3, 4, 5]
    assert inside["bits_per_second"] == pytest.approx(6 * 20 / (sum(map(len, clips())) / RATE))
    assert inside["read"] == {"true": 0.0, "drawn on the recording": 1.0, "drawn": 0.0}
    heard_as = {row["name"]: row["heard_as"] for row in evaluation.figures["rows"]}
    assert heard_as["recording"]["ratio"] == 1 and heard_as["synthesis"]["clipped"] < 0.01
    # "message from j o h n" is not said at all; the last word of "five two two" missing is no quarter of two words
    assert heard_as["synthesis"]["early"] == pytest.approx(1 / 6) and heard_as["reconstruction"]["early"] == 0
    assert heard_as["synthesis"]["repeats"] == 0


def test_stage_figures_agree_with_the_evaluation(evaluation):
    staged = collect.stage_figures(Model(), EXAMPLES, Judges(READERS))
    same = collect.same_stage(evaluation.figures)
    for condition in collect.JUDGED:
        for reader in ("whisper", "moonshine"):
            assert staged[condition][reader]["rate"] == same[condition][reader]["rate"]
    assert staged["reward_model"] == same["reward_model"]


def test_no_examples():
    with pytest.raises(ValueError, match="no clips"):
        collect.evaluate(Model(), [], Judges(READERS))


def test_curves(tmp_path):
    lines = [{"stage": "joint", "step": s, "loss/lm_ce": float(s), "perf/x": 1.0} for s in range(1000)]
    lines += [{"stage": "tune", "step": 1, "loss/lm_ce": "nan", "loss/rm_ctc": 0.5}]
    text = "\n".join(map(json.dumps, lines)) + '\n{"stage": "tune", "st'
    (tmp_path / "metrics.jsonl").write_text(text)
    curves = collect.read_curves(tmp_path / "metrics.jsonl")
    assert set(curves) == {"joint", "tune"} and list(curves["tune"]) == ["rm_ctc"]
    curve = curves["joint"]["lm_ce"]
    assert len(curve["step"]) == len(curve["value"]) == collect.CURVE_POINTS and curve["step"][-1] == 999
    # A point stands for the mean of the steps since the one before.
    ends = np.array([-1, *curve["step"]])
    np.testing.assert_allclose(curve["value"], (ends[:-1] + 1 + ends[1:]) / 2)
    assert collect.read_curves(tmp_path / "none.jsonl") == {}


# --- the page ---------------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Counts tags and collects sources and text; fails on tags that do not match."""

    VOID = {"meta", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(monkeypatch):
    """The command's `run` with fakes in place of model, data and recognisers."""
    pytest.importorskip("jinja2", reason=asr.MISSING)
    pytest.importorskip("matplotlib", reason=asr.MISSING)
    monkeypatch.setattr(command, "Synthesizer", Model)

    def load(cfg, split, n, rate, keep=lambda text, language: True):
        return [e for e in (*EXAMPLES, OTHER) if keep(e.text, e.language)][:n]

    monkeypatch.setattr(command.sources, "load_examples", load)
    monkeypatch.setattr(asr, "load_recognizers", lambda names, language: READERS)
    monkeypatch.setattr(similarity, "installed", lambda log: [])
    monkeypatch.setattr(quality, "installed", lambda log: [])
    return command.run


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    lines = [{"stage": "joint", "step": s, "loss/lm_ce": 9.0 / s} for s in range(1, 30)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.eval
def test_a_run_is_judged_in_the_language_and_by_the_judges_that_are_asked_for(run, workdir, monkeypatch):
    asked = []

    def load(names, language):
        asked.append((names, language))
        return READERS

    def evaluate(speaker, examples, judges, seed, log):
        asked.append([e.text for e in examples] + [judges.form("Eins, Zwei!")])
        raise KeyboardInterrupt

    monkeypatch.setattr(asr, "load_recognizers", load)
    monkeypatch.setattr(collect, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        run(str(workdir), language="de-AT", names=Names(["mine"], [], []))
    assert asked == [(["mine"], "de"), ["eins", "eins zwei"]]


def test_ctrl_c_is_one_line(capsys):
    def stop():
        raise KeyboardInterrupt

    assert cli.guarded(stop, stopped="goes on") == 130 and capsys.readouterr().err == "goes on\n"


@pytest.mark.eval
def test_command_writes_page_and_figures(run, workdir, capsys):
    run(str(workdir), stages=["joint", "tune"])
    figures = json.loads((workdir / "report" / "report.json").read_text())
    assert (figures["language"], figures["protocol"], figures["unit"]) == ("en", "numbers", "words")
    assert figures["stage"] == "tune" and figures["clips"] == 6 and figures["dataset"] == "numbers"
    assert [s["name"] for s in figures["stages"]] == ["joint", "tune"]
    assert figures["tokens"]["codes"] == 6561 and figures["tokens"]["distinct"] == 12
    assert "synthesis: error whisper 0.400" in capsys.readouterr().out

    source = (workdir / "report" / "report.html").read_text()
    page = Page()
    page.feed(source)
    assert page.open == []
    # All six clips are shown (two worst, four random), each under four conditions.
    assert page.tags.count("audio") == page.tags.count("img") == 6 * 4 and page.tags.count("polyline") == 1
    assert page.tags.count("rect") == sum(3 + i for i in range(6)) + sum(len(wav) // 1024 for wav in clips())
    assert all(re.match("data:(audio/flac|image/png);base64,", s) for s in page.sources)
    assert "http" not in re.sub('src="data:[^"]*"', "", source)
    synthesis = figures["rows"][3]["scores"]["whisper"]
    assert f"{100 * synthesis['rate']:.1f} %" in page.text
    assert f"{100 * synthesis['low']:.1f}–{100 * synthesis['high']:.1f}" in page.text
    assert "<b>&amp;" in page.text  # a text is shown as it is, not run
    assert page.text.index("message from j o h n") < page.text.index("nineteen dollars ·")  # worst first


@pytest.mark.eval
def test_command_num_out_stage(run, workdir, tmp_path):
    page = run(str(workdir), num=2, out=str(tmp_path / "o"), stage="joint")
    assert page == tmp_path / "o" / "report.html" and page.exists()
    figures = json.loads((tmp_path / "o" / "report.json").read_text())
    assert figures["clips"] == 2 and figures["stage"] == "joint" and figures["stages"] == []
    assert not (workdir / "report").exists()


@pytest.mark.eval
def test_missing_extra_names_the_cure(run, workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for module in ("report", "pages"):
        monkeypatch.delitem(sys.modules, f"e2etts_jax.evaluate.{module}", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'e2etts_jax\[eval\]'"):
        run(str(workdir))


@pytest.mark.eval
def test_command_says_what_is_missing_in_one_line(tmp_path):
    pytest.importorskip("jinja2", reason=asr.MISSING)
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([f"--workdir={tmp_path}/none"], f"error: no workdir {tmp_path}/none: give the --workdir of a training run\n"),
        (["--nonsense"], "nonsense"),
        ([f"--workdir={tmp_path}/empty", "surplus"], "unexpected argument 'surplus'"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "e2etts_jax.evaluate", *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert done.stderr == message if message.endswith("\n") else message in done.stderr + done.stdout
