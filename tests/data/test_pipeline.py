"""Batches: pure in the step, each clip once an epoch, padding and lengths right."""

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from e2etts_jax.data import clips, pipeline, plan, sources
from e2etts_jax.data.text import DEFAULT_ALPHABET, CharTokenizer, make_both

RATE, SPT = 22_050, 1024


def train(cfg, **kwargs):
    options = {"split": "train", "batch_size": 8, "seed": 3, "shuffle": True, "texts": make_both({}), **kwargs}
    return pipeline.make_batches(cfg, sample_rate=RATE, samples_per_token=SPT, **options)


def evaluate(cfg, **kwargs):
    options = {"split": "validation", "batch_size": 4, **kwargs}
    return pipeline.make_eval_batches(cfg, sample_rate=RATE, samples_per_token=SPT, texts=make_both({}), **options)


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
        "prompt_len": (8,),
        "text": (8, 96),
        "text_len": (8,),
        "speaker": (8, 256),
        "speaker_mask": (8,),
        "row": (8,),
    }
    assert {k: v.shape for k, v in batch.items() if k != "labels"} == shapes
    kinds = {
        "wav": np.int16,
        "wav_len": np.int32,
        "prompt_len": np.int32,
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
        clip = list(source.texts).index(text)
        n = batch["wav_len"][r]
        np.testing.assert_array_equal(batch["wav"][r, :n], source.clip(clip, RATE).wav)
        assert n == source.samples(RATE)[clip] and not batch["wav"][r, n:].any()
        assert not batch["text"][r, batch["text_len"][r] :].any()
        assert batch["labels"]["kind"][r] == source.labels["kind"][clip]
        np.testing.assert_array_equal(batch["speaker"][r], source.clip(clip, RATE).speaker)


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
    batch_plan = plan.TrainPlan([[np.arange(10)], [np.arange(10, 17)], [np.arange(17, 50)]], 3, 0, True)
    widths = set()
    for step in range(50):  # 50 batches of 3 are 3 epochs of 50
        batch = batches[step]
        width = batch["wav"].shape[1] // SPT
        tokens = -(-batch["wav_len"] // SPT)
        assert (tokens <= width).all() and (tokens > {55: 0, 70: 55, 96: 70}[width]).all()
        seen.update(texts_of(batch))
        widths.add(width)
        assert (
            set(batch_plan[step].clips)
            <= {0: set(range(10)), 1: set(range(10, 17)), 2: set(range(17, 50))}[batch_plan[step].bucket]
        )
    assert widths == {55, 70, 96}
    assert set(seen.values()) <= {2, 3, 4} and sum(seen.values()) == 150 and len(seen) == 50


def test_unshuffled_training_goes_through_the_stored_order(numbers):
    batches = train(numbers, shuffle=False, batch_size=25)
    texts = sources.open_source(numbers, "train").texts
    assert [t for step in range(4) for t in texts_of(batches[step])] == [*texts, *texts]


@pytest.mark.parametrize("buckets", [(96,), (60, 96)])
def test_evaluation_visits_each_clip_once_and_fills_up(numbers, buckets: tuple[int, ...]):
    cfg = dataclasses.replace(numbers, buckets=buckets)
    batches = evaluate(cfg)
    texts = [t for i in range(len(batches)) for t in texts_of(batches[i])]
    assert sorted(texts) == sorted(sources.open_source(cfg, "validation").texts)
    if buckets == (96,):
        assert texts == list(sources.open_source(cfg, "validation").texts) and len(batches) == 4
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
    tokens = -(-source.samples(RATE) // SPT)
    kept = sum(tokens <= 60)
    with caplog.at_level("WARNING"):
        batches = train(dataclasses.replace(numbers, buckets=(60,)), batch_size=1)
    assert f"{50 - kept} of 50 clips are longer than 60 tokens and are left out" in caplog.text
    assert len({t for step in range(3 * kept) for t in texts_of(batches[step])}) == kept
    with pytest.raises(ValueError, match="50 of 50 clips .* longer than 2 tokens: raise data.buckets"):
        train(dataclasses.replace(numbers, buckets=(2,)))


def test_long_texts_are_left_out_and_counted(numbers, caplog: pytest.LogCaptureFixture):
    lengths = np.array([len(text) for text in sources.open_source(numbers, "train").texts])
    limit = int(np.median(lengths))
    with caplog.at_level("WARNING"):
        batches = train(dataclasses.replace(numbers, max_text=limit), batch_size=1)
    kept = int((lengths <= limit).sum())
    assert 0 < kept < 50 and f"{50 - kept} of 50 clips have a text of more than {limit} ids" in caplog.text
    assert len({t for step in range(3 * kept) for t in texts_of(batches[step])}) == kept
    with pytest.raises(ValueError, match="50 of 50 clips .* more than 2 ids: raise data.max_text"):
        train(dataclasses.replace(numbers, max_text=2))


def test_texts_outside_the_alphabet(numbers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    texts = sources.open_source(numbers, "train").texts
    rare = min("qzxjkbp", key=lambda c: sum(c in text for text in texts) or 99)
    count = sum(rare in text for text in texts)
    alphabet = DEFAULT_ALPHABET.replace(rare, "")
    monkeypatch.setattr(clips, "BAD_TEXTS", count / 50)
    with caplog.at_level("WARNING"):
        batches = train(numbers, texts=make_both({"alphabet": alphabet}), batch_size=1)
    assert f"{count} of 50 clips have a text that can't be encoded" in caplog.text
    assert f"character '{rare}'" in caplog.text and "clip 'train-" in caplog.text
    clip_of = {i for step in range(2 * (50 - count)) for i in batches[step]["text_len"]}
    assert clip_of and 0 not in clip_of
    monkeypatch.setattr(clips, "BAD_TEXTS", count / 50 - 0.01)  # more of them is a wrong alphabet
    with pytest.raises(ValueError, match=f"{count} of 50 clips .*clip 'train-.*character '{rare}' of .*text.alphabet"):
        train(numbers, texts=make_both({"alphabet": alphabet}))


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
    (corpus,) = sources.open_source(numbers, "train").corpora
    monkeypatch.setattr(corpus, "_fields", dataclasses.replace(corpus._fields, voice=None))
    batch = train(numbers)[0]
    assert not batch["speaker_mask"].any() and not batch["speaker"].any()


def test_config_dicts_work(numbers):
    cfg = SimpleNamespace(**{**dataclasses.asdict(numbers), "buckets": [96], "max_text": 64})
    assert train(cfg)[0]["text"].shape == (8, 64)


def test_a_pair_is_a_clip_after_another_of_its_voice(numbers):
    cfg = dataclasses.replace(numbers, prompts=1.0, buckets=(192,), max_text=128)
    batches, alone = train(cfg, batch_size=1, shuffle=False), train(numbers, batch_size=1, shuffle=False)
    texts, together = list(sources.open_source(numbers, "train").texts), 0
    for i in range(50):
        batch, own = batches[i], alone[i]
        n, start = own["wav_len"][0], batch["prompt_len"][0]
        (text,) = texts_of(batch)
        if not start:
            assert text == texts[i]
            continue
        together += 1
        assert start % SPT == 0 and batch["wav_len"][0] == start + n
        np.testing.assert_array_equal(batch["wav"][0, start : start + n], own["wav"][0, :n])
        assert not batch["wav"][0, start + n :].any()
        prompt = alone[texts.index(text.removesuffix(texts[i]).strip())]
        assert text == f"{texts_of(prompt)[0]} {texts[i]}"
        np.testing.assert_array_equal(batch["wav"][0, :start], prompt["wav"][0, :start])
        assert 0 <= start - prompt["wav_len"][0] < SPT
    assert together > 40
    assert not any(evaluate(cfg)[i]["prompt_len"].any() for i in range(4)), "only training has pairs"


@pytest.mark.parametrize("seed", range(6))
def test_a_run_goes_on_with_another_number_of_processes(numbers, seed: int):
    rng = np.random.default_rng(seed)
    cfg = dataclasses.replace(numbers, buckets=(55, 70, 96))
    start, before, after = int(rng.integers(0, 60)), *rng.permutation([1, 2, 4, 8])[:2].tolist()
    whole = train(cfg, seed=seed)
    served = []
    for step in range(start + 3):  # stops after `start` steps, goes on with other processes
        count = before if step < start else after
        parts = [train(cfg, seed=seed, process_index=p, process_count=count) for p in range(count)]
        served.append(np.concatenate([part[step]["text"] for part in parts]) if step >= start - 1 else None)
        if served[-1] is not None:
            np.testing.assert_array_equal(served[-1], whole[step]["text"])
    resumed = iter(pipeline.stream(whole, start, prefetch=1))
    assert_equal(next(resumed), whole[start])


LETTERS_AND_SOUNDS = {"tokenizer": "characters", "rm_tokenizer": "phonemes"}


def test_the_reward_model_may_have_a_text_of_its_own(numbers):
    texts = make_both(LETTERS_AND_SOUNDS)
    cfg = SimpleNamespace(**dataclasses.asdict(numbers), max_rm_text=80)
    batch, alone = train(cfg, texts=texts)[0], train(numbers)[0]
    assert batch["rm_text"].shape == (8, 80) and batch["rm_text"].dtype == batch["rm_text_len"].dtype == np.int32
    for row, said in enumerate(texts_of(batch)):
        ids = texts.rm.encode(texts.rm.prepare(said))
        assert batch["rm_text"][row, : batch["rm_text_len"][row]].tolist() == ids
        assert not batch["rm_text"][row, len(ids) :].any()
    for field, value in alone.items():
        np.testing.assert_equal(batch[field], value)


def test_both_texts_must_fit(numbers, caplog: pytest.LogCaptureFixture):
    texts = make_both(LETTERS_AND_SOUNDS)
    lengths = [len(texts.rm.encode(texts.rm.prepare(text))) for text in sources.open_source(numbers, "train").texts]
    limit = int(np.median(lengths))
    kept = sum(n <= limit for n in lengths)
    with caplog.at_level("WARNING"):
        batches = train(SimpleNamespace(**dataclasses.asdict(numbers), max_rm_text=limit), texts=texts, batch_size=1)
    assert max(int(batches[i]["rm_text_len"].max()) for i in range(kept)) == limit
    assert f"{50 - kept} of 50 clips have a text of more than {limit} ids" in caplog.text
    assert "raise data.max_rm_text" in caplog.text
    values = dataclasses.asdict(numbers) | {"prompts": 1.0, "buckets": (192,), "max_text": 128}
    paired = train(SimpleNamespace(**values, max_rm_text=70), texts=texts, batch_size=1)
    both = [paired[i] for i in range(50)]
    assert any(b["prompt_len"][0] for b in both) and max(int(b["rm_text_len"][0]) for b in both) <= 70
    assert max(int(b["rm_text_len"][0]) for b in both if b["prompt_len"][0]) > max(lengths), "the prompt's are in front"


def test_fewer_pairs_than_asked_for_are_told(numbers, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("WARNING"):
        train(dataclasses.replace(numbers, prompts=1.0, buckets=(96,)))
    assert "data.prompts=1.0, but only 0." in caplog.text and "fit in 96 tokens and 96 text ids" in caplog.text


WORKERS = """
import hashlib, sys
from types import SimpleNamespace
from absl import flags
from e2etts_jax.data import pipeline
from e2etts_jax.data.text import make_both

if __name__ == "__main__":
    flags.FLAGS(sys.argv[:1])
    data = {"data_dir": "", "buckets": (55, 70, 96), "max_text": 96, "language": "en", "prompts": 0.5}
    options = {"sample_rate": 22050, "samples_per_token": 1024, "split": "train", "batch_size": 8, "seed": 3}
    cfg = SimpleNamespace(dataset=sys.argv[1], **data)
    batches = pipeline.make_batches(cfg, texts=make_both({}), shuffle=True, **options)
    for workers in (0, 1, 2):
        ahead = iter(pipeline.stream(batches, 5, workers=workers, prefetch=2))
        taken = [next(ahead) for _ in range(6)]
        digest = hashlib.sha256(b"".join(batch[k].tobytes() for batch in taken for k in sorted(batch) if k != "labels"))
        print(digest.hexdigest())
    assert "tensorflow" not in sys.modules
"""


def test_any_number_of_workers_makes_the_same_batches(numbers, numbers_dir: Path, tmp_path: Path, repo_root: Path):
    sources.open_source(numbers, "train")  # built
    (folder,) = numbers_dir.glob("numbers/small/*/dataset_info.json")
    script = tmp_path / "batches.py"
    script.write_text(WORKERS)
    env = os.environ | {"PYTHONPATH": str(repo_root)}
    done = subprocess.run([sys.executable, script, folder.parent], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1 and len(done.stdout.split()) == 3
