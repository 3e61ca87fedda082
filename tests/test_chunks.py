"""Logits a few positions at a time change nothing but the memory they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SIZE, Tiny, batch, build, load, shrink

from e2etts_jax.forward import REFERENCE, forward
from e2etts_jax.models.llm import by_chunk
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import Params

TERMS = ("lm_ce", "lm_z", "kl_ref", "rm_ctc", "rm_ctc_sampled")
PLAN = Plan("llm_gumbel", "llm_gumbel")


def with_chunk(chunk: int) -> Tiny:
    config = shrink(load("joint"))
    config.model.llm.chunk = chunk
    return build(config)


@pytest.mark.parametrize("chunk", [3, 4])
def test_losses_and_gradients_are_those_of_all_positions_at_once(chunk: int):
    whole, parts = with_chunk(0), with_chunk(chunk)
    b, weights = batch(whole), jnp.ones(len(TERMS))
    want = whole.probe(PLAN, TERMS)(whole.params, b, weights)
    assert parts.fresh  # made before the program is traced, which may not compile another
    got = parts.probe(PLAN, TERMS)(whole.params, b, weights)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-5)
    for (path, a), c in zip(jax.tree_util.tree_leaves_with_path(want.grads), jax.tree.leaves(got.grads), strict=True):
        np.testing.assert_allclose(c, a, rtol=1e-3, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_no_array_of_the_program_holds_all_logits():
    t = with_chunk(2)
    rows, vocab, b = 4, t.system.vocab, batch(t)

    def widest(t: Tiny) -> int:
        """Positions of the largest array with a number for each code."""
        needs = tuple({need for name in TERMS for need in t.terms[name].needs})

        def total(params: Params) -> jax.Array:
            out = forward(t.system, params, b, Streams(jax.random.key(0), b.row), PLAN, needs)
            return sum(t.terms[name].fn(out, b).mean for name in TERMS)

        text = str(jax.make_jaxpr(jax.grad(total))({**t.params, REFERENCE: t.params["llm"]}))
        sizes = range(1, 2 * SIZE)
        return max(c for c in sizes for v in (vocab, vocab + 1) if f"f32[{rows},{c},{v}]" in text)

    assert widest(t) == 2 < SIZE <= widest(with_chunk(0))


def test_chunks_are_put_together_in_order():
    x = jnp.arange(2 * 7 * 3.0).reshape(2, 7, 3)
    ids = jnp.arange(14).reshape(2, 7)
    for chunk in (0, 1, 3, 7, 9):
        a, b = by_chunk(lambda x, i: (x * 2, x[..., 0] + i), chunk, x, ids)
        np.testing.assert_array_equal(a, x * 2)
        np.testing.assert_array_equal(b, x[..., 0] + ids)
