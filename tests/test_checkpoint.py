"""Round trips are bit-equal, damage is found, named and survived, and errors say what to do."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from e2etts_jax import checkpoint
from e2etts_jax.checkpoint import Checkpointer, load_items

META = {"stage": "joint", "fingerprint": "abc", "config": {"lr": 1e-3, "none": None, "buckets": [96]}}
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


def make_state(seed: int) -> dict:
    normal = jax.random.normal(jax.random.key(seed), (4, 6))
    layers = [normal + 1, normal + 2]
    llm = {"embed": {"kernel": normal, "empty": {}}, "scale": normal[0].astype(jnp.bfloat16), "layers": layers}
    return {
        "tokenizer": {"kernel": normal * 2},
        "llm": llm,
        "fm": {},
        "opt": {"llm": ADAM.init(llm), "fm": optax.EmptyState(), "rm": {}, "tokenizer": None},
        "misc": {"step": jnp.int32(seed), "key": jax.random.key_data(jax.random.key(seed)), "nan": jnp.float32("nan")},
    }


def abstract(state: dict) -> dict:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def assert_bit_equal(actual: object, expected: object) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


@pytest.fixture
def writer(tmp_path):
    writer = Checkpointer(str(tmp_path / "ckpt"), keep=2)
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A directory with the good steps 1 and 2; tests damage a copy."""
    directory = tmp_path_factory.mktemp("good") / "ckpt"
    writer = Checkpointer(str(directory), keep=2)
    for step in (1, 2):
        writer.save(step, make_state(step), META | {"step": step})
    writer.close()
    return directory


@pytest.fixture
def copy(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


def step_files(directory: Path, step: int) -> list[Path]:
    return sorted(path for path in (directory / str(step)).rglob("*") if path.is_file())


def restore(directory: Path) -> tuple[int, dict, dict] | None:
    reader = Checkpointer(str(directory), keep=2)
    try:
        return reader.restore(abstract(make_state(0)))
    finally:
        reader.close()


def assert_falls_back(directory: Path, caplog, reason: str) -> None:
    """Step 1 is used, and one warning names step 2 and what is wrong with it."""
    caplog.clear()
    step, state, meta = restore(directory)
    assert (step, meta) == (1, META | {"step": 1})
    assert_bit_equal(state, make_state(1))
    warnings = [record.getMessage() for record in caplog.records if record.name == checkpoint.__name__]
    assert len(warnings) == 1 and str(directory / "2") in warnings[0] and reason in warnings[0], warnings


def test_empty_directory_restores_nothing(writer):
    assert writer.restore(abstract(make_state(0))) is None
    assert writer.steps() == []


def test_round_trip_is_bit_equal(writer):
    writer.save(7, make_state(7), META)
    step, restored, meta = writer.restore(abstract(make_state(0)))
    assert (step, meta) == (7, META)
    assert_bit_equal(restored, make_state(7))
    assert type(restored["opt"]["llm"][1][0]) is optax.ScaleByAdamState


def test_buffers_donated_right_after_save_are_saved_as_they_were(writer):
    # Whether JAX really donates depends on what Orbax still holds at that moment: only the result is asserted.
    weights = jax.jit(lambda seed: [jax.random.normal(jax.random.key(seed + i), (512, 512)) for i in range(8)])
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)
    jax.block_until_ready(overwrite(weights(0)))  # compiled now, so that it runs while the files are being written
    expected = jax.tree.map(np.array, weights(1))
    state = jax.block_until_ready(weights(1))
    writer.save(1, {"llm": state}, META)
    jax.block_until_ready(overwrite(state))
    _, restored, _ = writer.restore({"llm": abstract(weights(1))})
    assert_bit_equal(restored["llm"], expected)


def test_restores_onto_the_sharding_asked_for(good):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    wanted = {"tokenizer": {"kernel": jax.ShapeDtypeStruct((4, 6), jnp.float32, sharding=sharding)}}
    kernel = load_items(str(good), ["tokenizer"], abstract=wanted)["tokenizer"]["kernel"]
    assert kernel.sharding == sharding
    assert_bit_equal(kernel, make_state(2)["tokenizer"]["kernel"])


def test_keeps_the_newest(writer):
    for step in (1, 2, 10):
        writer.save(step, make_state(step), META)
    writer.wait()
    assert writer.steps() == [2, 10]
    assert sorted(os.listdir(writer.directory)) == ["10", "2"]
    older = load_items(str(writer.directory), list(make_state(2)), abstract=abstract(make_state(0)), step=2)
    assert_bit_equal(older, make_state(2))
    with pytest.raises(FileNotFoundError, match=r"no usable checkpoint of step 1 in .*ckpt"):
        load_items(str(writer.directory), list(make_state(2)), step=1)


def test_the_older_step_is_only_removed_once_the_newer_is_verified(tmp_path, monkeypatch):
    writer = Checkpointer(str(tmp_path), keep=1)
    writer.save(1, make_state(1), META)
    writer.wait()
    monkeypatch.setattr(checkpoint, "_write_manifest", lambda path: (_ for _ in ()).throw(RuntimeError("broken")))
    writer.save(2, make_state(2), META)
    with pytest.raises(RuntimeError, match="broken"):
        writer.wait()
    assert writer.restore(abstract(make_state(0)))[0] == 1
    writer.close()


