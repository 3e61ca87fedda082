"""Rows of the folder layouts that published corpora come in, and which one a folder is."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from e2etts_jax.data.prepare import manifest
from e2etts_jax.data.prepare.rows import LAYOUTS, Row

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")
MANIFESTS = ("metadata.jsonl", "manifest.jsonl", "manifest.json", "metadata.tsv", "manifest.csv", "manifest.tsv")


def detect(source: Path) -> tuple[Path, str]:
    """The manifest or folder to read, and its layout.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: a folder in none of the layouts.
    """
    if not source.exists():
        raise FileNotFoundError(f"no source {source}; give a manifest, a folder of recordings, or tfds:NAME")
    if not source.is_dir():
        return source, "manifest" if not _is_ljspeech(source) else "ljspeech"
    for name in MANIFESTS:
        if (source / name).is_file():
            return source / name, "manifest"
    if (source / "metadata.csv").is_file():
        return source / "metadata.csv", "ljspeech" if _is_ljspeech(source / "metadata.csv") else "manifest"
    if (source / "txt").is_dir() and _vctk_audio(source):
        return source, "vctk"
    found = {name.endswith(".normalized.txt") for _, name in itertools.islice(_files(source), 10_000)
             if name.endswith((".txt", *AUDIO))}  # fmt: skip
    if not found:
        raise ValueError(
            f"{source} has no recordings ({' '.join(AUDIO)}) with .txt files beside them and no manifest "
            f"({', '.join(MANIFESTS)}, metadata.csv)"
        )
    return source, "libritts" if True in found else "folder"


def locate(source: Path, layout: str) -> tuple[Path, str]:
    """As `detect`, with the layout that the user names instead of `auto`."""
    if layout != "auto" and layout not in LAYOUTS:
        raise ValueError(f"--layout={layout} must be auto, {', '.join(LAYOUTS)}")
    if layout == "auto":
        return detect(source)
    if not source.exists():
        raise FileNotFoundError(f"no source {source}; give a manifest, a folder of recordings, or tfds:NAME")
    if layout == "ljspeech" and source.is_dir():
        source = source / "metadata.csv"
    if layout == "manifest" and source.is_dir():
        source = next(
            (source / n for n in (*MANIFESTS, "metadata.csv") if (source / n).is_file()), source / "metadata.jsonl"
        )
    if layout in ("ljspeech", "manifest") and not source.is_file():
        raise FileNotFoundError(f"no file {source} for --layout={layout}")
    if layout in ("libritts", "vctk", "folder") and not source.is_dir():
        raise ValueError(f"--layout={layout} needs a folder; {source} is a file")
    return source, layout


def read(source: Path, layout: str) -> Iterator[Row]:
    """Rows of a source located by `locate`; paths are relative to its folder."""
    return {"manifest": manifest.read, "ljspeech": ljspeech, "libritts": libritts, "vctk": vctk, "folder": folder}[
        layout
    ](source)


def ljspeech(path: Path) -> Iterator[Row]:
    """`id|text|normalised text` a line in metadata.csv, recordings in wavs/; the normalised text where there is one."""
    manifest.check_utf8(path)
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            fields = line.rstrip("\r\n").split("|")
            if not line.strip():
                continue
            name = fields[0].strip()
            if len(fields) < 2 or not name:
                yield Row(f"line {number}", path.name, "", problem=("bad row", "not id|text"))
                continue
            audio = name if name.lower().endswith(AUDIO) else f"wavs/{name}.wav"
            text = fields[2] if len(fields) > 2 and fields[2].strip() else fields[1]
            yield Row(os.path.splitext(name)[0] if audio == name else name, audio, text)


def libritts(root: Path) -> Iterator[Row]:
    """X.wav beside X.normalized.txt; the speaker is the first part of the name, or else the folder."""
    for folder_, name in _files(root):
        stem, ext = os.path.splitext(name)
        if ext.lower() in AUDIO:
            parts = Path(folder_).relative_to(root).parts
            speaker = stem.split("_")[0] if stem.count("_") >= 2 else parts[-2] if len(parts) > 1 else "".join(parts)
            yield _with_text(root, Path(folder_, name), Path(folder_, f"{stem}.normalized.txt"), stem, speaker)


def vctk(root: Path) -> Iterator[Row]:
    """wav48*/pXXX/NAME[_mic1].EXT with txt/pXXX/NAME.txt; of two microphones the first."""
    for audio_root in _vctk_audio(root)[:1]:
        for folder_, name in _files(audio_root):
            stem, ext = os.path.splitext(name)
            if ext.lower() not in AUDIO or stem.endswith("_mic2"):
                continue
            stem, speaker = stem.removesuffix("_mic1"), Path(folder_).name
            yield _with_text(root, Path(folder_, name), root / "txt" / speaker / f"{stem}.txt", stem, speaker)


def folder(root: Path) -> Iterator[Row]:
    """X.wav beside X.txt, at any depth."""
    for folder_, name in _files(root):
        stem, ext = os.path.splitext(name)
        if ext.lower() in AUDIO:
            path = Path(folder_, name)
            yield _with_text(
                root, path, path.with_suffix(".txt"), path.relative_to(root).with_suffix("").as_posix(), ""
            )


def _with_text(root: Path, audio: Path, text: Path, key: str, speaker: str) -> Row:
    row = Row(key, audio.relative_to(root).as_posix(), "", speaker)
    try:
        if not text.is_file():  # also keeps a pipe from being waited for
            raise FileNotFoundError(f"no text file {text.relative_to(root)}")
        row.text = text.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        row.problem = ("bad text", f"{text.name} is not UTF-8: {error.reason} at byte {error.start}")
    except OSError as error:
        row.problem = ("missing file" if isinstance(error, FileNotFoundError) else "bad text", str(error))
    return row


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of all files below `root`, in the same order on every machine; links to folders not followed."""
    for folder_, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            yield folder_, name


def _vctk_audio(root: Path) -> list[Path]:
    return [root / n for n in ("wav48_silence_trimmed", "wav48", "wav24", "wav22", "wav16") if (root / n).is_dir()]


def _is_ljspeech(path: Path) -> bool:
    """Lines `id|text`, without a line that names the columns."""
    if path.suffix.lower() not in (".csv", ".txt"):
        return False
    with path.open("rb") as file:
        first = file.readline(100_000).decode(errors="replace").strip("\ufeff\r\n")
    names = {name.strip() for name in first.split("|")}
    return "|" in first and not names & set(manifest.AUDIO)
