"""Gumbel-softmax: its limits, its gradient, and what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.models.relax import gumbel_softmax

CLASSES = 5
LOGITS = jnp.array([1.0, 0.2, -0.5, 0.7, -2.0])


@pytest.fixture(scope="module")
def noise() -> jax.Array:
    return jax.random.gumbel(jax.random.key(0), (64, CLASSES))


def jacobian(logits: jax.Array, noise: jax.Array, temperature: float, *, hard: bool) -> np.ndarray:
    return np.asarray(jax.jacobian(lambda x: gumbel_softmax(x, noise, temperature, hard=hard))(logits))


def test_without_noise_it_is_the_softmax() -> None:
    got = gumbel_softmax(LOGITS, jnp.zeros(CLASSES), 0.5, hard=False)
    want = np.exp(np.asarray(LOGITS, np.float64) / 0.5)
    np.testing.assert_allclose(got, want / want.sum(), rtol=1e-5)


def test_cold_samples_are_one_hot_and_hot_ones_uniform(noise: jax.Array) -> None:
    logits = jnp.broadcast_to(LOGITS, noise.shape)
    one_hot = np.eye(CLASSES)[np.argmax(logits + noise, axis=-1)]
    np.testing.assert_allclose(gumbel_softmax(logits, noise, 1e-4, hard=False), one_hot, atol=1e-3)
    np.testing.assert_allclose(gumbel_softmax(logits, noise, 1e4, hard=False), 1 / CLASSES, atol=1e-3)


def test_hard_samples_are_one_hot_at_any_temperature(noise: jax.Array) -> None:
    logits = jnp.broadcast_to(LOGITS, noise.shape)
    one_hot = np.eye(CLASSES)[np.argmax(logits + noise, axis=-1)]
    for temperature in (0.1, 1.0, 10.0):
        np.testing.assert_allclose(gumbel_softmax(logits, noise, temperature, hard=True), one_hot, atol=1e-6)


def test_gradient_of_both_is_that_of_the_soft_sample(noise: jax.Array) -> None:
    """d soft_i / d logit_j = soft_i (delta_ij - soft_j) / temperature."""
    for temperature in (0.5, 2.0):
        y = np.exp((np.asarray(LOGITS + noise[0], np.float64)) / temperature)
        y /= y.sum()
        want = (np.diag(y) - np.outer(y, y)) / temperature
        np.testing.assert_allclose(jacobian(LOGITS, noise[0], temperature, hard=False), want, atol=1e-6)
        np.testing.assert_allclose(jacobian(LOGITS, noise[0], temperature, hard=True), want, atol=1e-6)


def test_draws_are_as_frequent_as_the_softmax_says() -> None:
    """Gumbel-max: also at a temperature, which softens the sample but not the choice."""
    count = 20_000
    noise = jax.random.gumbel(jax.random.key(1), (count, CLASSES))
    draws = gumbel_softmax(jnp.broadcast_to(LOGITS, noise.shape), noise, 3.0, hard=True)
    share = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    error = np.abs(np.asarray(draws).mean(axis=0) - share)
    assert np.all(error < 4 * np.sqrt(share * (1 - share) / count))


def test_half_precision_logits_are_relaxed_in_single() -> None:
    half = jnp.bfloat16
    out = gumbel_softmax(LOGITS.astype(half), jnp.zeros(CLASSES, half), 1.0, hard=False)
    assert out.dtype == jnp.float32
    assert float(out.sum()) == pytest.approx(1.0, abs=1e-6)
