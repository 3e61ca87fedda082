"""A small run learns four clips by heart, tones keyed by text: the parts fit and the gradients pull together."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from tiny import STEPS, batch, same_bits, tiny, with_terms

from e2etts_jax.stages import Optimizer, Stage
from e2etts_jax.types import GROUPS


def train(stage: Stage, params: Any, steps: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Trains on the same four clips. Returns the parameters and each metric over the steps."""
    t = tiny()
    b, s, lines = batch(t, filler=()), t.state(stage, params), []
    for _ in range(steps):
        s, metrics = t.step(stage)(s, b)
        lines.append(metrics)
    return s.params, {name: np.asarray([float(line[name]) for line in lines]) for name in lines[0]}


@pytest.fixture(scope="module")
def joint() -> tuple[Any, dict[str, np.ndarray]]:
    steps = STEPS + 60  # after 120 the loss of the LLM is about 1.6, above or below by how the CPU rounds
    return train(dataclasses.replace(tiny().stages["joint"], steps=steps), tiny().fresh, steps)


LEARNED = {
    "lm_ce": (4.0, 1.6),
    "flow_match": (1.4, 1.0),
    "recon_mel": (0.7, 0.3),
    "rm_ctc": (8.0, 0.2),
    "rm_spk": (0.8, 0.05),
}


@pytest.mark.parametrize("term", LEARNED)
def test_joint_run_learns(joint: Any, term: str):
    """Ignorance costs log(82) = 4.4 nats a token and over 10 nats a character."""
    losses, (first, last) = joint[1][f"loss/{term}"], LEARNED[term]
    assert losses[0] > first
    assert losses[-20:].mean() < last
    assert joint[1]["guard/skipped"].max() == 0


def test_codes_do_not_collapse(joint: Any):
    assert joint[1]["tokens/used"][-1] >= 8


def test_reward_alone_teaches_the_llm_to_speak(joint: Any):
    """Stage 3 without a next-token loss: what the LLM says, on its own history too, is recognised better and better."""
    t = tiny()
    stage = with_terms(t.stages["chain"], rm_ctc=1.0, rm_ctc_sampled=1.0)
    stage = dataclasses.replace(stage, steps=200, optimizers={"llm": Optimizer(lr=3e-3)})
    params, lines = train(stage, joint[0], stage.steps)
    for term in ("rm_ctc", "rm_ctc_sampled"):
        losses = lines[f"loss/{term}"]
        assert losses[-20:].mean() < 0.6 * losses[:20].mean(), (term, losses)
    for group in GROUPS:
        assert same_bits(joint[0][group], params[group]) == (group != "llm")
