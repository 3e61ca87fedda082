"""Which parameter takes which update, and of what size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import fast_jit, tiny

from e2etts_jax import optim
from e2etts_jax.stages import Optimizer
from e2etts_jax.types import GROUPS

MUON = Optimizer(lr=1e-3, decay="constant", weight_decay=0.0, muon=10.0)


def updates(config: Optimizer, group: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The parameters of a group and their first update for a random gradient, by path."""
    params = tiny().params[group]
    rng = np.random.default_rng(1)
    grads = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), params)
    made = optim.make(config, 100)
    moved = fast_jit(lambda g, p: made.update(g, made.init(p), p)[0])(grads, params)
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return {
        "/".join(part.key for part in path): (np.asarray(x), np.asarray(u))
        for (path, x), u in zip(flat, jax.tree.leaves(moved), strict=True)
    }


@pytest.mark.parametrize("group", GROUPS)
def test_muon_moves_the_matrices_of_blocks_alike_in_all_directions(group: str):
    """Adam's first update is of one size everywhere; Muon's has almost equal singular values, RMS 0.2 x rate."""
    moved, taken = updates(MUON, group), []
    for path, (_, update) in moved.items():
        if np.ptp(np.quantile(np.abs(update), (0.1, 0.9))) < 1e-5:
            continue
        taken.append(path)
        assert update.ndim == 3 and path.endswith("kernel")
        for layer in update:
            rms = 0.2 * MUON.muon * MUON.lr  # of an orthogonal matrix, whose entries have one of 1 / sqrt(longer side)
            values = np.linalg.svd(layer / (rms * max(layer.shape) ** 0.5), compute_uv=False)
            assert 0.5 < np.median(values) and values.max() < 1.4, (path, values)
            random = np.linalg.svd(np.random.default_rng(0).standard_normal(layer.shape), compute_uv=False)
            assert values.std() / values.mean() < 0.7 * random.std() / random.mean(), (path, values)
    kernels = {path for path in moved if "blocks" in path and path.endswith("kernel")}
    assert taken and set(taken) == {path for path in kernels if "modulation" not in path and "depthwise" not in path}


def test_without_muon_every_parameter_is_adams():
    config = Optimizer(lr=1e-3, decay="constant", weight_decay=0.0)
    for path, (_, update) in updates(config, "llm").items():
        np.testing.assert_allclose(np.abs(update), 1e-3, atol=5e-5, err_msg=path)


def test_weight_decay_is_the_rate_of_the_parameter_not_of_its_optimizer():
    """lr x decay x parameter for either: Muon's factor on the rate does not decay its matrices faster."""
    plain, decayed = (updates(dataclasses.replace(MUON, weight_decay=decay), "rm") for decay in (0.0, 0.5))
    for path, (value, update) in decayed.items():
        expected = -1e-3 * 0.5 * value if path.endswith("kernel") else np.zeros_like(value)
        np.testing.assert_allclose(update - plain[path][1], expected, atol=2e-6, err_msg=path)


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match="muon -1"):
        Optimizer(lr=1.0, muon=-1)
