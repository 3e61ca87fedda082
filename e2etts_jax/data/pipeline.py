"""Padded batches as a pure function of (config, seed, step), so that the position in the data is one integer."""

import bisect
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from absl import logging

from e2etts_jax.data import audio, sources
from e2etts_jax.data.text import CharTokenizer

ENDLESS = 2**40  # batches; "repeat" without an end
CACHE_BYTES = 2**30  # resampled audio kept in memory per process

Rows = tuple[int, list[int]]  # bucket, clip index of every row of the global batch (-1 = filler)


class TrainPlan:
    """Which clips are in batch `i`, for ever.

    Every bucket is an endless stream of its clips, each epoch in a new order, cut into batches; so in every epoch each clip
    comes exactly once and no batch is ever short. Cycle `e` of the plan holds the batches of all buckets that end in
    epoch `e`, in random order.
    """

    def __init__(self, buckets: list[np.ndarray], batch_size: int, seed: int, shuffle: bool) -> None:
        self._buckets = [(b, ids) for b, ids in enumerate(buckets) if len(ids)]
        self._batch, self._seed, self._shuffle = batch_size, seed, shuffle
        self._memo: dict[tuple[str, int, int], Any] = {}  # the orders and cycles in use

    def __len__(self) -> int:
        return ENDLESS

    def __repr__(self) -> str:
        return f"TrainPlan({sum(len(ids) for _, ids in self._buckets)} clips, batch {self._batch}, seed {self._seed})"

    def __getitem__(self, step: int) -> Rows:
        cycle = bisect.bisect_right(range(ENDLESS), step, key=self._before) - 1
        bucket, ids, number = self._recall(("cycle", cycle, 0), lambda: self._cycle(cycle))[step - self._before(cycle)]
        rows = []
        for place in range(number * self._batch, (number + 1) * self._batch):
            epoch, i = divmod(place, len(ids))
            rows.append(int(self._recall(("order", epoch, bucket), lambda e=epoch: self._order(bucket, ids, e))[i]))
        return bucket, rows

    def _recall(self, key: tuple[str, int, int], make: Callable[[], Any]) -> Any:
        value = self._memo.get(key)
        if value is None:
            if len(self._memo) > 8 * len(self._buckets):
                self._memo.clear()
            value = self._memo[key] = make()
        return value

    def _before(self, cycle: int) -> int:
        """Batches in all cycles before `cycle`."""
        return sum(cycle * len(ids) // self._batch for _, ids in self._buckets)

    def _cycle(self, cycle: int) -> list[tuple[int, np.ndarray, int]]:
        batches = [
            (bucket, ids, number) for bucket, ids in self._buckets
            for number in range(cycle * len(ids) // self._batch, (cycle + 1) * len(ids) // self._batch)
        ]
        if self._shuffle:
            np.random.default_rng([self._seed, cycle, 0]).shuffle(batches)
        return batches

    def _order(self, bucket: int, ids: np.ndarray, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch, 1 + bucket]).permutation(ids) if self._shuffle else ids


class EvalPlan:
    """Each clip once, in order, bucket by bucket; the last batch of a bucket is filled up with filler rows."""

    def __init__(self, buckets: list[np.ndarray], batch_size: int) -> None:
        self._batches = [
            (b, ids[i : i + batch_size].tolist() + [-1] * max(0, i + batch_size - len(ids)))
            for b, ids in enumerate(buckets) for i in range(0, len(ids), batch_size)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __repr__(self) -> str:
        return f"EvalPlan({len(self)} batches)"

    def __getitem__(self, i: int) -> Rows:
        return self._batches[i]


class _Loader:
    """Makes the numpy batch of a plan's rows."""

    def __init__(self, source: sources.Source, cfg_data: Any, sample_rate: int, samples_per_token: int, tokenizer: CharTokenizer,
                 clips: np.ndarray, rows: range) -> None:
        self._source, self._rate, self._rows = source, sample_rate, rows
        self._widths = [tokens * samples_per_token for tokens in cfg_data.buckets]
        self._max_text = cfg_data.max_text
        self._texts = {i: np.array(_encode(tokenizer, source, i, cfg_data.max_text), np.int32) for i in clips.tolist()}
        self._cache: dict[int, np.ndarray] = {}
        self._cached_bytes = 0

    def _wav(self, clip: int) -> np.ndarray:
        """int16 audio at the training rate, resampled on the first visit."""
        wav = self._cache.get(clip)
        if wav is None:
            wav = self._source.audio(clip, self._rate)
            if self._cached_bytes + wav.nbytes <= CACHE_BYTES:
                self._cache[clip] = wav
                self._cached_bytes += wav.nbytes
        return wav

    def __call__(self, plan: Rows) -> dict[str, Any]:
        bucket, clips = plan
        local, size = [clips[r] for r in self._rows], len(self._rows)
        batch: dict[str, Any] = {
            "wav": np.zeros((size, self._widths[bucket]), np.float32),
            "wav_len": np.zeros(size, np.int32),
            "text": np.zeros((size, self._max_text), np.int32),
            "text_len": np.zeros(size, np.int32),
            "speaker": np.zeros((size, sources.SPEAKER_DIM), np.float32),
            "speaker_mask": np.zeros(size, np.bool_),
            "labels": {field: np.full(size, -1, np.int32) for field in self._source.labels},
            "row": np.array(self._rows, np.int32),
        }
        for r, clip in enumerate(local):
            if clip < 0:
                continue
            wav, text, speaker = self._wav(clip), self._texts[clip], self._source.speaker(clip)
            batch["wav"][r, : len(wav)] = wav / np.float32(32768)
            batch["wav_len"][r] = len(wav)
            batch["text"][r, : len(text)] = text
            batch["text_len"][r] = len(text)
            if speaker is not None:
                batch["speaker"][r], batch["speaker_mask"][r] = speaker, True
            for field, classes in self._source.labels.items():
                batch["labels"][field][r] = classes[clip]
        return batch


def _encode(tokenizer: CharTokenizer, source: sources.Source, i: int, max_text: int) -> list[int]:
    try:
        ids = tokenizer.encode(source.texts[i])
    except ValueError as error:
        raise ValueError(f"clip {source.keys[i]!r} of {source!r}: {error}") from None
    if not 0 < len(ids) <= max_text:
        raise ValueError(f"clip {source.keys[i]!r} of {source!r} has {len(ids)} characters, not 1 to {max_text}: "
                         "raise data.max_text or drop the clip")
    return ids


def _fill_buckets(source: sources.Source, bounds: tuple[int, ...], sample_rate: int, samples_per_token: int) -> list[np.ndarray]:
    """Clip indices per bucket, by token count; what is longer than the last bucket is left out."""
    if not bounds or list(bounds) != sorted(set(bounds)) or bounds[0] < 1:
        raise ValueError(f"data.buckets must rise from 1 token or more: {bounds}")
    samples = np.array([audio.resampled_length(int(n), source.sample_rate, sample_rate) for n in source.samples])
    which = np.searchsorted(bounds, -(-samples // samples_per_token))
    dropped = int((which == len(bounds)).sum())
    if dropped:
        logging.warning("%r: %d of %d clips are longer than %d tokens and left out", source, dropped, len(source), bounds[-1])
    if dropped == len(source):
        raise ValueError(f"every clip of {source!r} is longer than {bounds[-1]} tokens: raise data.buckets")
    return [np.nonzero(which == b)[0] for b in range(len(bounds))]


def _dataset(cfg_data: Any, *, sample_rate: int, samples_per_token: int, tokenizer: CharTokenizer, split: str, batch_size: int,
             seed: int, shuffle: bool, repeat: bool, process_index: int, process_count: int) -> grain.MapDataset:
    if batch_size < 1 or batch_size % process_count or not 0 <= process_index < process_count:
        raise ValueError(f"batch size {batch_size} must divide evenly over {process_count} processes (this is {process_index})")
    source = sources.open_source(cfg_data, split)
    buckets = _fill_buckets(source, tuple(cfg_data.buckets), sample_rate, samples_per_token)
    share = batch_size // process_count
    rows = range(process_index * share, (process_index + 1) * share)
    plan = TrainPlan(buckets, batch_size, seed, shuffle) if repeat else EvalPlan(buckets, batch_size)
    loader = _Loader(source, cfg_data, sample_rate, samples_per_token, tokenizer, np.concatenate(buckets), rows)
    return grain.MapDataset.source(plan).map(loader)


def make_batches(cfg_data: Any, *, sample_rate: int, samples_per_token: int, tokenizer: CharTokenizer, split: str, batch_size: int,
                 seed: int, shuffle: bool, process_index: int = 0, process_count: int = 1) -> grain.MapDataset:
    """Endless batches to train on; `ds[i]` depends on the arguments and `i` alone.

    Args:
      cfg_data: the config's `data`: dataset, data_dir, buckets (most tokens per bucket), max_text (characters).
      sample_rate: Hz of the batches' audio.
      samples_per_token: samples a speech token stands for; a batch of bucket b is b * samples_per_token wide.
      tokenizer: text to ids.
      split: of the data set.
      batch_size: rows of the global batch, over all processes.
      seed: of the order of clips.
      shuffle: a new order in every epoch; else always the stored order.
      process_index: which share of the rows of every global batch to make.
      process_count: number of shares.

    Returns:
      Numpy batches by step, see types.Batch for the fields. Every clip comes once an epoch.

    Raises:
      ValueError: unknown data set or split, a text with a character outside the alphabet or too long, a batch size that does
        not divide over the processes.
    """
    return _dataset(cfg_data, sample_rate=sample_rate, samples_per_token=samples_per_token, tokenizer=tokenizer, split=split,
                    batch_size=batch_size, seed=seed, shuffle=shuffle, repeat=True,
                    process_index=process_index, process_count=process_count)


def make_eval_batches(cfg_data: Any, *, sample_rate: int, samples_per_token: int, tokenizer: CharTokenizer, split: str,
                      batch_size: int, process_index: int = 0, process_count: int = 1) -> grain.MapDataset:
    """As `make_batches`, but every clip exactly once, in order; rows that fill the last batch have wav_len 0."""
    return _dataset(cfg_data, sample_rate=sample_rate, samples_per_token=samples_per_token, tokenizer=tokenizer, split=split,
                    batch_size=batch_size, seed=0, shuffle=False, repeat=False,
                    process_index=process_index, process_count=process_count)


def stream(batches: grain.MapDataset, start: int = 0, *, workers: int = 0, prefetch: int = 4) -> grain.IterDataset:
    """The batches from step `start` on, made ahead.

    Args:
      batches: of `make_batches` or `make_eval_batches`.
      start: first step.
      workers: processes that make batches; 0 = threads of this process, which is enough while clips decode fast.
        Processes need parsed absl flags and a `__main__` guard.
      prefetch: batches ready ahead of the step.
    """
    options = grain.ReadOptions(num_threads=min(prefetch, 4), prefetch_buffer_size=prefetch)
    ahead = batches[start:].to_iter_dataset(read_options=options)
    if workers:
        return ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch))
    return ahead
