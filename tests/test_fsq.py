"""Finite scalar quantisation against its formula: h = round(0.999 tanh z), id = sum of (h_j + 1) 3^j."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.models import fsq

DIMS, CODES = 8, 6561


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    """Encoder outputs that reach every level, and the edges of the middle one."""
    edge = np.arctanh(0.5 / 0.999)
    some = np.random.default_rng(0).normal(0, 1.5, (500, DIMS))
    edges = np.array([[edge + 1e-3, edge - 1e-3, -edge + 1e-3, -edge - 1e-3, 0.0, 50.0, -50.0, 1e-4]])
    return np.concatenate([edges, some]).astype(np.float32)


def by_hand(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels in -1, 0, 1 and ids, in double precision."""
    levels = np.round(0.999 * np.tanh(z.astype(np.float64)))
    return levels, sum((levels[:, j] + 1) * 3**j for j in range(z.shape[1])).astype(int)


def test_levels_and_ids_are_those_of_the_formula(z: np.ndarray) -> None:
    levels, ids = by_hand(z)
    assert set(np.unique(levels)) == {-1, 0, 1}
    assert levels[0].tolist() == [1, 0, 0, -1, 0, 1, -1, 0]
    codes = fsq.quantize(jnp.asarray(z))
    np.testing.assert_allclose(codes, levels, atol=1e-7)
    np.testing.assert_array_equal(fsq.ids(codes), ids)


def test_ids_are_where_the_grid_says() -> None:
    """Every code, by id, and every id, by code."""
    grid = fsq.grid(DIMS)
    assert grid.shape == (CODES, DIMS) and grid.dtype == np.float32
    assert grid[0].tolist() == [-1] * 8
    assert grid[1].tolist() == [0, -1, -1, -1, -1, -1, -1, -1]
    assert grid[5].tolist() == [1, 0, -1, -1, -1, -1, -1, -1]
    assert grid[-1].tolist() == [1] * 8
    np.testing.assert_array_equal(fsq.ids(jnp.asarray(grid)), np.arange(CODES))


def test_grid_codes_survive_quantisation() -> None:
    """A code taken as encoder output (far from the edges) quantises to itself."""
    grid = fsq.grid(DIMS)
    np.testing.assert_allclose(fsq.quantize(jnp.asarray(grid) * 3), grid, atol=1e-7)


def test_other_odd_levels() -> None:
    grid = fsq.grid(3, levels=5)
    assert grid.shape == (125, 3) and sorted(set(grid.ravel().tolist())) == [-1, -0.5, 0, 0.5, 1]
    np.testing.assert_array_equal(fsq.ids(jnp.asarray(grid), 5), np.arange(125))
    np.testing.assert_allclose(fsq.quantize(jnp.asarray([[0.3, -0.8, 9.0]]), 5), [[0.5, -0.5, 1.0]], atol=1e-7)


def test_gradient_is_that_of_the_bound(z: np.ndarray) -> None:
    """Straight through: the gradient of 0.999 tanh, whatever was rounded; so is that of the continuous warm-up."""
    weight = jnp.asarray(np.random.default_rng(1).normal(size=z.shape), jnp.float32)
    want = np.asarray(weight, np.float64) * 0.999 * (1 - np.tanh(z.astype(np.float64)) ** 2)
    for make in (fsq.quantize, fsq.bound):
        got = jax.grad(lambda x, make=make: jnp.sum(weight * make(x)))(jnp.asarray(z))
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_no_gradient_runs_through_ids(z: np.ndarray) -> None:
    codes = fsq.quantize(jnp.asarray(z))
    grad = jax.grad(lambda x: jnp.sum(fsq.ids(x).astype(jnp.float32)))(codes)
    assert not np.any(grad)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_levels_without_a_zero_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match=f"odd number of levels, 3 or more .got {levels}"):
        fsq.quantize(jnp.zeros((1, DIMS)), levels)
