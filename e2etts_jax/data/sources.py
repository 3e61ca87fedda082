"""Random access to the clips of a split: words, lengths and labels at once, audio on demand."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

from e2etts_jax.data import audio, catalog, index
from e2etts_jax.data.index import Index

HELD_OUT = 100  # of a set that is not split, one clip in so many is kept for validation, and one for the test


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip for evaluation: `wav` f32[W]; `kind` and `language` are '' where the data set does not say."""

    text: str
    wav: np.ndarray
    kind: str
    key: str
    language: str = ""


@dataclasses.dataclass(frozen=True)
class Clip:
    """What one record holds: `wav` int16[W], and `speaker` f32[E], the x-vector, None where the voice is unknown."""

    wav: np.ndarray
    speaker: np.ndarray | None


class Corpus:
    """Clips `first` to `last` of one stored split of one data set.

    Attributes:
      name: of the set and split.
      index: what is known of the clips without reading audio; of the whole stored split, as are `folder`'s files.
      folder: where the index lies, and whatever else is derived from it.
      sample_rate: Hz of the stored audio.
      speaker_dim: numbers of a speaker vector, 0 = no clip has one.
      span: the clips of the index that belong to this corpus.
    """

    def __init__(self, opened: catalog.Opened, stored: str, split: str, partly: bool) -> None:
        builder, self._fields = opened.builder, opened.fields
        self._records = opened.records(stored)
        self.name = f"{builder.info.full_name}[{stored}]"
        self.sample_rate, self.speaker_dim = opened.rate, opened.speaker_dim
        self.folder = index.path_of(builder.data_dir, stored)
        try:
            self.index = index.read(self.folder)
        except FileNotFoundError:
            self.folder, self.index = _make_index(self, opened, stored)
        self.span = _held_out(len(self.index), split, self.name) if partly else range(len(self.index))

    def __len__(self) -> int:
        return len(self.span)

    def clip(self, i: int, sample_rate: int) -> Clip:
        """The audio of clip `i` of `span` at `sample_rate` Hz, and its voice."""
        record = self._records[self.span[i]]
        wav = np.asarray(record[self._fields.audio], np.int16)
        return Clip(audio.resample(wav, self.sample_rate, sample_rate), self._vector(record))

    def speaker(self, i: int) -> np.ndarray | None:
        """The voice of clip `i` of `span`."""
        return self._vector(self._records[self.span[i]])

    def _vector(self, record: Mapping[str, Any]) -> np.ndarray | None:
        if self._fields.voice:
            return self._fields.voice()
        stored = self._fields.vector
        return np.asarray(record[stored], np.float32) if stored and record[stored].any() else None


def _held_out(size: int, split: str, name: str) -> range:
    """The clips of a set that is not split: the last ones validate and test."""
    part = max(1, size // HELD_OUT)
    if size < 3:
        raise ValueError(f"{name} has {size} clips: too few to keep some for validation")
    return {
        "train": range(0, size - 2 * part),
        "validation": range(size - 2 * part, size - part),
        "test": range(size - part, size),
    }[split]


def _make_index(corpus: Corpus, opened: catalog.Opened, stored: str) -> tuple[Path, Index]:
    """Reads every record once; later runs find the index beside the data set."""
    fields, classes, records = opened.fields, opened.classes, opened.records(stored)
    names = {
        kind: {said: i for i, said in enumerate(opened.names(field))}
        for kind, field in (("speaker", fields.speaker), ("language", fields.language))
    }

    def place(record: Mapping[str, Any], kind: str, field: str) -> int:
        said = opened.said(record, field)
        return names[kind].setdefault(said, len(names[kind])) if said else -1

    rows = []
    shown = tqdm(records, f"index of {corpus.name}", unit="clip", disable=len(records) < 20_000)
    for i, record in enumerate(shown):
        rows.append(
            (
                opened.said(record, fields.key) or f"{stored}-{i:08d}",
                opened.said(record, fields.text),
                len(record[fields.audio]),
                place(record, "speaker", fields.speaker),
                place(record, "language", fields.language),
                *(int(record[field]) for field in classes),
            )
        )
    columns: list[Any] = list(zip(*rows, strict=True)) or [()] * (5 + len(classes))
    made = Index(
        keys=columns[0],
        texts=columns[1],
        samples=np.array(columns[2], np.int64),
        speakers=np.array(columns[3], np.int32),
        languages=np.array(columns[4], np.int32),
        labels={field: np.array(column, np.int32) for field, column in zip(classes, columns[5:], strict=True)},
        names={kind: list(found) for kind, found in names.items()} | classes,
    )
    try:
        index.write(corpus.folder, made)
        return corpus.folder, index.read(corpus.folder)
    except OSError as error:  # a data set that others own: read it anew each time
        logging.warning("%s: its index can't be kept in %s (%s)", corpus.name, corpus.folder, error)
        return corpus.folder, made


class Joined(Sequence):
    """Sequences one after the other, of each the items of its span."""

    def __init__(self, parts: Sequence[Sequence], spans: Sequence[range]) -> None:
        self._parts, self._spans = parts, spans
        self._ends = np.cumsum([len(span) for span in spans])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i):  # noqa: ANN001, ANN204 -- an index or a slice, as for every sequence
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        part, own = self.find(i)
        return self._parts[part][self._spans[part][own]]

    def find(self, i: int) -> tuple[int, int]:
        """The part that item `i` belongs to, and its place in the part's span.

        Raises:
          IndexError: no such item.
        """
        if not 0 <= i < len(self):
            raise IndexError(i)  # what ends an iteration
        part = int(np.searchsorted(self._ends, i, side="right"))
        return part, i - (int(self._ends[part - 1]) if part else 0)

    def __iter__(self) -> Iterator:
        return (self[i] for i in range(len(self)))


