"""The notebook, from top to bottom on a CPU: its code cells in one program, as a kernel would run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numbers_data import make_numbers

NOTEBOOK = Path(__file__).parents[2] / "launch" / "colab_smoke.ipynb"
CELLS = """
import json, sys
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), globals())
"""


def run(folder: Path, **env: str) -> subprocess.CompletedProcess:
    given = os.environ | {"E2ETTS_SMOKE": "1", "E2ETTS_SMOKE_INSTALL": "0", "MPLBACKEND": "agg", **env}
    command = [sys.executable, "-c", CELLS, str(NOTEBOOK)]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=500)


def test_it_is_saved_without_output():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path, repo_root: Path):
    made = make_numbers(tmp_path / "data")
    done = run(
        repo_root / "launch",  # it finds the checkout that it lies in
        CONFIG=f"tests/launch/config.py:{made}",
        WORKDIR=str(tmp_path / "run"),
        PYTHONPATH=os.pathsep.join((str(repo_root), str(repo_root / "tests"))),
        JAX_NUM_CPU_DEVICES="1",
        XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "mine.wav").stat().st_size > 1000
    assert "\nloss/lm_ce " in done.stdout and "e2etts_jax.synthesize" in done.stdout


def test_it_asks_for_the_address_of_the_repository(tmp_path: Path):
    done = run(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("This is no checkout: set REPO")


def test_it_shows_what_went_wrong(tmp_path: Path):
    done = run(NOTEBOOK.parent, CONFIG="configs/nothing.py", WORKDIR=str(tmp_path / "run"))
    assert done.returncode == 1 and "error: " in done.stdout and "ended with 1" in done.stderr
