"""The Euler solver against what can be computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.models.ode import cosine_times, euler


def grow(rate: float | jax.Array, steps: int, **options: bool) -> jax.Array:
    """Solves dx/dt = rate x from two starting points."""
    return euler(lambda x, t: rate * x, jnp.array([1.0, -2.0]), cosine_times(steps), **options)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_growth_is_the_product_of_its_steps(steps: int) -> None:
    spans = np.diff(1 - np.cos(np.pi / 2 * np.arange(steps + 1) / steps))
    want = np.prod(1 + 0.7 * spans) * np.array([1.0, -2.0])
    np.testing.assert_allclose(grow(0.7, steps), want, rtol=1e-6)


def test_growth_converges_to_the_exponential_at_first_order() -> None:
    coarse, fine = (abs(float(grow(0.7, steps)[0]) - np.exp(0.7)) for steps in (32, 64))
    assert fine < 0.01
    assert coarse / fine == pytest.approx(2.0, abs=0.05)


def test_the_field_is_read_at_the_start_of_each_step() -> None:
    times = np.array([0.0, 0.1, 0.4, 1.0], np.float32)
    got = euler(lambda x, t: t * jnp.ones_like(x), jnp.zeros(3), times)
    np.testing.assert_allclose(got, np.full(3, 0.0 * 0.1 + 0.1 * 0.3 + 0.4 * 0.6), rtol=1e-6)


def test_remat_changes_no_value_and_no_gradient() -> None:
    """d/da of the product of (1 + a s_i) is the product times the sum of s_i / (1 + a s_i)."""
    spans = np.diff(cosine_times(6)).astype(np.float64)
    want = np.prod(1 + 0.7 * spans) * np.sum(spans / (1 + 0.7 * spans))
    for remat in (False, True):
        value, grad = jax.value_and_grad(lambda a, remat=remat: grow(a, 6, remat=remat)[0])(0.7)
        np.testing.assert_allclose(value, np.prod(1 + 0.7 * spans), rtol=1e-6)
        np.testing.assert_allclose(grad, want, rtol=1e-6)


def test_remat_keeps_only_the_points_of_the_path() -> None:
    """What the backward pass keeps of each step: with remat one array like `x`, without it the field's insides."""
    steps, size = 5, 7

    def kept(remat: bool) -> int:
        def loss(x: jax.Array) -> jax.Array:
            field = lambda x, t: jnp.tanh(jnp.sin(jnp.exp(x)) * t)  # noqa: E731
            return euler(field, x, cosine_times(steps), remat=remat).sum()

        backward = jax.vjp(loss, jnp.ones(size))[1]
        return sum(leaf.size for leaf in jax.tree.leaves(backward) if leaf.shape[:1] == (steps,) and leaf.ndim == 2)

    assert kept(True) == steps * size
    assert kept(False) > 2 * steps * size


def test_times_are_a_cosine_finer_near_the_noise() -> None:
    times = cosine_times(10)
    assert times.dtype == np.float32 and times.shape == (11,)
    assert times[0] == 0.0 and times[-1] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(times, 1 - np.cos(np.pi / 2 * np.arange(11) / 10), atol=1e-6)
    assert np.all(np.diff(times, n=2) > 0)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one step, got 0"):
        cosine_times(0)
