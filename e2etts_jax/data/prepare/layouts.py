"""Rows of the folder layouts that published corpora come in, and which one a folder is."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from e2etts_jax.data.prepare import manifest
from e2etts_jax.data.prepare.rows import AUDIO, LAYOUTS, Row

PROBED = 1000  # lines of a filelist that are read to know which column is the speaker
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
        return source, _of_file(source)
    for name in MANIFESTS:
        if (source / name).is_file():
            return source / name, "manifest"
    if (source / "metadata.csv").is_file():
        return source / "metadata.csv", _of_file(source / "metadata.csv")
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
    if layout in ("ljspeech", "manifest", "filelist") and not source.is_file():
        raise FileNotFoundError(f"no file {source} for --layout={layout}")
    if layout in ("libritts", "vctk", "folder") and not source.is_dir():
        raise ValueError(f"--layout={layout} needs a folder; {source} is a file")
    return source, layout


def read(source: Path, layout: str) -> Iterator[Row]:
    """Rows of a source located by `locate`; paths are relative to its folder."""
    readers = {"manifest": manifest.read, "filelist": filelist, "ljspeech": ljspeech, "libritts": libritts,
               "vctk": vctk, "folder": folder}  # fmt: skip
    return readers[layout](source)


def _piped(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of the lines `a|b|...` that are not empty."""
    manifest.check_utf8(path)
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n").split("|")


def filelist(path: Path) -> Iterator[Row]:
    """`path|text` or, as VITS has it, `path|speaker|text` a line; also `path|text|speaker` and `path|text|normalised`.

    Paths are relative to the list's folder.
    """
    three = [fields for _, fields in itertools.islice(_piped(path), PROBED) if len(fields) == 3]
    speaker = _speaker_column(three)
    for number, fields in _piped(path):
        audio, *rest = (field.strip() for field in fields)
        if len(rest) not in (1, 2) or not audio:
            yield Row(f"line {number}", path.name, "", problem=("bad row", "not path|text or path|speaker|text"))
            continue
        said = rest.pop(speaker) if speaker is not None and len(rest) == 2 else ""
        yield Row(os.path.splitext(audio)[0], audio, rest[-1] or rest[0], said)


def _speaker_column(rows: list[list[str]]) -> int | None:
    """Which of the two columns after the path says who speaks: what has no spaces, or comes again and again."""
    if 2 * sum(text.casefold() == other.casefold() for _, text, other in rows) >= len(rows):
        return None  # a text and how it is read
    for place in (0, 1):
        values = [fields[1 + place].strip() for fields in rows]
        if not any(" " in value for value in values) or 2 * len(set(values)) <= len(values):
            return place
    return None


def ljspeech(path: Path) -> Iterator[Row]:
    """`id|text|normalised text` a line in metadata.csv, recordings in wavs/; the normalised text where there is one."""
    for number, fields in _piped(path):
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


def _of_file(path: Path) -> str:
    """The layout of a file: lines `path|...` or `id|...` without one that names the columns, else a manifest."""
    if path.suffix.lower() not in (".csv", ".txt"):
        return "manifest"
    fields = manifest.first_line(path).split("|")
    first = fields[0].strip()
    if len(fields) < 2 or {name.strip() for name in fields} & set(manifest.AUDIO):
        return "manifest"
    return "filelist" if first.lower().endswith(AUDIO) or os.path.isfile(path.parent / first) else "ljspeech"
