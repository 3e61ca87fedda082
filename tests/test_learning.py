"""A small run learns four clips by heart: tones keyed by text. Slower than a smoke test, but it shows that the parts fit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import STEPS, batch, tiny, with_terms

from e2etts_jax.types import GROUPS


def train(stage: Any, params: Any, steps: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Trains on the same four clips. Returns the parameters and each metric over the steps."""
    t = tiny()
    b, s, lines = batch(t, filler=()), t.state(stage, params), []
    for _ in range(steps):
        s, metrics = t.step(stage)(s, b)
        lines.append(metrics)
    return s.params, {name: np.asarray([float(line[name]) for line in lines]) for name in lines[0]}


@pytest.fixture(scope="module")
def joint() -> tuple[Any, dict[str, np.ndarray]]:
    return train(tiny().stages["joint"], tiny().fresh, STEPS)


@pytest.mark.parametrize("term, first, last", [("lm_ce", 4.0, 1.6), ("flow_match", 1.5, 0.95), ("rm_ctc", 5.0, 0.1)])
def test_joint_run_learns(joint: Any, term: str, first: float, last: float):
    """Ignorance costs log(82) = 4.4 nats a token, about 1.7 of velocity, and over 10 nats a character."""
    losses = joint[1][f"loss/{term}"]
    assert losses[0] > first
    assert losses[-20:].mean() < last
    assert joint[1]["guard/skipped"].max() == 0


def test_codes_do_not_collapse(joint: Any):
    assert joint[1]["tokens/used"][-1] >= 8


def test_reward_alone_teaches_the_llm_to_speak(joint: Any):
    """Stage 3 without a next-token loss: what the LLM says, drawn freely, is recognised better and better."""
    t = tiny()
    stage = with_terms(t.stages["chain"], rm_ctc=1.0, rm_ctc_sampled=1.0)
    params, lines = train(stage, joint[0], 60)
    for term in ("rm_ctc", "rm_ctc_sampled"):
        losses = lines[f"loss/{term}"]
        assert losses[-15:].mean() < 0.7 * losses[:5].mean(), (term, losses)
    for group in GROUPS:
        same = all(jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(joint[0][group]), jax.tree.leaves(params[group])))
        assert same == (group != "llm")
