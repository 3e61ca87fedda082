"""`python -m e2etts_jax.synthesize` as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from e2etts_jax.synthesize import sentences


def run(repo_root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "e2etts_jax.synthesize", *flags]
    return subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=550)


def test_a_file_of_sentences_is_spoken(repo_root: Path, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("Abc!\n\nit\n", encoding="utf-8")
    done = run(repo_root, f"--workdir={workdir}", f"--text_file={tmp_path}/lines.txt", f"--out={tmp_path}/x.wav")
    assert done.returncode == 0, done.stderr
    made = [sf.info(tmp_path / name) for name in ("x_000.wav", "x_001.wav")]
    assert all(info.samplerate == 22050 and info.channels == 1 and info.frames % 1024 == 0 for info in made)
    first, second, last = done.stdout.splitlines()
    assert first == f"{tmp_path}/x_000.wav  {made[0].frames / 22050:.2f} s  Abc!"
    assert second.endswith("  it")
    assert last.startswith(f"{sum(info.frames for info in made) / 22050:.2f} s of speech in ")
    assert "real-time factor" in last
    assert len(list(tmp_path.glob("*.wav"))) == 2


def test_a_sentence_is_written_as_it_is_made(repo_root: Path, workdir: Path, tmp_path: Path) -> None:
    done = run(repo_root, f"--workdir={workdir}", "--text=it", f"--out={tmp_path}/x.wav", "--stream")
    assert done.returncode == 0, done.stderr
    made, (first, last) = sf.info(tmp_path / "x.wav"), done.stdout.splitlines()
    assert made.frames > 0 and first == f"{tmp_path}/x.wav  {made.frames / 22050:.2f} s  it"
    assert last.startswith("first sound after ") and "real-time factor" in last


def test_a_mistake_is_one_line(repo_root: Path, workdir: Path, tmp_path: Path) -> None:
    done = run(repo_root, f"--workdir={workdir}", "--text=caf\u00e9", f"--out={tmp_path}/x.wav", "--stage=joint")
    assert done.returncode == 1 and not done.stdout
    (line,) = (line for line in done.stderr.splitlines() if "many_voices" not in line)
    assert line.startswith("error: character '\u00e9' of 'caf\u00e9' (U+00E9")
    assert not (tmp_path / "x.wav").exists()


WRONG = {
    "flag": (["--txt=five"], "Unknown command line flag 'txt'"),
    "words": (["--workdir=x", "five"], "unexpected argument 'five'; options start with --, and text goes in quotes"),
}


@pytest.mark.parametrize("command", ["synthesize", "evaluate"])
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_flags_are_one_line(repo_root: Path, command: str, wrong: str) -> None:
    flags, message = WRONG[wrong]
    done = subprocess.run(
        [sys.executable, "-m", f"e2etts_jax.{command}", *flags], cwd=repo_root, capture_output=True, text=True
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_a_report_needs_a_run(repo_root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "e2etts_jax.evaluate"], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 1 and "give --workdir of a training run, or --list" in done.stderr


def test_one_sentence_goes_to_the_file_itself(tmp_path: Path) -> None:
    assert sentences("hello", None, tmp_path / "x.WAV") == [(tmp_path / "x.WAV", "hello")]


def test_what_to_say_and_where_is_checked_first(tmp_path: Path) -> None:
    out, blank = tmp_path / "x.wav", tmp_path / "blank.txt"
    blank.write_text(" \n\n")
    for text, text_file in ((None, None), ("a", "b")):
        with pytest.raises(ValueError, match="give one of --text and --text_file"):
            sentences(text, text_file, out)
    with pytest.raises(ValueError, match=r"--out=.*x\.mp3 must end in \.wav"):
        sentences("a", None, tmp_path / "x.mp3")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        sentences("a", None, tmp_path / "nowhere" / "x.wav")
    with pytest.raises(FileNotFoundError, match="no text file .*nothing.txt"):
        sentences(None, str(tmp_path / "nothing.txt"), out)
    with pytest.raises(ValueError, match=r"blank\.txt has no sentence"):
        sentences(None, str(blank), out)
