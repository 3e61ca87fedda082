"""Padded batches as a pure function of (config, seed, step), so that the position in the data is one integer."""

from typing import Any

import grain
import numpy as np
from absl import logging

from e2etts_jax.data import audio, sources
from e2etts_jax.data.plan import EvalPlan, Rows, TrainPlan
from e2etts_jax.data.text import CharTokenizer

CACHE_BYTES = 2**30  # resampled audio kept in memory per process


class _Loader:
    """Makes the numpy batch of a plan's rows."""

    def __init__(
        self,
        source: sources.Source,
        cfg_data: Any,
        sample_rate: int,
        samples_per_token: int,
        tokenizer: CharTokenizer,
        clips: np.ndarray,
        rows: range,
    ) -> None:
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
        raise ValueError(
            f"clip {source.keys[i]!r} of {source!r} has {len(ids)} characters, not 1 to {max_text}: "
            "raise data.max_text or drop the clip"
        )
    return ids


def _fill_buckets(
    source: sources.Source, bounds: tuple[int, ...], sample_rate: int, samples_per_token: int
) -> list[np.ndarray]:
    """Clip indices per bucket, by token count; what is longer than the last bucket is left out."""
    if not bounds or list(bounds) != sorted(set(bounds)) or bounds[0] < 1:
        raise ValueError(f"data.buckets must rise from 1 token or more: {bounds}")
    samples = np.array([audio.resampled_length(int(n), source.sample_rate, sample_rate) for n in source.samples])
    which = np.searchsorted(bounds, -(-samples // samples_per_token))
    dropped = int((which == len(bounds)).sum())
    if dropped:
        logging.warning(
            "%r: %d of %d clips are longer than %d tokens and left out", source, dropped, len(source), bounds[-1]
        )
    if dropped == len(source):
        raise ValueError(f"every clip of {source!r} is longer than {bounds[-1]} tokens: raise data.buckets")
    return [np.nonzero(which == b)[0] for b in range(len(bounds))]


def _dataset(
    cfg_data: Any,
    *,
    sample_rate: int,
    samples_per_token: int,
    tokenizer: CharTokenizer,
    split: str,
    batch_size: int,
    seed: int,
    shuffle: bool,
    repeat: bool,
    process_index: int,
    process_count: int,
) -> grain.MapDataset:
    if batch_size < 1 or batch_size % process_count or not 0 <= process_index < process_count:
        raise ValueError(
            f"batch size {batch_size} must divide evenly over {process_count} processes (this is {process_index})"
        )
    source = sources.open_source(cfg_data, split)
    buckets = _fill_buckets(source, tuple(cfg_data.buckets), sample_rate, samples_per_token)
    share = batch_size // process_count
    rows = range(process_index * share, (process_index + 1) * share)
    plan = TrainPlan(buckets, batch_size, seed, shuffle) if repeat else EvalPlan(buckets, batch_size)
    loader = _Loader(source, cfg_data, sample_rate, samples_per_token, tokenizer, np.concatenate(buckets), rows)
    return grain.MapDataset.source(plan).map(loader)


def make_batches(
    cfg_data: Any,
    *,
    sample_rate: int,
    samples_per_token: int,
    tokenizer: CharTokenizer,
    split: str,
    batch_size: int,
    seed: int,
    shuffle: bool,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
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
      ValueError: unknown data set or split, a text with a character outside the alphabet or too long, a batch size
        that does not divide over the processes.
    """
    return _dataset(
        cfg_data,
        sample_rate=sample_rate,
        samples_per_token=samples_per_token,
        tokenizer=tokenizer,
        split=split,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        repeat=True,
        process_index=process_index,
        process_count=process_count,
    )


def make_eval_batches(
    cfg_data: Any,
    *,
    sample_rate: int,
    samples_per_token: int,
    tokenizer: CharTokenizer,
    split: str,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """As `make_batches`, but every clip exactly once, in order; rows that fill the last batch have wav_len 0."""
    return _dataset(
        cfg_data,
        sample_rate=sample_rate,
        samples_per_token=samples_per_token,
        tokenizer=tokenizer,
        split=split,
        batch_size=batch_size,
        seed=0,
        shuffle=False,
        repeat=False,
        process_index=process_index,
        process_count=process_count,
    )


def _own(batch: dict[str, Any]) -> dict[str, Any]:
    """A copy in this process's memory: what a worker sends is shared memory that the worker takes back."""
    return {k: _own(v) if isinstance(v, dict) else np.copy(v) for k, v in batch.items()}


def stream(batches: grain.MapDataset, start: int = 0, *, workers: int = 0, prefetch: int = 4) -> grain.IterDataset:
    """The batches from step `start` on, made ahead.

    Args:
      batches: of `make_batches` or `make_eval_batches`.
      start: first step.
      workers: processes that make batches; 0 = threads of this process, which is enough while clips decode fast.
        Processes need parsed absl flags and a `__main__` guard.
      prefetch: batches ready ahead of the step.
    """
    threads = grain.ReadOptions(num_threads=min(prefetch, 4), prefetch_buffer_size=prefetch)
    ahead = batches[start:].to_iter_dataset(read_options=threads)
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
        return ahead.mp_prefetch(options).map(_own)
    return ahead
