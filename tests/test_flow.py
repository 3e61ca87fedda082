"""What the network of the FM puts out, against the path that it has to learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny

from e2etts_jax.models.flow import FlowConfig, FlowModel, path

ROWS = 256


def first_guess(t: float, mel: jax.Array, noise: jax.Array) -> np.ndarray:
    """Velocity that a fresh model, whose output layer is zero, predicts at time `t`."""
    fm, size = tiny().system.fm, mel.shape[1] // tiny().system.frames_per_token
    mask, off = jnp.ones((ROWS, size), bool), jnp.zeros(mel.shape[:2], bool)
    tokens = jnp.zeros((ROWS, size, tiny().system.tokenizer.config.q_width))
    noisy, _ = path(mel, noise, jnp.full(ROWS, t))
    variables = {"params": tiny().fresh["fm"]}
    cond = fm.apply(variables, tokens, mask, method=FlowModel.condition)
    keep, speaker = jnp.ones(ROWS, bool), jnp.zeros((ROWS, fm.config.speaker))
    call = (noisy, jnp.full(ROWS, t), cond, mel, off, speaker, keep, mask)
    return np.asarray(fm.apply(variables, *call, method=FlowModel.velocity))


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_what_is_left_to_the_network_has_unit_variance_at_every_time(t: float):
    """The first guess is the regression of the velocity on the noisy mel; the rest is N(0, 1) / sqrt(t^2 + (1-t)^2)."""
    shape = (ROWS, 2 * tiny().system.frames_per_token, tiny().system.mel.n_mels)
    mel, noise = (jax.random.normal(jax.random.key(seed), shape) for seed in (0, 1))
    noisy, target = (np.asarray(x) for x in path(mel, noise, jnp.full(ROWS, t)))
    guess = first_guess(t, mel, noise)
    slope = (noisy * target).sum() / (noisy**2).sum()
    assert (noisy * guess).sum() / (noisy**2).sum() == pytest.approx(slope, abs=0.04)
    left = (target - guess) * np.sqrt(t**2 + (1 - t) ** 2)
    assert left.std() == pytest.approx(1.0, abs=0.03)
    ends = {0.0: np.asarray(mel), 1.0: -np.asarray(noise)}
    if t in ends:
        np.testing.assert_allclose(left, ends[t], atol=1e-4)


def test_an_unknown_output_is_named():
    with pytest.raises(ValueError, match="fm.predict='mel' is not one of velocity, preconditioned"):
        dataclasses.replace(FlowConfig(), predict="mel")
