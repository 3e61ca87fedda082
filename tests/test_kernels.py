"""Fused attention against plain attention, and what rematerialisation keeps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import batch, build, load, shrink

from e2etts_jax import sharding
from e2etts_jax.models import kernels
from e2etts_jax.models.attention import Attention, Cache
from e2etts_jax.models.layers import REMAT, stack
from e2etts_jax.models.qwen3 import DecoderBlock, DecoderConfig


def inputs(rows: int, size: int, heads: int, groups: int) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Queries, keys and values, and a mask with padding in the middle and at the end."""
    rng = np.random.default_rng(size)
    parts = [jnp.asarray(rng.standard_normal((rows, size, n, 32)), jnp.float32) for n in (heads, groups, groups)]
    valid = np.ones((rows, size), bool)
    valid[0, size - 20 :] = False
    valid[1, 40:60] = False
    return tuple(parts), jnp.asarray(valid)


def loss(attend: Any, valid: jax.Array) -> Any:
    """A number that reads no padded query, and its gradients."""
    return jax.value_and_grad(lambda q, k, v: jnp.sum(jnp.sin(attend(q, k, v)) * valid[:, :, None, None]), (0, 1, 2))


@pytest.mark.parametrize("causal, size, groups, chunk", [(False, 100, 4, 0), (True, 200, 2, 0), (False, 200, 4, 48)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2)])
def test_splash_is_plain_attention(causal: bool, size: int, groups: int, chunk: int, shape: tuple[int, ...]):
    arrays, valid = inputs(4, size, 4, groups)
    chunks = kernels.Chunks(jnp.int32(chunk), (0, 48))
    plain = functools.partial(kernels.attend, mask=valid[:, None], causal=causal, kernel="xla", chunks=chunks)
    fused = functools.partial(kernels._splash, valid=valid, causal=causal, chunk=chunk, interpret=True)
    want, gradients = jax.jit(loss(plain, valid))(*arrays)
    rules = sharding.rules_of(load("joint").mesh.rules)
    with jax.set_mesh(sharding.make_mesh(shape)), nn.logical_axis_rules(rules):
        got, others = jax.jit(loss(fused, valid))(*arrays)
    assert float(got) == pytest.approx(float(want), rel=1e-5)
    for a, b in zip(gradients, others, strict=True):
        np.testing.assert_allclose(b, a, atol=2e-5)


@pytest.mark.parametrize("size", [0, 1, 4, 100])
def test_a_place_sees_its_chunk_and_those_before_it(size: int):
    seen = np.asarray(kernels._in_chunks(10, jnp.int32(size)))
    for place, key in np.ndindex(10, 10):
        assert seen[place, key] == (size == 0 or key // size <= place // size)


def test_a_fused_kernel_is_chosen_by_the_size_at_hand():
    called = lambda *_, chunk: jnp.int32(chunk)  # noqa: E731
    run = jax.jit(lambda size: kernels._each(kernels.Chunks(size, (0, 24, 48)), called, jnp.zeros(1)))
    assert [int(run(size)) for size in (0, 24, 48)] == [0, 24, 48]
    assert int(kernels._each(None, called, jnp.zeros(1))) == 0


def test_the_kernel_is_chosen_by_name():
    assert kernels.choose("auto") == "xla", "on a CPU"
    assert kernels.choose("splash") == "splash"
    with pytest.raises(ValueError, match="attention 'flash' is not one of auto, xla, splash, cudnn"):
        kernels.choose("flash")


def test_a_system_for_a_tpu_asks_for_its_kernel():
    config = shrink(load("joint"))
    config.attention = "splash"
    t = build(config)
    for part in (t.system.tokenizer, t.system.rm, t.system.llm, t.system.fm):
        assert part.config.attention == "splash"
    assert t.system.rm.config.conformer.attention == "splash"


def test_cached_attention_sees_what_causal_attention_sees():
    module = Attention(2, 1, 16, jnp.float32, causal=True)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 24)), jnp.float32)
    places, mask = jnp.broadcast_to(jnp.arange(6)[None], (2, 6)), jnp.ones((2, 1, 6), bool)
    variables = module.init(jax.random.key(0), x, places, mask)
    whole, _ = module.apply(variables, x, places, mask)
    empty = jnp.zeros((2, 1, 6, 16))
    first, cache = module.apply(variables, x[:, :4], places[:, :4], mask, Cache(empty, empty), 0)
    rest, _ = module.apply(variables, x[:, 4:], places[:, 4:], mask, cache, 4)
    np.testing.assert_allclose(jnp.concatenate([first, rest], axis=1), whole, atol=1e-6)


def kept(policy: str) -> int:
    """Numbers that a layer keeps for its backward pass."""
    config = DecoderConfig(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, ff=64, remat=policy)
    x, places, mask = jnp.ones((2, 8, 32)), jnp.zeros((2, 8), jnp.int32), jnp.ones((2, 1, 8), bool)
    blocks = stack(DecoderBlock, config, broadcast=3, carry_cache=True)(config, jnp.float32)
    variables = nn.unbox(blocks.init(jax.random.key(0), x, None, places, mask, 0))
    backward = jax.eval_shape(
        lambda x: jax.vjp(lambda x: blocks.apply(variables, x, None, places, mask, 0)[0], x)[1], x
    )
    return sum(leaf.size for leaf in jax.tree.leaves(backward))


def test_policies_keep_less_and_less():
    sizes = {name: kept(name) for name in REMAT}
    assert sizes["none"] > sizes["linear"] > sizes["attention"] > sizes["full"], sizes


@pytest.mark.parametrize("policy", ["full", "attention", "linear"])
def test_policies_change_no_gradient(policy: str):
    def gradients(remat: str) -> Any:
        config = shrink(load("joint"))
        for part in config.model.values():
            part.remat, part.layers = remat, 2
        t = build(config)
        plan, names = t.stages["joint"].plan, ("lm_ce", "flow_match", "rm_ctc")
        return t.probe(plan, names)(t.params, batch(t), jnp.ones(3)).grads

    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(gradients("none")), jax.tree.leaves(gradients(policy)), strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match="remat 'some' is not one of none, full, attention, linear"):
        kept("some")
