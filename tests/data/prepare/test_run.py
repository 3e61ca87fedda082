"""The prepared folder, and that it does not tell how it came about: workers, parts, kills."""

import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import soundfile as sf
import tensorflow_datasets as tfds

from e2etts_jax.data import catalog, index
from e2etts_jax.data.prepare import plan as plans
from e2etts_jax.data.prepare import shard as shards
from e2etts_jax.data.prepare import workers
from e2etts_jax.data.prepare.options import Options
from e2etts_jax.data.prepare.plan import Plan

Tools = dict[str, Callable]
FLAGS = ["--sample_rate=16000", "--speaker=none"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "e2etts_jax.prepare", *args]


def test_the_index_says_what_the_records_hold(prepared: Path) -> None:
    builder = tfds.builder_from_directory(prepared)
    assert builder.info.metadata["sample_rate"] == 16_000
    assert builder.info.metadata["speaker_vectors"] == "none"
    assert {s: builder.info.splits[s].num_examples for s in builder.info.splits} == {
        "train": 113,
        "validation": 2,
        "test": 2,
    }
    for split in builder.info.splits:
        records, known = builder.as_data_source(split), index.read(index.path_of(prepared, split))
        assert len(records) == len(known)
        for i, record in enumerate(records):
            assert record["key"].decode() == known.keys[i] and record["text"].decode() == known.texts[i]
            assert len(record["audio"]) == known.samples[i]
            assert record["speaker"].decode() == ([*known.names["speaker"], ""])[known.speakers[i]]
            assert record["language"].decode() == ([*known.names["language"], ""])[known.languages[i]]
            assert record["emotion"] == known.labels["emotion"][i]
            assert record["xvector"].shape == (256,) and not record["xvector"].any()
        assert known.names["emotion"] == ["glad", "sad"]
    assert set(known.languages) <= {-1, 0}
    assert -1 in index.read(index.path_of(prepared, "train")).labels["emotion"]


