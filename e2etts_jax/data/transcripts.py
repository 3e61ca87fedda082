"""The words of a corpus as a tokenizer wants them; made once, then kept beside the index."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from e2etts_jax.data import catalog
from e2etts_jax.data import index as indexes
from e2etts_jax.data.cores import cores
from e2etts_jax.data.index import Index
from e2etts_jax.data.sources import Corpus
from e2etts_jax.data.text import Tokenizer

CHUNK = 20_000  # texts that one process prepares at a time; a corpus with fewer needs no others


@dataclasses.dataclass(frozen=True)
class Transcripts:
    """Prepared texts of the clips of a corpus.

    Attributes:
      strings: what `Tokenizer.encode` takes, '' where it refuses the text.
      lengths: i32[N], ids that it makes of it, 0 = refused, or nothing left.
    """

    strings: Sequence[str]
    lengths: np.ndarray


def of(corpus: Corpus, tokenizer: Tokenizer, language: str) -> Transcripts:
    """The texts of the whole stored split that `corpus` is of.

    They are kept beside its index, or where that can't be written in the user's folder of data sets, or in memory.

    Args:
      language: of clips that do not say theirs.
    """
    name = f"texts-{tokenizer.fingerprint}-{language}"
    beside = corpus.folder / name
    if _is_whole(beside):
        return _read(beside)
    elsewhere = catalog.data_dir() / "texts" / _digest(corpus.index) / name
    if _is_whole(elsewhere):
        return _read(elsewhere)
    if (made := _held.get(elsewhere)) is None:
        made = _prepare(corpus, tokenizer, language)
    for folder in (beside, elsewhere):
        try:
            _write(folder, made)
        except OSError:  # a data set that others own, or another process was faster
            pass
        if _is_whole(folder):
            _held.pop(elsewhere, None)
            return _read(folder)
    return _held.setdefault(elsewhere, made)


_held: dict[Path, Transcripts] = {}  # what could be kept nowhere, until the process ends


def why_refused(text: str, language: str, tokenizer: Tokenizer) -> str:
    """Why a text whose length is 0 has no ids."""
    try:
        tokenizer.encode(tokenizer.prepare(text, language), language)
    except ValueError as error:
        return str(error)
    return "nothing is left of its text"


def _digest(index: Index) -> str:
    """Of all that the prepared texts depend on besides the tokenizer."""
    texts = index.texts if isinstance(index.texts, indexes.Strings) else indexes.Strings.of(index.texts)
    found = hashlib.sha256(json.dumps(list(index.names.get("language", []))).encode())
    for column in (texts.block, texts.ends, np.asarray(index.languages)):
        found.update(np.ascontiguousarray(column))
    return found.hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    return (folder / "lengths.npy").is_file()  # a folder comes into being with all it holds


def _read(folder: Path) -> Transcripts:
    return Transcripts(indexes.load_strings(folder, "strings"), indexes.load(folder, "lengths"))


def _prepare(corpus: Corpus, tokenizer: Tokenizer, language: str) -> Transcripts:
    size = len(corpus.index)
    if size <= CHUNK or not corpus.folder.is_dir():
        parts = [_some(corpus.index, tokenizer, language, range(size))]
    else:  # a text takes up to a few milliseconds, so that a large corpus would keep one process busy for hours
        chunks = [range(first, min(first + CHUNK, size)) for first in range(0, size, CHUNK)]
        work = functools.partial(_some_of, corpus.folder, tokenizer, language)
        context = multiprocessing.get_context("forkserver")
        with concurrent.futures.ProcessPoolExecutor(min(cores(), len(chunks)), context) as pool:
            parts = list(tqdm(pool.map(work, chunks), f"texts of {corpus.name}", total=len(chunks), unit="chunk"))
    lengths = np.concatenate([part.lengths for part in parts])
    return Transcripts([text for part in parts for text in part.strings], lengths)


def _some_of(folder: Path, tokenizer: Tokenizer, language: str, clips: range) -> Transcripts:
    return _some(_index(folder), tokenizer, language, clips)


@functools.lru_cache(maxsize=1)
def _index(folder: Path) -> Index:
    return indexes.read(folder)


def _some(index: Index, tokenizer: Tokenizer, language: str, clips: range) -> Transcripts:
    names, spoken = index.names.get("language", []), index.languages
    strings: list[str] = []
    lengths = np.zeros(len(clips), np.int32)
    for place, i in enumerate(clips):
        own = names[spoken[i]] if spoken[i] >= 0 else language
        try:
            prepared = tokenizer.prepare(index.texts[i], own)
            lengths[place] = len(tokenizer.encode(prepared, own)) if prepared else 0
        except ValueError:
            prepared = ""
        strings.append(prepared)
    return Transcripts(strings, lengths)


def _write(folder: Path, made: Transcripts) -> None:
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    indexes.save_strings(part, "strings", made.strings)
    np.save(part / "lengths.npy", made.lengths)
    try:
        part.replace(folder)
    finally:  # it is not empty: another process has written the same
        shutil.rmtree(part, ignore_errors=True)