class Source:
    """The clips of one split of all corpora of a config, numbered through.

    Attributes:
      corpora: in the order of the config.
      parts: by corpus, its clips.
      shares: by corpus, how often its clips are drawn (a share of all draws), None = every clip equally often.
      texts, keys: words and name of every clip.
      language_names: names of the languages that clips say they are in.
      speakers: i32[N], number of the voice over all corpora, -1 = not said.
      labels: by field, i32[N], place in `label_names[field]`, -1 = not said.
      label_names: by field, the names of its classes over all corpora.
      speaker_dim: numbers of a speaker vector, the usual ones if no clip has any.

    Raises:
      ValueError: two corpora have speaker vectors of different sizes.
    """

    def __init__(self, corpora: Sequence[Corpus], shares: Sequence[Fraction] | None) -> None:
        self.corpora, self.shares = list(corpora), shares
        dims = {corpus.speaker_dim: corpus.name for corpus in corpora if corpus.speaker_dim}
        if len(dims) > 1:
            sizes = ", ".join(f"{dim} numbers in {name}" for dim, name in dims.items())
            raise ValueError(f"speaker vectors of different sizes: {sizes}; prepare all with the same --speaker")
        self.speaker_dim = next(iter(dims), catalog.SPEAKER_DIM)
        spans = [corpus.span for corpus in corpora]
        ends = np.cumsum([0, *(len(span) for span in spans)]).tolist()
        self.parts = [range(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        indexes = [corpus.index for corpus in corpora]
        self.texts = Joined([i.texts for i in indexes], spans)
        self.keys = Joined([i.keys for i in indexes], spans)
        cut = [slice(span.start, span.stop) for span in spans]
        before, speakers = 0, []
        for i, c in zip(indexes, cut, strict=True):
            speakers.append(np.where(i.speakers[c] < 0, -1, i.speakers[c] + before))
            before += len(i.names.get("speaker", ()))
        self.speakers = np.concatenate(speakers)
        self.language_names, self._languages = _united(
            [(i.names.get("language", []), i.languages[c]) for i, c in zip(indexes, cut, strict=True)]
        )
        fields = list(dict.fromkeys(field for i in indexes for field in i.labels))
        united = {
            field: _united(
                [
                    (i.names[field], i.labels[field][c]) if field in i.labels else ([], np.full(len(s), -1, np.int32))
                    for i, c, s in zip(indexes, cut, spans, strict=True)
                ]
            )
            for field in fields
        }
        self.label_names = {field: names for field, (names, _) in united.items()}
        self.labels = {field: classes for field, (_, classes) in united.items()}
        self._cut = cut

    def __len__(self) -> int:
        return self.parts[-1].stop

    def __repr__(self) -> str:
        return f"Source({', '.join(corpus.name for corpus in self.corpora)})"

    def language(self, i: int) -> str:
        """Name of the language of clip `i`, '' where it is not said."""
        return self.language_names[self._languages[i]] if self._languages[i] >= 0 else ""

    def samples(self, sample_rate: int) -> np.ndarray:
        """i64[N]: length of every clip at `sample_rate` Hz."""
        return np.concatenate(
            [
                audio.resampled_length(corpus.index.samples[cut], corpus.sample_rate, sample_rate)
                for corpus, cut in zip(self.corpora, self._cut, strict=True)
            ]
        )

    def clip(self, i: int, sample_rate: int) -> Clip:
        """Audio and voice of clip `i`."""
        part, own = self.keys.find(i)
        return self.corpora[part].clip(own, sample_rate)

    def speaker(self, i: int) -> np.ndarray | None:
        """Voice of clip `i`, without its audio."""
        part, own = self.keys.find(i)
        return self.corpora[part].speaker(own)


def check_speaker(source: Source, **sizes: int) -> None:
    """Refuses models whose speaker vectors have another size than those of the data.

    Args:
      sizes: by model, `fm` or `rm`, the numbers of its vectors; the RM may have none, 0.

    Raises:
      ValueError: another size.
    """
    wanted = source.speaker_dim
    cure = " ".join(
        f"--config.model.{model}.speaker={wanted}" for model, size in sizes.items() if size or model == "fm"
    )
    for model, size in sizes.items():
        if size != wanted and (size or model == "fm"):
            raise ValueError(
                f"model.{model}.speaker={size}: speaker vectors of the data have {wanted} numbers; set {cure}"
            )


def _united(columns: list[tuple[Sequence[str], np.ndarray]]) -> tuple[list[str], np.ndarray]:
    """Class numbers of several corpora as numbers of one list of names; names that agree are one class."""
    names = list(dict.fromkeys(name for own, _ in columns for name in own))
    parts = []
    for own, classes in columns:
        to = np.array([*(names.index(name) for name in own), -1], np.int32)  # the last is that of -1
        parts.append(to[classes])
    return names, np.concatenate(parts)


def open_source(cfg_data: Any, split: str) -> Source:
    """The split of the corpora of `cfg_data.dataset`; see catalog.parse for the spelling and catalog.open_set.

    Raises:
      ValueError: unknown data set or split.
    """
    return _open(cfg_data.dataset, str(catalog.data_dir(cfg_data.data_dir)), split)


@functools.lru_cache(maxsize=8)
def _open(dataset: str, root: str, split: str) -> Source:
    corpora, shares = [], []
    for part in catalog.parse(dataset):
        opened = catalog.open_set(part.name, root)
        stored, partly = opened.stored(split, part.splits)
        made = [Corpus(opened, name, split, partly) for name in stored]
        size = sum(map(len, made))
        corpora += made
        if part.weight is not None:
            shares += [part.weight * len(corpus) / max(size, 1) for corpus in made]
    empty = [corpus.name for corpus in corpora if not len(corpus)]
    if empty:
        raise ValueError(f"{empty[0]} holds no clips")
    return Source(corpora, shares or None)


def load_examples(
    cfg_data: Any, split: str, n: int, sample_rate: int, keep: Callable[[str, str], bool] = lambda text, language: True
) -> list[Example]:
    """The first `n` clips of a split (all if it has fewer), with audio at `sample_rate` Hz, for evaluation.

    Args:
      keep: of text and language, whether the clip is wanted; the others are left out with a warning.

    Raises:
      ValueError: unknown data set or split, or no clip is wanted.
    """
    source = open_source(cfg_data, split)
    examples: list[Example] = []
    left_out: list[str] = []
    kinds = source.label_names.get("kind")
    for i in range(len(source)):
        if len(examples) == n:
            break
        if not keep(source.texts[i], source.language(i)):
            left_out.append(source.keys[i])
            continue
        kind = kinds[source.labels["kind"][i]] if kinds and source.labels["kind"][i] >= 0 else ""
        wav = source.clip(i, sample_rate).wav.astype(np.float32) / 32768
        examples.append(Example(source.texts[i], wav, kind, source.keys[i], source.language(i)))
    if left_out:
        logging.warning("%r: %d clips can't be said and are left out, such as %r", source, len(left_out), left_out[0])
    if not examples:
        raise ValueError(f"{source!r}: no text can be said; look at text.alphabet and data.max_text")
    return examples
