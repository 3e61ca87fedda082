"""A shrunken system with parameters as if it had been trained, its synthesizer, a run that saved it, and recordings."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import Tiny, build, load, shrink

from e2etts_jax.checkpoint import Checkpointer
from e2etts_jax.infer.synthesizer import Synthesizer


def small_config() -> ConfigDict:
    c = shrink(load("joint"))
    c.infer.max_tokens, c.infer.ode_steps = 12, 2
    return c


@pytest.fixture(scope="session")
def built() -> Tiny:
    return build(small_config())


@pytest.fixture(scope="session")
def speaker() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(8).astype(np.float32)


@pytest.fixture(scope="session")
def synthesizer(built: Tiny, speaker: np.ndarray) -> Synthesizer:
    return Synthesizer(built.config, built.params, speaker=speaker)


@pytest.fixture(scope="session")
def tones() -> list[np.ndarray]:
    """Three recordings of 3000 to 8192 samples (1024 a token)."""
    made: list[Any] = []
    for i, samples in enumerate((8192, 3000, 5121)):
        t = np.arange(samples) / 22050
        made.append((0.3 * np.sin(2 * np.pi * 220 * (i + 1) * t * (1 + 0.3 * t))).astype(np.float32))
    return made


@pytest.fixture(scope="session")
def workdir(built: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with joint (2 steps saved) and tune; the LLM's first weight is the step. chain is unfinished."""
    folder = tmp_path_factory.mktemp("run")
    config = json.loads(built.config.to_json())
    config["data"]["dataset"] = "many_voices"  # whose speaker vector is zeros of any size
    (folder / "config.json").write_text(json.dumps(config))
    for stage, steps in {"joint": (1, 2), "tune": (3,)}.items():
        saver = Checkpointer(str(folder / "checkpoints" / stage), keep=2)
        for step in steps:
            llm = {**built.params["llm"], "control": built.params["llm"]["control"].at[0, 0].set(step)}
            misc = {"step": jnp.int32(step)}
            saver.save(step, {**built.params, "llm": llm, "frozen": {}, "opt": {}, "misc": misc}, {"stage": stage})
        saver.close()
    (folder / "checkpoints" / "chain" / "9").mkdir(parents=True)
    return folder