def test_summary_and_rejections(prepared: Path) -> None:
    rejected = [json.loads(line) for line in (prepared / "rejected.jsonl").read_text().splitlines()]
    assert [(r["key"], r["reason"]) for r in rejected] == [
        ("clip-003", "duplicate id"),
        ("clip-007", "missing file"),
        ("clip-008", "text empty"),
    ]
    summary = json.loads((prepared / "summary.json").read_text())
    assert summary["kept"] == 117 and summary["speakers"] == 3 and summary["splits"]["train"]["shards"] > 1
    assert summary["buckets"]["4"]["padding"] < summary["buckets"]["1"]["padding"]
    assert (prepared / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_loudness(prepared: Path) -> None:
    import pyloudnorm

    meter = pyloudnorm.Meter(16_000)
    for record in itertools.islice(tfds.builder_from_directory(prepared).as_data_source("train"), 10):
        assert meter.integrated_loudness(record["audio"] / 32768) == pytest.approx(-23, abs=0.05)


def test_one_worker_gives_the_same_bytes_as_two(corpus: Path, prepared: Path, tmp_path: Path, tools: Tools) -> None:
    tools["run"](corpus, tmp_path / "out", workers=1)
    assert tools["digests"](tmp_path / "out") == tools["digests"](prepared)


def test_the_parts_make_the_whole(corpus: Path, prepared: Path, tmp_path: Path, tools: Tools) -> None:
    out = tmp_path / "out"
    printed = [tools["run"](corpus, out, workers=1, part=(i, 3)) for i in (2, 0, 1)]
    assert (
        "left to other parts" in printed[0] and "left to other parts" in printed[1] and "117 clips kept" in printed[2]
    )
    assert tools["digests"](out) == tools["digests"](prepared)


def test_nothing_finished_is_done_again(corpus: Path, prepared: Path, tmp_path: Path, tools: Tools) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    plan = Plan.read(out)
    (out / plan.shards[0].file).unlink()
    with (out / plan.shards[1].file).open("ab") as file:
        file.write(b"x")
    (out / "prepare" / f".{plan.shards[2].file}.99999.part").write_bytes(b"of a dead process, whose shard is finished")
    before = {s.file: (out / s.file).stat().st_mtime_ns for s in plan.shards[1:]}
    printed = tools["run"](corpus, out)
    assert f"{plan.shards[0].clips + plan.shards[1].clips} clips in" in printed
    changed = [s.file for s in plan.shards[1:] if (out / s.file).stat().st_mtime_ns != before[s.file]]
    assert changed == [plan.shards[1].file]
    assert tools["digests"](out) == tools["digests"](prepared)


def test_killed_and_started_again_gives_the_same_bytes(
    corpus: Path, prepared: Path, tmp_path: Path, tools: Tools
) -> None:
    """SIGKILL, three times over: at the first clips, and with one and three shards finished and others at work."""
    out = tmp_path / "out"
    args = [f"--source={corpus}", f"--out={out}", "--workers=2", *FLAGS]
    for finished in (0, 1, 3):
        for place in out.glob("prepare/*.at"):
            place.unlink()
        process = subprocess.Popen(command(*args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            at_work = list(out.glob("prepare/*.at"))
            if at_work and len(list(out.glob("prepare/speech-*.json"))) >= finished:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        assert not (out / "dataset_info.json").exists()
    printed = tools["run"](corpus, out)
    assert " 118 clips in" not in printed, "nothing that was finished counted"
    assert tools["digests"](out) == tools["digests"](prepared)


def dies_at_clip_20(out: Path, number: int, skip: Collection[int], on_clip: Callable[[], None]) -> None:
    """As `write_shard`, in a process that a bug in a decoder would kill at clip-020."""
    plan = Plan.read(out)
    keys = [row.key for row in plan.rows(out, plan.shards[number])]
    if "clip-020" in keys and (row := keys.index("clip-020")) not in skip:
        shards.place_path(out, plan.shards[number]).write_bytes(struct.pack("<q", row))
        time.sleep(0.3)  # so that another shard is at work too
        os.kill(os.getpid(), signal.SIGSEGV)
    shards.write_shard(out, number, skip, on_clip)


def test_a_recording_that_kills_its_process_is_named(corpus: Path, tmp_path: Path) -> None:
    plan = plans.make(Options(str(corpus), "manifest", sample_rate=16_000, speaker="none"), tmp_path)
    workers.run(tmp_path, plan, range(len(plan.shards)), 2, task=dies_at_clip_20)
    notes = [shards.read_note(tmp_path, shard, plan.digest) for shard in plan.shards]
    rejected = {r["key"]: r["reason"] for note in notes if note for r in note["rejected"]}
    assert all(notes) and rejected == {"clip-007": "missing file", "clip-020": "kills the reader"}
    assert not list(tmp_path.glob("prepare/*.at")) and not list(tmp_path.glob("prepare/.*.part"))


def test_a_shard_that_is_not_as_it_was_noted_is_made_again(corpus: Path, tmp_path: Path) -> None:
    plan = plans.make(Options(str(corpus), "manifest", sample_rate=16_000, speaker="none"), tmp_path)
    workers.run(tmp_path, plan, range(len(plan.shards)), 1)
    first = tmp_path / plan.shards[0].file
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    assert shards.read_note(tmp_path, plan.shards[0], plan.digest) is None
    workers.run(tmp_path, plan, [0], 1)
    assert first.read_bytes() == whole and shards.read_note(tmp_path, plan.shards[0], plan.digest)


def dies_at_once(out: Path, number: int, skip: Collection[int], on_clip: Callable[[], None]) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_processes_that_cannot_start_end_the_run(corpus: Path, tmp_path: Path) -> None:
    plan = plans.make(Options(str(corpus), "manifest", sample_rate=16_000, speaker="none"), tmp_path)
    with pytest.raises(OSError, match="die before they read a clip"):
        workers.run(tmp_path, plan, range(len(plan.shards)), 2, task=dies_at_once)


def test_another_folder_or_other_options_are_refused(
    corpus: Path, prepared: Path, tmp_path: Path, tools: Tools
) -> None:
    with pytest.raises(ValueError, match=r"other options: sample_rate=16000 there, 8000 now"):
        tools["run"](corpus, prepared, sample_rate=8000)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds other files .thesis.tex"):
        tools["run"](corpus, tmp_path)
    source = tmp_path / "corpus"
    shutil.copytree(corpus.parent, source)
    out = tmp_path / "out"
    plans.make(Options(str(source / "metadata.jsonl"), "manifest"), out)
    with (source / "metadata.jsonl").open("a") as file:
        file.write('{"audio": "new.wav", "text": "one more"}\n')
    with pytest.raises(ValueError, match="has changed since .* was begun .118 usable rows then, 119 now"):
        plans.make(Options(str(source / "metadata.jsonl"), "manifest"), out)


def test_two_that_begin_at_once_do_not_mix(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that saw an empty folder, and is slower than another one with other options, leaves all as it is."""
    first, second = (Options(str(corpus), "manifest", speaker="none", max_seconds=s) for s in (30.0, 29.0))
    is_begun, seen = plans._is_begun, []

    def overtaken(plan: Plan, out: Path) -> bool:
        begun = is_begun(plan, out)
        if not seen:
            seen.append(begun)
            plans.make(first, out)
            seen.append({p.name: p.read_bytes() for p in (out / "prepare").iterdir()})
        return begun

    monkeypatch.setattr(plans, "_is_begun", overtaken)
    with pytest.raises(ValueError, match="prepared with other options: max_seconds=30.0 there, 29.0 now"):
        plans.make(second, tmp_path / "out")
    assert seen == [False, {p.name: p.read_bytes() for p in (tmp_path / "out" / "prepare").iterdir()}]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["prepare"]


def test_many_that_begin_at_once_agree(corpus: Path, tmp_path: Path) -> None:
    """Of eight planners with two kinds of options one kind wins, wholly, and the others are told."""
    kinds = [Options(str(corpus), "manifest", speaker="none", max_seconds=s) for s in (30.0, 29.0)]
    barrier = threading.Barrier(8)

    def begin(i: int) -> str:
        barrier.wait()
        try:
            return plans.make(kinds[i % 2], tmp_path / "out").digest
        except ValueError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(begin, range(8)))
    won = Plan.read(tmp_path / "out")
    winner = kinds.index(won.options)
    assert [f == won.digest for f in found] == [i % 2 == winner for i in range(8)]
    assert all("prepared with other options" in f for f in found if f != won.digest)
    alone = plans.make(won.options, tmp_path / "alone")
    assert alone == won
    for shard in won.shards:
        assert won.rows(tmp_path / "out", shard) == alone.rows(tmp_path / "alone", shard)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["prepare"]


def test_a_planner_that_was_killed_is_swept_up(corpus: Path, tmp_path: Path) -> None:
    left = tmp_path / "out" / ".prepare.0123456789abcdef.part"
    left.mkdir(parents=True)
    (left / "rejected.jsonl").write_text("half a li")
    options = Options(str(corpus), "manifest", speaker="none")
    plan = plans.make(options, tmp_path / "out")
    assert not left.exists() and Plan.read(tmp_path / "out") == plan
    (tmp_path / "out" / "prepare" / "plan.json").unlink()  # as planners of old could leave it
    with pytest.raises(ValueError, match="out/prepare holds no plan, .* remove that folder"):
        plans.make(options, tmp_path / "out")


def test_preparing_again_keeps_the_texts_that_training_prepared(corpus: Path, tmp_path: Path, tools: Tools) -> None:
    out = tmp_path / "out"
    tools["run"](corpus, out, workers=1)
    kept = index.path_of(out, "train") / "texts-some-en"
    kept.mkdir()
    (kept / "lengths.npy").write_text("prepared")
    before = tools["digests"](out)
    tools["run"](corpus, out, workers=1)
    assert tools["digests"](out) == before and (kept / "lengths.npy").read_text() == "prepared"


@pytest.mark.parametrize("rate", [100, 400_000])
def test_a_recorded_rate_that_is_none_of_speech_is_refused(
    tmp_path: Path, tools: Tools, rate: int, capfd: pytest.CaptureFixture
) -> None:
    for i in range(3):
        sf.write(tmp_path / f"{i}.wav", tools["voice"](1.0, rate), rate)
    rows = [{"audio": f"{i}.wav", "text": "a dozen words"} for i in range(3)]
    source = tools["write_jsonl"](tmp_path / "m.jsonl", rows)
    says = rf"^--sample_rate=0: 0.wav, the first, is at {rate} Hz, not 4000..192000; say which rate to store"
    with pytest.raises(ValueError, match=says) as error:
        tools["run"](source, tmp_path / "out", workers=1, sample_rate=0)
    assert "\n" not in str(error.value)
    assert "3 clips kept" in tools["run"](source, tmp_path / "out2", workers=1, sample_rate=16_000, loudness=None)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--source=/nowhere"], "no source /nowhere"),
        (["--source={corpus}", "--part=3/3"], "--part=3/3 must be i/n"),
        (["--source={corpus}", "--splits=validation"], "'validation' is not NAME=SHARE"),
        (["--source={corpus}", "--speaker=/no.onnx"], "no speaker model /no.onnx"),
        (["--source={corpus}", "--loudness=loud"], "--loudness=loud"),
        (
            ["--source={corpus}", "--sample_rate=-8000"],
            "--sample_rate=-8000 must be 0 (as recorded) or 4000..",
        ),
        (["--source={corpus}", "--sample_rate=3"], "--sample_rate=3 must be 0 (as recorded) or 4000..192000 Hz"),
        (["--source={corpus}", "--sample_rate=99999999999"], "must be 0 (as recorded) or 4000..192000 Hz"),
        (["--source={out}"], "has no recordings"),
    ],
)
def test_errors_are_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture, args: list[str], says: str
) -> None:
    from absl import flags
    from absl.testing import flagsaver

    from e2etts_jax import prepare

    args = [a.format(corpus=corpus, out=tmp_path) for a in args]
    with flagsaver.flagsaver():
        flags.FLAGS(["prepare", "--workdir=unused", f"--out={tmp_path / 'out'}", *args], known_only=True)
        assert prepare.main(["prepare"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and says in error


def test_splits_follow_the_hash_of_the_id() -> None:
    rows = [plans.Row(f"k{i}", "", "") for i in range(1000)]
    splits = plans.assign_splits(rows, {"validation": 0.01, "test": 0.02})
    assert {name: len(members) for name, members in splits.items()} == {"train": 970, "validation": 10, "test": 20}
    again = plans.assign_splits(rows[::-1], {"validation": 0.01, "test": 0.02})
    assert {r.key for r in again["test"]} == {r.key for r in splits["test"]}
    named = [plans.Row("a", "", "", split="dev-clean"), plans.Row("b", "", "")]
    assert set(plans.assign_splits(named, {"test": 0.5})) == {"dev_clean", "train"}


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (("train", "test"), {"train": 198, "test": 200, "validation": 2}),
        (("", "test"), {"train": 198, "test": 200, "validation": 2}),
        (("train_a", "train_b", "test"), {"train_a": 200, "train_b": 196, "test": 200, "validation": 4}),
        (("train", "extra"), {"train": 198, "extra": 200, "validation": 2}),
        (("train", "dev-clean", "test"), {"train": 200, "dev_clean": 200, "test": 200}),
        (("train", "eval"), {"train": 200, "eval": 200}),
        (("train",), {"train": 200}),
        (("test",), {"test": 200}),
    ],
)
def test_what_validates_is_taken_out_of_train_where_nothing_else_does(names: tuple, held: dict[str, int]) -> None:
    rows = [plans.Row(f"{name}{i}", "", "", split=name) for name in names for i in range(200)]
    before = {row.key: row.split for row in rows}
    splits = plans.assign_splits(rows, {"validation": 0.01, "test": 0.01})
    assert {name: len(members) for name, members in splits.items()} == held
    kept = {row.key for row in splits.get("validation", ())}
    assert all((before[key] or "train").startswith("train") for key in kept)
    again = [plans.Row(key, "", "", split=split) for key, split in reversed(before.items())]
    assert {row.key for row in plans.assign_splits(again, {"validation": 0.01}).get("validation", ())} == kept
    none = [plans.Row(key, "", "", split=split) for key, split in before.items()]
    assert "validation" not in plans.assign_splits(none, {}), "not wanted"


def test_a_corpus_of_train_and_test_can_be_trained_on(tmp_path: Path, tools: Tools) -> None:
    for i in range(12):
        sf.write(tmp_path / f"{i}.wav", tools["voice"](0.5), 16_000)
    rows = [{"audio": f"{i}.wav", "text": "words", "split": ("train", "test")[i > 8]} for i in range(12)]
    printed = tools["run"](tools["write_jsonl"](tmp_path / "m.jsonl", rows), tmp_path / "out", workers=1)
    assert "validation: 1 clips" in printed and "validation was taken out of train, by a hash of the id" in printed
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["taken_to_validate"] == 1
    opened = catalog.open_set(str(tmp_path / "out"), "")
    assert {s: opened.stored(s, ()) for s in catalog.SPLITS} == {s: ((s,), False) for s in catalog.SPLITS}


def test_which_columns_are_labels() -> None:
    def rows(*columns: tuple[str, list[str]]) -> list[plans.Row]:
        return [
            plans.Row(str(i), "", "", labels={n: v[i % len(v)] for n, v in columns if v[i % len(v)]})
            for i in range(400)
        ]

    found = plans.label_columns(
        rows(
            ("emotion", ["sad", "", "glad"]),
            ("constant", ["x"]),
            ("phonemes", [str(i) + "a" for i in range(400)]),
            ("seconds", ["1.5", "2.5"]),
            ("not a name", ["a", "b"]),
            ("xvector", ["a", "b"]),
        )
    )
    assert found == {"emotion": ["glad", "sad"]}
