"""Every corpus that a config can name trains two steps from config alone; those that must be downloaded are mocked."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
from faults.config import get_config

sys.path.append(str(Path(__file__).parent / "data"))
from mocks import mocked

from e2etts_jax import train
from e2etts_jax.data import catalog

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [*sorted(catalog.BUNDLED), *sorted(catalog.TFDS), "numbers=0.5,asterisk_en=0.5"])
def test_two_steps_from_config_alone(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    c = get_config(str(tmp_path_factory.getbasetemp() / "corpora"))  # bundled ones are built once
    c.data.dataset, c.data.buckets, c.data.max_text = name, (80,), 64
    c.mesh.shape = (-1, 1, 1)
    c.run, c.infer.max_tokens = ("tune",), 4
    c.stages.tune.update({"steps": 2, "batch_size": 8, "train": ("llm", "rm")})
    c.stages.tune.terms.update({"flow_match": 0.0, "recon_mel": 0.0})
    with mocked() if name in catalog.TFDS else contextlib.nullcontext():
        train.run(c, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss/lm_ce" in line]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(line["loss/lm_ce"] > 0 and line["guard/skipped"] == 0 for line in steps)
    assert all(0 <= line["perf/padding"] < 1 and "perf/input_share" in line for line in steps)
    assert any("val/lm_ce" in line for line in lines)
