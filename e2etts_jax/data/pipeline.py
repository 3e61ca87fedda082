"""Padded batches as a pure function of (config, seed, step), so that the position in the data is one integer."""

from typing import Any

import grain
import numpy as np

from e2etts_jax.data import sources
from e2etts_jax.data.clips import Clips
from e2etts_jax.data.plan import EvalPlan, Rows, TrainPlan
from e2etts_jax.data.text import Texts

CACHE_BYTES = 2**30  # resampled audio kept in memory per process


class _Loader:
    """Makes the numpy batch of a plan's rows."""

    def __init__(self, clips: Clips, rows: range) -> None:
        self._clips, self._rows = clips, rows
        self._cache: dict[int, sources.Clip] = {}
        self._cached_bytes = 0

    def _clip(self, i: int) -> sources.Clip:
        """A clip at the training rate, read and resampled on the first visit."""
        clip = self._cache.get(i)
        if clip is None:
            clip = self._clips.source.clip(i, self._clips.rate)
            if self._cached_bytes + clip.wav.nbytes <= CACHE_BYTES:
                self._cache[i] = clip
                self._cached_bytes += clip.wav.nbytes
        return clip

    def __call__(self, plan: Rows) -> dict[str, Any]:
        c, size = self._clips, len(self._rows)
        width, labels = c.bounds[plan.bucket] * c.per_token, c.source.labels
        batch: dict[str, Any] = {
            "wav": np.zeros((size, width), np.int16),  # half of the way to the device
            "wav_len": np.zeros(size, np.int32),
            "prompt_len": np.zeros(size, np.int32),
            "speaker": np.zeros((size, c.source.speaker_dim), np.float32),
            "speaker_mask": np.zeros(size, np.bool_),
            "labels": {field: np.full(size, -1, np.int32) for field in labels},
            "row": np.array(self._rows, np.int32),
        }
        for field, words in c.words.items():
            batch[field] = np.zeros((size, words.limit), np.int32)
            batch[f"{field}_len"] = np.zeros(size, np.int32)
        for r, row in enumerate(self._rows):
            if plan.clips[row] >= 0:
                self._fill(batch, r, plan.clips[row])
        return batch

    def _fill(self, batch: dict[str, Any], r: int, i: int) -> None:
        c, clip = self._clips, self._clip(i)
        prompt = int(c.partners[i]) if c.partners is not None else -1
        ids = {field: words.ids(i, prompt) for field, words in c.words.items()}
        if any(len(ids[field]) > words.limit for field, words in c.words.items()):
            # the words of a pair may make more ids than they make alone
            prompt, ids = -1, {field: words.ids(i) for field, words in c.words.items()}
        speaker, start = clip.speaker, 0
        if prompt >= 0:
            first = self._clip(prompt)
            start = -(-len(first.wav) // c.per_token) * c.per_token  # the clip begins on a token
            batch["wav"][r, : len(first.wav)] = first.wav
            batch["prompt_len"][r], speaker = start, first.speaker
        end = start + len(clip.wav)
        batch["wav"][r, start:end] = clip.wav
        batch["wav_len"][r] = end
        for field, own in ids.items():
            batch[field][r, : len(own)] = own
            batch[f"{field}_len"][r] = len(own)
        if speaker is not None:
            batch["speaker"][r], batch["speaker_mask"][r] = speaker, True
        for field, classes in c.source.labels.items():
            batch["labels"][field][r] = classes[i]


def make_batches(
    cfg_data: Any,
    *,
    sample_rate: int,
    samples_per_token: int,
    texts: Texts,
    split: str,
    batch_size: int,
    seed: int,
    shuffle: bool,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """Endless batches to train on; `ds[i]` depends on the arguments and `i` alone.

    Args:
      cfg_data: the config's `data`: dataset, data_dir, language, prompts, buckets (most tokens per bucket),
        max_text, max_rm_text.
      sample_rate: Hz of the batches' audio.
      samples_per_token: samples a speech token stands for; a batch of bucket b is b * samples_per_token wide.
      texts: text to ids, for the LLM and for the RM.
      split: of the data set.
      batch_size: rows of the global batch, over all processes.
      seed: of the order of clips, and of prompts.
      shuffle: a new order in every epoch; else always the stored order.
      process_index: which share of the rows of every global batch to make.
      process_count: number of shares. It changes nothing in the global batch: a run may go on with another number.

    Returns:
      Numpy batches by step, see types.Batch for the fields. Every clip comes once an epoch.

    Raises:
      ValueError: unknown data set or split, texts that the tokenizer refuses or that are too long (all, or more than a
        few), a batch size that does not divide over the processes.
    """
    rows = _rows(batch_size, process_index, process_count)
    clips = Clips(cfg_data, split, texts, sample_rate=sample_rate, samples_per_token=samples_per_token, seed=seed)
    plan = TrainPlan(clips.buckets(), batch_size, seed, shuffle, clips.source.shares)
    return grain.MapDataset.source(plan).map(_Loader(clips, rows))


def make_eval_batches(
    cfg_data: Any,
    *,
    sample_rate: int,
    samples_per_token: int,
    texts: Texts,
    split: str,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """As `make_batches`, but every clip exactly once, in order; rows that fill the last batch have wav_len 0."""
    rows = _rows(batch_size, process_index, process_count)
    clips = Clips(cfg_data, split, texts, sample_rate=sample_rate, samples_per_token=samples_per_token, seed=0)
    plan = EvalPlan([np.concatenate(parts) for parts in clips.buckets()], batch_size)
    return grain.MapDataset.source(plan).map(_Loader(clips, rows))


def _rows(batch_size: int, process_index: int, process_count: int) -> range:
    if batch_size < 1 or batch_size % process_count or not 0 <= process_index < process_count:
        raise ValueError(
            f"batch size {batch_size} must divide evenly over {process_count} processes (this is {process_index})"
        )
    share = batch_size // process_count
    return range(process_index * share, (process_index + 1) * share)


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