@pytest.mark.parametrize("step", [1, 2])
def test_saving_a_step_that_is_not_newer_is_an_error(copy, step):
    writer = Checkpointer(str(copy), keep=2)
    with pytest.raises(ValueError, match=f"can't save step {step}: .*copy holds step 2"):
        writer.save(step, make_state(9), META)
    writer.close()
    assert_bit_equal(restore(copy)[1], make_state(2))


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_no_checkpoint_is_an_error(tmp_path, keep):
    with pytest.raises(ValueError, match="at least one"):
        Checkpointer(str(tmp_path), keep=keep)


@pytest.mark.parametrize(
    ("items", "meta", "message"),
    [
        ({"misc": {"key": jax.random.key(0)}}, {}, r"misc/key is a .*key<fry>.*plain jax arrays only"),
        ({"misc": {"step": 3}}, {}, r"misc/step is a int \(no array\).*plain jax arrays only"),
        ({"misc": {"mean": np.zeros(2)}}, {}, r"misc/mean is a ndarray \(float64\).*plain jax arrays only"),
        ({"misc": {"step": jnp.int32(3)}}, {"config": object()}, "must be JSON"),
    ],
)
def test_refuses_what_would_not_come_back(writer, items, meta, message):
    with pytest.raises(ValueError, match=message):
        writer.save(1, items, meta)
    assert os.listdir(writer.directory) == []


def test_a_flipped_byte_in_any_file_is_found(copy, caplog):
    names = [path.relative_to(copy / "2") for path in step_files(copy, 2)]
    assert len(names) > 20
    for name in names:
        path = copy / "2" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        assert_falls_back(copy, caplog, name.name)
        content[len(content) // 2] ^= 0xFF
        (copy / "2.damaged").rename(copy / "2")
        path.write_bytes(content)
    assert restore(copy)[0] == 2


def test_a_missing_file_of_any_kind_is_found(copy, caplog):
    for name in [path.relative_to(copy / "2") for path in step_files(copy, 2)]:
        content = (copy / "2" / name).read_bytes()
        (copy / "2" / name).unlink()
        assert_falls_back(copy, caplog, name.name)
        (copy / "2.damaged").rename(copy / "2")
        (copy / "2" / name).write_bytes(content)
    assert restore(copy)[0] == 2


def test_damaged_steps_make_room_for_new_ones(copy, caplog):
    for attempt in ("2.damaged", "2.2.damaged"):
        (copy / "2" / checkpoint.MANIFEST).unlink()
        assert_falls_back(copy, caplog, checkpoint.MANIFEST)
        assert (copy / attempt).is_dir()
        writer = Checkpointer(str(copy), keep=2)
        writer.save(2, make_state(5), META)
        writer.close()
    assert_bit_equal(restore(copy)[1], make_state(5))


def test_saving_over_an_unfinished_step_works_without_a_restore(copy):
    (copy / "2" / checkpoint.MANIFEST).unlink()
    writer = Checkpointer(str(copy), keep=2)
    writer.save(2, make_state(6), META)
    writer.close()
    assert_bit_equal(restore(copy)[1], make_state(6))


def test_the_next_save_removes_what_killed_ones_left(copy):
    (copy / "7.orbax-checkpoint-tmp" / "llm").mkdir(parents=True)
    writer = Checkpointer(str(copy), keep=2)
    assert writer.restore(abstract(make_state(0)))[0] == 2
    assert (copy / "7.orbax-checkpoint-tmp").exists(), "reading removes nothing"
    writer.save(3, make_state(3), META)
    writer.close()
    assert sorted(os.listdir(copy)) == ["2", "3"]


def test_all_steps_damaged_restores_nothing(copy):
    for step in (1, 2):
        shutil.rmtree(copy / str(step) / "llm")
    assert restore(copy) is None
    with pytest.raises(FileNotFoundError, match="no usable checkpoint in .*copy"):
        load_items(str(copy), ["llm"])


CHILD = """
import os, signal, sys, time
from pathlib import Path
import jax, jax.numpy as jnp
from e2etts_jax import checkpoint
directory, moment = sys.argv[1:]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
state = lambda seed: {"llm": {"kernel": jax.random.normal(jax.random.key(seed), (2048, 4096))}, "fm": {}}
writer = checkpoint.Checkpointer(directory, keep=1)
writer.save(1, state(1), {})
writer.wait()
if moment == "before the manifest":
    checkpoint._write_manifest = die
writer.save(2, state(2), {})
while moment == "during the write":
    if any(path.is_file() and path.stat().st_size > 1000 for path in Path(directory).glob("2.*/llm*/**/d/*")):
        die()
writer.wait()
"""


@pytest.mark.parametrize("moment", ["during the write", "before the manifest"])
def test_a_kill_in_the_middle_of_a_save_costs_only_that_save(tmp_path, repo_root, caplog, moment):
    directory = tmp_path / "ckpt"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(directory), moment],
        env=os.environ | {"PYTHONPATH": str(repo_root)},
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    left = sorted(os.listdir(directory))
    assert left == (["1", "2"] if moment == "before the manifest" else ["1", "2.orbax-checkpoint-tmp"])

    def state(seed: int) -> dict:
        return {"llm": {"kernel": jax.random.normal(jax.random.key(seed), (2048, 4096))}, "fm": {}}

    writer = Checkpointer(str(directory), keep=1)
    step, items, _ = writer.restore(abstract(state(0)))
    assert step == 1
    assert_bit_equal(items, state(1))
    assert [r.levelno for r in caplog.records if r.name == checkpoint.__name__ and left[1] in r.getMessage()] == [
        logging.WARNING
    ]
    writer.save(2, state(3), {})
    writer.wait()
    step, items, _ = writer.restore(abstract(state(0)))
    assert step == 2
    assert_bit_equal(items, state(3))
    writer.close()
    assert [name for name in os.listdir(directory) if not name.endswith(".damaged")] == ["2"]


