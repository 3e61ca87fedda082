"""Batches: pure in the step, each clip once an epoch, padding and lengths right."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from e2etts_jax.data import pipeline, plan, sources
from e2etts_jax.data.text import CharTokenizer

RATE, SPT = 22_050, 1024


def train(cfg, **kwargs):
    options = {"split": "train", "batch_size": 8, "seed": 3, "shuffle": True, **kwargs}
    return pipeline.make_batches(cfg, sample_rate=RATE, samples_per_token=SPT, tokenizer=CharTokenizer(), **options)


def evaluate(cfg, **kwargs):
    options = {"split": "validation", "batch_size": 4, **kwargs}
    return pipeline.make_eval_batches(
        cfg, sample_rate=RATE, samples_per_token=SPT, tokenizer=CharTokenizer(), **options
    )


def texts_of(batch) -> list[str]:
    return [CharTokenizer().decode(row[:n]) for row, n in zip(batch["text"], batch["text_len"], strict=True) if n]


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        if name == "labels":
            assert_equal(a[name], b[name])
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_batch_has_the_fields_of_the_contract(numbers):
    batch, source = train(numbers)[5], sources.open_source(numbers, "train")
    shapes = {
        "wav": (8, 96 * SPT),
        "wav_len": (8,),
        "text": (8, 96),
        "text_len": (8,),
        "speaker": (8, 256),
        "speaker_mask": (8,),
        "row": (8,),
    }
    assert {k: v.shape for k, v in batch.items() if k != "labels"} == shapes
    kinds = {
        "wav": np.float32,
        "wav_len": np.int32,
        "text": np.int32,
        "text_len": np.int32,
        "speaker": np.float32,
        "speaker_mask": np.bool_,
        "row": np.int32,
    }
    assert {k: v.dtype.type for k, v in batch.items() if k != "labels"} == kinds
    assert list(batch["labels"]) == ["kind"] and batch["labels"]["kind"].dtype == np.int32
    assert batch["row"].tolist() == list(range(8)) and batch["speaker_mask"].all()
    for r, text in enumerate(texts_of(batch)):
        clip = source.texts.index(text)
        n = batch["wav_len"][r]
        np.testing.assert_array_equal(batch["wav"][r, :n], source.audio(clip, RATE) / np.float32(32768))
        assert n == -(-source.samples[clip] * RATE // 16_000) and not batch["wav"][r, n:].any()
        assert not batch["text"][r, batch["text_len"][r] :].any()
        assert batch["labels"]["kind"][r] == source.labels["kind"][clip]
        np.testing.assert_array_equal(batch["speaker"][r], source.speaker(clip))


def test_batches_depend_on_config_seed_and_step_alone(numbers):
    first, second = train(numbers), train(numbers)
    for step in (11, 0, 1000, 6, 10**9):  # any order of visits
        assert_equal(first[step], second[step])
    assert texts_of(first[0]) != texts_of(train(numbers, seed=4)[0])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_clip_comes_exactly_once_an_epoch(numbers, processes: int):
    parts = [train(numbers, process_index=p, process_count=processes) for p in range(processes)]
    whole = train(numbers)
    seen: list[str] = []
    for step in range(25):  # 25 batches of 8 are 4 epochs of 50
        rows = [part[step] for part in parts]
        assert np.concatenate([b["row"] for b in rows]).tolist() == list(range(8))
        joined = [text for b in rows for text in texts_of(b)]
        assert joined == texts_of(whole[step])
        seen += joined
    epochs = [seen[i : i + 50] for i in range(0, 200, 50)]
    everything = sorted(sources.open_source(numbers, "train").texts)
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4, "every epoch has its own order"


def test_buckets_hold_what_fits_and_no_clip_is_lost(numbers):
    cfg = dataclasses.replace(numbers, buckets=(55, 70, 96))
    batches, seen = train(cfg, batch_size=3), Counter()
    batch_plan = plan.TrainPlan([np.arange(10), np.arange(10, 17), np.arange(17, 50)], 3, 0, True)
    widths = set()
    for step in range(50):  # 50 batches of 3 are 3 epochs of 50
        batch = batches[step]
        width = batch["wav"].shape[1] // SPT
        tokens = -(-batch["wav_len"] // SPT)
        assert (tokens <= width).all() and (tokens > {55: 0, 70: 55, 96: 70}[width]).all()
        seen.update(texts_of(batch))
        widths.add(width)
        assert (
            set(batch_plan[step][1])
            <= {0: set(range(10)), 1: set(range(10, 17)), 2: set(range(17, 50))}[batch_plan[step][0]]
        )
    assert widths == {55, 70, 96}
    assert set(seen.values()) <= {2, 3, 4} and sum(seen.values()) == 150 and len(seen) == 50


def test_every_cycle_of_every_bucket_is_a_permutation():
    buckets = [np.arange(7), np.array([], np.int64), np.arange(100, 111)]
    batch_plan, streams = plan.TrainPlan(buckets, 4, 1, True), {0: [], 2: []}
    for step in range(18 * 5):  # 18 clips in batches of 4: 4.5 batches an epoch
        bucket, rows = batch_plan[step]
        assert len(rows) == 4
        streams[bucket].append(rows)
    # Batches of a cycle are shuffled, so compare counts, after whole epochs of both buckets (4 are 7 + 11 batches).
    for bucket, ids in ((0, buckets[0]), (2, buckets[2])):
        counts = Counter(i for rows in streams[bucket] for i in rows)
        assert counts == {int(i): 20 for i in ids}


def test_unshuffled_training_goes_through_the_stored_order(numbers):
    batches = train(numbers, shuffle=False, batch_size=25)
    texts = sources.open_source(numbers, "train").texts
    assert [t for step in range(4) for t in texts_of(batches[step])] == texts * 2


@pytest.mark.parametrize("buckets", [(96,), (60, 96)])
def test_evaluation_visits_each_clip_once_and_fills_up(numbers, buckets: tuple[int, ...]):
    cfg = dataclasses.replace(numbers, buckets=buckets)
    batches = evaluate(cfg)
    texts = [t for i in range(len(batches)) for t in texts_of(batches[i])]
    assert sorted(texts) == sorted(sources.open_source(cfg, "validation").texts)
    if buckets == (96,):
        assert texts == sources.open_source(cfg, "validation").texts and len(batches) == 4
        last = batches[3]
        assert (last["wav_len"] > 0).tolist() == [True, False, False, False]
        assert not last["wav"][1:].any() and not last["text"][1:].any() and not last["text_len"][1:].any()
        assert last["labels"]["kind"][1:].tolist() == [-1, -1, -1] and not last["speaker_mask"][1:].any()
        assert last["row"].tolist() == [0, 1, 2, 3]


def test_evaluation_over_processes_is_the_same_rows(numbers):
    whole, parts = evaluate(numbers), [evaluate(numbers, process_index=p, process_count=2) for p in range(2)]
    for i in range(len(whole)):
        np.testing.assert_array_equal(whole[i]["text"], np.concatenate([part[i]["text"] for part in parts]))


def test_the_stream_starts_where_it_is_told(numbers):
    batches = train(numbers)
    ahead = iter(pipeline.stream(batches, 17, prefetch=2))
    for step in (17, 18, 19):
        assert_equal(next(ahead), batches[step])


def test_long_clips_are_left_out_and_counted(numbers, caplog: pytest.LogCaptureFixture):
    source = sources.open_source(numbers, "train")
    tokens = -(-np.ceil(source.samples * RATE / 16_000).astype(int) // SPT)
    kept = sum(tokens <= 60)
    with caplog.at_level("WARNING"):
        batches = train(dataclasses.replace(numbers, buckets=(60,)), batch_size=1)
    assert f"{50 - kept} of 50 clips are longer than 60 tokens" in caplog.text
    assert len({t for step in range(3 * kept) for t in texts_of(batches[step])}) == kept
    with pytest.raises(ValueError, match="every clip .* longer than 2 tokens: raise data.buckets"):
        train(dataclasses.replace(numbers, buckets=(2,)))


def test_bad_texts_are_named_when_the_plan_is_made(numbers, monkeypatch: pytest.MonkeyPatch):
    source = sources.open_source(numbers, "train")
    with pytest.raises(ValueError, match="has .* characters, not 1 to 5: raise data.max_text"):
        train(dataclasses.replace(numbers, max_text=5))
    monkeypatch.setattr(source, "texts", [*source.texts[:4], "room 7", *source.texts[5:]])
    with pytest.raises(ValueError, match="clip 'train-00004'.*'7' of 'room 7'"):
        train(numbers)


def test_bad_sizes_are_refused(numbers):
    with pytest.raises(ValueError, match="batch size 6 must divide evenly over 4"):
        train(numbers, batch_size=6, process_count=4)
    with pytest.raises(ValueError, match="buckets must rise"):
        train(dataclasses.replace(numbers, buckets=(96, 48)))


def test_two_memory_budgets_give_the_same_batch(numbers, monkeypatch: pytest.MonkeyPatch):
    cached = train(numbers)
    expected = [cached[i] for i in (0, 0)]
    monkeypatch.setattr(pipeline, "CACHE_BYTES", 0)
    for batch in expected:
        assert_equal(train(numbers)[0], batch)


def test_a_clip_without_a_known_voice_is_masked(numbers, monkeypatch: pytest.MonkeyPatch):
    source = sources.open_source(numbers, "train")
    monkeypatch.setattr(source, "speaker", lambda i: None)
    batch = train(numbers)[0]
    assert not batch["speaker_mask"].any() and not batch["speaker"].any()


def test_config_dicts_work(numbers):
    cfg = SimpleNamespace(dataset=numbers.dataset, data_dir=numbers.data_dir, buckets=[96], max_text=64)
    assert train(cfg)[0]["text"].shape == (8, 64)
