"""A run in one file: what comes back, what it says, and what is refused."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jiwer
import numpy as np
import pytest
import soundfile as sf
from flax import linen as nn
from tiny import Tiny

from e2etts_jax.export_voice import voice_of
from e2etts_jax.infer import vocoder, voice
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig


@pytest.fixture(scope="module")
def generator(built: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    mel = built.system.mel
    shape = VocoderConfig(width=8, rates=(16, mel.hop // 16), kernels=(32, mel.hop // 8), res_kernels=(3,))
    params = nn.unbox(Vocoder(shape).init(jax.random.key(1), np.zeros((1, 3, mel.n_mels)))["params"])
    path = tmp_path_factory.mktemp("vocoder") / "small.safetensors"
    vocoder.save(path, shape, mel, jax.tree.map(np.asarray, params))
    return str(path)


@pytest.fixture(scope="module")
def run(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, as one on the embedded speech, so that its words are known."""
    folder = tmp_path_factory.mktemp("voiced") / "run"
    shutil.copytree(workdir, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"]["dataset"] = "numbers"
    (folder / "config.json").write_text(json.dumps(config))
    np.save(folder / "voice.npy", np.ones(8, np.float32))
    return folder


@pytest.fixture(scope="module")
def file(run: Path, generator: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voices") / "mine.zip"
    voice.save(path, voice_of(str(run), None, generator, "# A card\n", 2000))
    return path


def test_matrices_are_int8_and_come_back_nearly(built: Tiny) -> None:
    flat = {
        "fm/blocks/kernel": np.random.default_rng(0).standard_normal((2, 80, 40)).astype(np.float32) * 7,
        "fm/blocks/bias": np.random.default_rng(1).standard_normal((6, 1000)).astype(np.float32),
        "b": np.ones(3),
    }
    stored = voice.quantized(flat)
    assert stored["fm/blocks/kernel"].dtype == np.int8 and stored["b"].dtype == np.float32
    back = voice.dequantized(stored)
    assert set(back) == set(flat)
    np.testing.assert_array_equal(back["fm/blocks/bias"], flat["fm/blocks/bias"])
    largest = np.abs(flat["fm/blocks/kernel"]).max(axis=1, keepdims=True)
    assert (np.abs(back["fm/blocks/kernel"] - flat["fm/blocks/kernel"]) <= largest / 254 * 1.001).all()
    np.testing.assert_array_equal(back["b"], flat["b"])


def test_a_file_speaks_like_its_run(file: Path, run: Path, generator: str, caplog: pytest.LogCaptureFixture) -> None:
    made, whole = Synthesizer.load(file), Synthesizer.load(run, infer=[f"vocoder={generator}"])
    assert made.stage == whole.stage == "tune" and made.sample_rate == whole.sample_rate
    np.testing.assert_array_equal(made.speaker, np.ones(8, np.float32))
    ids = [[1, 2, 3, 4, 5]]
    (a,), (b,) = made.decode_tokens(ids), whole.decode_tokens(ids)
    assert np.abs(b).max() > 0.05 and 0 < np.abs(a - b).max() < 0.2 * np.abs(b).max()
    made.synthesize(["one"])
    assert "can't say others" not in caplog.text
    made.synthesize(["onz"])
    assert "can't say others as they are written: onz" in caplog.text


def test_decoding_can_be_changed(file: Path) -> None:
    made = Synthesizer.load(file, infer=["vocoder=griffin_lim", "candidates=2"])
    assert made._vocoder.name == "Griffin-Lim" and made.config.infer.candidates == 2


def test_the_card_and_the_words_travel(file: Path, run: Path, generator: str) -> None:
    held = voice.load(file)
    assert held.card == "# A card\n" and {"one", "hundred", "monday"} <= held.words
    assert not voice_of(str(run), None, generator, "", 10).words, "too many to be all that there are"


def damage(file: Path, folder: Path, name: str, content: bytes | None) -> Path:
    """A copy with one member replaced, or left out."""
    path = folder / "damaged.zip"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
            elif content is not None:
                new.writestr(member, content)
    return path


def test_what_is_no_voice_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no voice .*none.zip"):
        Synthesizer.load(tmp_path / "none.zip")
    for name, content in (("weights.safetensors", b"no"), ("weights.safetensors", None), ("config.json", b"{}")):
        with pytest.raises(ValueError, match="is no voice"):
            Synthesizer.load(damage(file, tmp_path, name, content))
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match="is no voice"):
        Synthesizer.load(tmp_path / "text.zip")
    with pytest.raises(ValueError, match="holds stage 'tune' alone, not 'joint'"):
        Synthesizer.load(file, "joint")
    about = json.loads(zipfile.ZipFile(file).read("config.json"))
    about["config"]["model"]["fm"]["width"] *= 2
    with pytest.raises(ValueError, match="other models than its config describes"):
        Synthesizer.load(damage(file, tmp_path, "config.json", json.dumps(about).encode()))


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--out=voice"], "must end in .zip"),
        (["--vocoder=griffin_lim"], "no weights to put into a file"),
        (["--card=none.md"], "no card none.md"),
    ],
)
def test_what_can_not_be_exported_is_refused(repo_root: Path, run: Path, flags: list[str], says: str) -> None:
    command = [sys.executable, "-m", "e2etts_jax.export_voice", f"--workdir={run}", *flags]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=300)
    assert done.returncode and says in done.stderr and "Traceback" not in done.stderr


def test_a_report_of_a_file_needs_a_folder(file: Path) -> None:
    from e2etts_jax.evaluate import command

    with pytest.raises(ValueError, match="say with --out"):
        command.run(str(file))


# --- the one that comes along -----------------------------------------------------------------------------------------


def test_the_packaged_voice_is_small_and_says_what_it_is_told() -> None:
    path = voice.packaged()
    assert path.stat().st_size <= 24e6
    held, s = voice.load(path), Synthesizer.load(path)
    assert len(held.words) > 100 and "can't say" in held.card and s.config.infer.candidates > 1
    (ids,) = s.generate_tokens([text := "five two three"])
    assert jiwer.cer(text, s.recognize_tokens([ids])[0]) < 0.25
    (wav,) = s.decode_tokens([ids])
    assert len(wav) == len(ids) * s._system.samples_per_token and 0.05 < np.abs(wav).max() <= 1


def test_without_a_workdir_it_speaks(repo_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "e2etts_jax.synthesize", "--text=nine", f"--out={tmp_path}/x.wav"]
    fast = ["--infer=vocoder=griffin_lim", "--infer=candidates=1"]
    done = subprocess.run([*command, *fast], cwd=repo_root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sf.info(tmp_path / "x.wav").frames > 0
