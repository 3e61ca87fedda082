"""Which group each loss reaches, along every way between the models, and that the gradients are right.

The parameters are those of `Tiny.params`: with the zeros of a fresh FM nothing would reach beyond its last layer.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny, batch, norms, tiny

from e2etts_jax.forward import scale_gradient
from e2etts_jax.stages import Plan
from e2etts_jax.types import GROUPS


@dataclasses.dataclass(frozen=True)
class Route:
    """A plan, the terms computed under it, and the system it needs."""

    plan: Plan
    terms: tuple[str, ...]
    arg: str = "tiny"

    @property
    def tiny(self) -> Tiny:
        return tiny("joint", self.arg)


# test_padding.py uses most of these too: a program is compiled once.
ROUTES = {
    "codes": Route(
        Plan(continuous_steps=5, fm_crop_tokens=6, fm_chunks=(2,), fm_unroll_steps=2),
        ("lm_ce", "kl_ref", "flow_match", "recon_mel", "rm_ctc", "rm_spk"),
    ),
    "detached": Route(
        Plan("codes_detached", "codes_detached", lm_into_tokenizer=0.0), ("lm_ce", "kl_ref", "flow_match", "rm_ctc")
    ),
    "drawn": Route(Plan("llm_gumbel", "llm_gumbel", fm_crop_tokens=6), ("flow_match", "rm_ctc")),
    "sampled": Route(Plan(), ("rm_ctc_sampled",)),
    "mixed": Route(
        Plan("llm_gumbel", "llm_gumbel", gumbel_hard=False, continuous_steps=5), ("flow_match", "rm_ctc", "rm_spk")
    ),
    "hidden": Route(
        Plan("llm_hidden", "llm_gumbel", lm_into_tokenizer=0.0), ("flow_match", "rm_spk"), "tiny,model.fm.cond_hidden=1"
    ),
    "noisy": Route(Plan("codes_detached", "codes", rm_noise_db=(5.0, 30.0)), ("flow_match", "rm_ctc")),
}
CASES = [(name, term) for name, route in ROUTES.items() for term in route.terms]

# What the paper says, beside what losses.py declares: the two may not drift together.
PAPER = {
    ("codes", "lm_ce"): {"tokenizer", "llm"},
    ("codes", "flow_match"): {"tokenizer", "fm"},
    ("codes", "recon_mel"): {"tokenizer", "fm"},
    ("codes", "rm_ctc"): {"tokenizer", "rm"},
    ("detached", "lm_ce"): {"llm"},
    ("detached", "flow_match"): {"fm"},
    ("detached", "rm_ctc"): {"rm"},
    ("drawn", "flow_match"): {"tokenizer", "llm", "fm"},
    ("drawn", "rm_ctc"): {"tokenizer", "llm", "rm"},
    ("sampled", "rm_ctc_sampled"): {"llm", "rm"},
    ("hidden", "flow_match"): {"llm", "fm"},
    ("noisy", "rm_ctc"): {"tokenizer", "rm"},
}


def one_hot(route: Route, term: str) -> jax.Array:
    return jnp.eye(len(route.terms))[route.terms.index(term)]


@pytest.mark.parametrize("name, term", CASES)
def test_gradient_reaches_exactly_the_declared_groups(name: str, term: str):
    route = ROUTES[name]
    t = route.tiny
    reached = norms(t.probe(route.plan, route.terms)(t.params, batch(t), one_hot(route, term)).grads)
    declared = t.terms[term].groups(route.plan)
    for group in GROUPS:
        if group in declared:
            assert reached[group] > 1e-3, f"{term} declares {group}, but its gradient there is {reached[group]}"
        else:
            assert reached[group] == 0.0, f"{term} does not declare {group}, but its gradient there is {reached[group]}"
    assert declared == PAPER.get((name, term), declared)


@pytest.mark.parametrize("group", ["llm", "rm", "tokenizer"])
def test_rows_of_unknown_speakers_have_no_speaker_loss(group: str):
    route = ROUTES["codes"]
    t = route.tiny
    b = batch(t)
    nobody = b.replace(speaker_mask=jnp.zeros_like(b.speaker_mask))
    made = t.probe(route.plan, route.terms)(t.params, nobody, one_hot(route, "rm_spk"))
    assert made.values[route.terms.index("rm_spk")] == 0.0
    assert norms(made.grads)[group] == 0.0


SMOOTH = [
    (name, term, group)
    for name in ("codes", "mixed")
    for term in ROUTES[name].terms
    for group in GROUPS
    if group in tiny().terms[term].groups(ROUTES[name].plan)
    and (term, group) != ("kl_ref", "tokenizer")  # its reference moves too, and that movement is no gradient by design
]


@pytest.mark.parametrize("name, term, group", SMOOTH)
def test_gradient_equals_finite_differences(name: str, term: str, group: str):
    """Codes before rounding and soft mixtures make the way smooth, so that a difference of losses is a slope."""
    route = ROUTES[name]
    t = route.tiny
    probe, b, which = t.probe(route.plan, route.terms), batch(t), route.terms.index(term)
    weights = one_hot(route, term)
    here = probe(t.params, b, weights, 0)
    gradient = here.grads[group]
    rng = np.random.default_rng(0)
    # along the gradient, every entry weighed at random: a slope that fp32 resolves, and one no wrong leaf can mimic
    uphill = jax.tree.map(lambda x: x * rng.uniform(0.0, 1.0, x.shape).astype(np.float32), gradient)
    length = optax.tree.norm(uphill)
    uphill = jax.tree.map(lambda x: x / length, uphill)
    slope = float(optax.tree.vdot(gradient, uphill))
    # curvature shows in larger steps, rounding in smaller ones; tokens flip, and an L1 has kinks, in larger ones too
    reach = min(0.003 / slope, 0.0002 if term in ("lm_ce", "recon_mel") else 0.001)

    def moved(by: float) -> float:
        shifted = jax.tree.map(lambda x, d: x + by * d, t.params[group], uphill)
        there = probe({**t.params, group: shifted}, b, weights, 0)
        if term in ("lm_ce", "kl_ref"):  # the next tokens are targets
            assert jnp.array_equal(there.ids, here.ids), "a token flipped: that is a jump, take a smaller step"
        return float(there.values[which])

    assert (moved(reach) - moved(-reach)) / (2 * reach) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("row", [0, 1])
def test_llm_sees_the_past_alone(row: int):
    """Prediction t depends on tokens before t, on each of them, and on no other; nor on what lies behind the end."""
    t = tiny()
    params, b, llm, vocab = t.params["llm"], batch(t), t.system.llm, t.system.vocab
    length = b.token_len(t.system.samples_per_token)
    size, width = b.wav.shape[1] // t.system.samples_per_token, t.system.tokenizer.config.q_width
    keys = jax.random.split(jax.random.key(1), 4)
    q, codebook = jax.random.normal(keys[0], (len(length), size, width)), jax.random.normal(keys[1], (vocab, width))
    ids, mix = jnp.zeros((len(length), size), jnp.int32), jax.random.normal(keys[2], (size + 1, vocab + 1))

    @jax.jit
    @jax.jacrev
    def influence(q_row: jax.Array) -> jax.Array:
        history = q.at[row].set(q_row)
        logits, _ = llm.apply({"params": params}, b.text, b.text_len, history, ids, length, codebook)
        return jnp.sum(logits[row] * mix, axis=-1)

    seen = np.abs(np.asarray(influence(q[row]))).sum(-1)  # [T+1, T]
    valid = int(length[row])
    for at in range(valid + 1):
        assert (seen[at, :at] > 1e-5).all(), f"prediction {at} misses a token before it: {seen[at]}"
        assert (seen[at, at:] == 0.0).all(), f"prediction {at} sees a token that is not before it: {seen[at]}"
    assert (seen[: valid + 1, valid:] == 0.0).all(), "a prediction sees what lies behind the end of the clip"


def test_scaled_gradient_leaves_the_value():
    x = jnp.array([1.0, -3.0])
    for factor in (0.0, 0.25, 1.0):
        value, slope = jax.value_and_grad(lambda x, f=factor: jnp.sum(scale_gradient(x, f) ** 2))(x)
        assert value == 10.0
        np.testing.assert_allclose(slope, factor * 2 * x, rtol=1e-6)
