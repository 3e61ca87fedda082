"""The real TPU compiler on the shrunken recipe. Needs libtpu, which launch/test.sh installs beside the environment."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="no libtpu")
LIBTPU = Path(__file__).parents[2] / ".venv" / "libtpu" / "libtpu" / "libtpu.so"


def compile_stage(root: Path, *flags: str, library: Path | None = LIBTPU) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "tests")))}
    env |= {"TPU_LIBRARY_PATH": str(library)} if library else {}
    command = [sys.executable, "-m", "e2etts_jax.aot", "--config=tests/aot/config.py", *flags]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_a_stage_compiles_for_two_slices(repo_root: Path, tmp_path: Path):
    done = compile_stage(
        repo_root, "--topology=v5e:2x2", "--slices=2", "--stage=1", f"--json={tmp_path / 'steps.jsonl'}"
    )
    assert done.returncode == 0, done.stderr
    assert "8 x TPU v5 lite, mesh {'data': 2, 'fsdp': 4, 'tensor': 1}, 2 slice(s)" in done.stdout
    (n,) = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert n["stage"] == "joint" and 0 < n["memory"] < n["limit"] == 16 * 2**30
    assert n["weights"] < n["optimizer"] < 2.1 * n["weights"], "one moment (Muon) or two of a shard"
    kinds = {(c["kind"], c["across"]) for c in n["collectives"]}
    assert ("all-gather", False) in kinds and ("send", True) in kinds
    assert not [c for c in n["collectives"] if c["across"] and c["kind"] == "all-gather"]
    assert 0 < n["mfu"] <= 1 and "estimate" in done.stdout


@pytest.mark.slow
def test_a_step_that_does_not_fit_names_its_largest_arrays(repo_root: Path):
    flags = ("--topology=v5e:2x2", "--stage=joint", "--config.stages.joint.batch_size=1600000")
    done = compile_stage(repo_root, *flags)
    assert done.returncode == 1
    assert "joint: does not fit" in done.stdout and "exceeds available HBM" in done.stdout
    assert "float32[1600000,32,1024]" in done.stdout and "complex64" not in done.stdout
    assert done.stderr.strip().endswith("or shard by more (mesh.shape)")
    assert "Traceback" not in done.stderr


def test_wrong_names_are_one_line(repo_root: Path):
    for flags, words in (
        (("--topology=v5e:3x5",), "--topology=v5e:3x5 can't be had"),
        (("--stage=last",), "--stage=last: the run has joint, tune, chain"),
    ):
        done = compile_stage(repo_root, *flags)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_without_libtpu_it_says_how_to_get_it(repo_root: Path):
    done = compile_stage(repo_root, library=None)
    assert done.returncode == 1 and "pip install 'jax[tpu]'" in done.stderr and "Traceback" not in done.stderr
