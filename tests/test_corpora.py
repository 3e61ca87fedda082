"""Every corpus that a config can name trains two steps from config alone; those that must be downloaded are mocked."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from faults.config import get_config
from mocks import mocked

from e2etts_jax import train
from e2etts_jax.data import catalog, sources
from e2etts_jax.infer.synthesizer import VOICE

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


class Voices(list):
    """A source of clips."""

    def speaker(self, i: int) -> np.ndarray | None:
        return self[i].speaker


def test_a_run_on_many_voices_keeps_one_to_speak_with(tmp_path: Path):
    vector = np.arange(256, dtype=np.float32)
    clips = [sources.Clip(np.zeros(9, np.int16), None), sources.Clip(np.zeros(9, np.int16), vector)]
    source = Voices(clips)
    c = get_config("")
    assert train.keep_voice(str(tmp_path), c, source) is None and not list(tmp_path.iterdir())
    c.data.dataset = "my/prepared"
    np.testing.assert_array_equal(train.keep_voice(str(tmp_path), c, source), vector)
    np.testing.assert_array_equal(np.load(tmp_path / VOICE), vector)
