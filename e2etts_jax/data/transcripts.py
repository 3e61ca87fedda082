"""The words of a corpus as a tokenizer wants them; made once, then kept beside the index."""

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from e2etts_jax.data import index as indexes
from e2etts_jax.data.cores import cores
from e2etts_jax.data.index import Index
from e2etts_jax.data.sources import Corpus
from e2etts_jax.data.text import Tokenizer

TOLD = 20  # refused texts whose reasons are kept
CHUNK = 20_000  # texts that one process prepares at a time; a corpus with fewer needs no others


@dataclasses.dataclass(frozen=True)
class Transcripts:
    """Prepared texts of the clips of a corpus.

    Attributes:
      strings: what `Tokenizer.encode` takes, '' where it refuses the text.
      lengths: i32[N], ids that it makes of it, 0 = refused, or nothing left.
      refused: reasons of the first refused ones.
    """

    strings: Sequence[str]
    lengths: np.ndarray
    refused: Sequence[str]


def of(corpus: Corpus, tokenizer: Tokenizer, language: str) -> Transcripts:
    """The texts of the whole stored split that `corpus` is of.

    Args:
      language: of clips that do not say theirs.
    """
    folder = corpus.folder / f"texts-{tokenizer.fingerprint}-{language}"
    if (folder / "refused.json").is_file():
        return _read(folder)
    made = _prepare(corpus, tokenizer, language)
    try:
        _write(folder, made)
        return _read(folder)
    except OSError:  # a data set that others own, or another process was faster
        return made


def _read(folder: Path) -> Transcripts:
    strings, lengths = indexes.load_strings(folder, "strings"), indexes.load(folder, "lengths")
    return Transcripts(strings, lengths, json.loads((folder / "refused.json").read_text()))


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
    refused = [reason for part in parts for reason in part.refused][:TOLD]
    return Transcripts(
        [text for part in parts for text in part.strings], np.concatenate([part.lengths for part in parts]), refused
    )


def _some_of(folder: Path, tokenizer: Tokenizer, language: str, clips: range) -> Transcripts:
    return _some(_index(folder), tokenizer, language, clips)


@functools.lru_cache(maxsize=1)
def _index(folder: Path) -> Index:
    return indexes.read(folder)


def _some(index: Index, tokenizer: Tokenizer, language: str, clips: range) -> Transcripts:
    names, spoken = index.names.get("language", []), index.languages
    strings: list[str] = []
    refused: list[str] = []
    lengths = np.zeros(len(clips), np.int32)
    for place, i in enumerate(clips):
        own = names[spoken[i]] if spoken[i] >= 0 else language
        try:
            prepared = tokenizer.prepare(index.texts[i], own)
            lengths[place] = len(tokenizer.encode(prepared, own)) if prepared else 0
        except ValueError as error:
            prepared = ""
            if len(refused) < TOLD:
                refused.append(f"clip {index.keys[i]!r}: {error}")
        strings.append(prepared)
    return Transcripts(strings, lengths, refused)


def _write(folder: Path, made: Transcripts) -> None:
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    indexes.save_strings(part, "strings", made.strings)
    np.save(part / "lengths.npy", made.lengths)
    (part / "refused.json").write_text(json.dumps(list(made.refused), ensure_ascii=False))
    try:
        part.replace(folder)
    finally:  # it is not empty: another process has written the same
        shutil.rmtree(part, ignore_errors=True)