def test_another_architecture_is_named_key_by_key(copy):
    other = make_state(0)
    other["llm"]["embed"] = {"kernel": jnp.zeros((4, 7)), "bias": jnp.zeros(6), "empty": {}}
    other["llm"]["scale"] = other["llm"]["scale"].astype(jnp.float32)
    del other["tokenizer"]["kernel"]
    writer = Checkpointer(str(copy), keep=2)
    with pytest.raises(ValueError) as error:
        writer.restore(abstract(other))
    for difference in (
        r"copy/2 is of another architecture than the config: take the one it was trained with (4 differences",
        "tokenizer/kernel is float32[4,6], wanted absent",
        "llm/embed/bias is absent, wanted float32[6]",
        "llm/embed/kernel is float32[4,6], wanted float32[4,7]",
        "llm/scale is bfloat16[6], wanted float32[6]",
    ):
        assert difference in str(error.value)
    with pytest.raises(ValueError, match=r"has the items \[.*'opt'.*\], wanted \['llm'\]"):
        writer.restore({"llm": abstract(make_state(0))["llm"]})
    writer.close()
    assert sorted(os.listdir(copy)) == ["1", "2"], "a checkpoint that does not fit is not a damaged one"


def test_load_items_reads_one_group_and_changes_nothing(copy, caplog):
    shutil.rmtree(copy / "2" / "opt")  # not asked for, so its loss does no harm
    loaded = load_items(str(copy), ["llm", "fm"])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded))
    assert_bit_equal(loaded, {name: make_state(2)[name] for name in ("llm", "fm")})
    placed = load_items(str(copy), ["misc"], abstract=jax.eval_shape(lambda: make_state(0)), step=1)
    assert_bit_equal(placed, {"misc": make_state(1)["misc"]})
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    shutil.rmtree(copy / "2" / "llm")
    assert_bit_equal(load_items(str(copy), ["llm"]), {"llm": make_state(1)["llm"]})
    assert "copy/2 can't be used" in caplog.text
    assert sorted(os.listdir(copy)) == ["1", "2"]
    with pytest.raises(FileNotFoundError, match="no usable checkpoint of step 2"):
        load_items(str(copy), ["llm"], step=2)
    with pytest.raises(ValueError, match=r"wanted \['vocoder'\]"):
        load_items(str(copy), ["vocoder"])
    with pytest.raises(ValueError, match=r"llm/scale is bfloat16\[6\], wanted absent"):
        load_items(str(copy), ["llm"], abstract={"llm": {}})
    with pytest.raises(FileNotFoundError, match="no usable checkpoint in .*nowhere"):
        load_items(str(copy / "nowhere"), ["llm"])


TENSORSTORE_TEXT = "RESOURCE_EXHAUSTED: Error writing ...: No space left on device [os_error_code='28']"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError(TENSORSTORE_TEXT)])
@pytest.mark.parametrize("call", ["save", "wait_until_finished"])
def test_a_full_disk_is_one_clear_error_and_the_writer_goes_on(writer, monkeypatch, error, call):
    def full(*_: object, **__: object) -> None:
        raise error

    writer.save(1, make_state(1), META)
    writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(ocp.AsyncCheckpointer, call, full)
        with pytest.raises(OSError, match=f"no space left on device.*{writer.directory}") as raised:
            writer.save(2, make_state(2), META)
            writer.wait()
        assert raised.value.errno == errno.ENOSPC
    writer._orbax.wait_until_finished()  # what Orbax wrote in spite of the simulated error
    writer.save(3, make_state(3), META)
    step, state, _ = writer.restore(abstract(make_state(0)))
    assert step == 3
    assert_bit_equal(state, make_state(3))


def test_an_error_in_the_background_is_raised_by_the_next_save(writer, monkeypatch):
    def broken(_: object) -> None:
        raise RuntimeError("broken manifest")

    monkeypatch.setattr(checkpoint, "_write_manifest", broken)
    writer.save(1, make_state(1), META)
    with pytest.raises(RuntimeError, match="broken manifest"):
        writer.save(2, make_state(2), META)
