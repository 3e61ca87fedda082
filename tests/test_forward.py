"""What optional parts of a batch do: prompts of zero-shot pairs, and audio that only the RM hears."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny, batch, fast_jit, tiny

from e2etts_jax.forward import Wiring
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import Batch


@pytest.fixture(scope="module")
def t() -> Tiny:
    return tiny()


def crop(t: Tiny, b: Batch, plan: Plan) -> Any:
    """The FM's window, as numpy."""

    def run(params: Any, b: Batch) -> Any:
        return Wiring(t.system, params, b, Streams(jax.random.key(3), b.row), plan, jnp.int32(0), 1).made("crop")

    return jax.tree.map(np.asarray, fast_jit(run)(t.params, b))


def test_the_first_clip_of_a_pair_is_the_prompt_of_the_fm(t: Tiny):
    b, spt = batch(t, filler=()), t.system.samples_per_token
    paired = b.replace(prompt_len=jnp.array([3, 0, 2, 0]) * spt)
    frames = t.system.frames_per_token
    with_, without = crop(t, paired, Plan()), crop(t, b, Plan())
    prompts = with_.prompt_mask.sum(axis=1)
    assert prompts[[0, 2]].tolist() == [3 * frames, 2 * frames]
    np.testing.assert_array_equal(prompts[[1, 3]], without.prompt_mask.sum(axis=1)[[1, 3]])
    assert not (with_.loss_mask & with_.prompt_mask).any()
    lengths = np.asarray(b.token_len(spt)) * frames
    np.testing.assert_array_equal(with_.loss_mask.sum(axis=1) + prompts, lengths)


def test_a_window_shows_what_is_left_of_the_prompt(t: Tiny):
    b, spt, window = batch(t, filler=()), t.system.samples_per_token, 3
    paired = b.replace(prompt_len=jnp.full(4, 4 * spt))
    plan = Plan(fm_crop_tokens=window)
    made, marked = crop(t, paired, plan), crop(t, paired.replace(wav=paired.wav * 0), plan)
    assert made.prompt_mask.shape == marked.prompt_mask.shape == (4, window * t.system.frames_per_token)
    shown = made.loss_mask.any(axis=1)
    assert shown.all(), "a window that lies inside the prompt is trained on as any other"


def test_the_fm_attends_in_the_chunks_of_the_plan(t: Tiny):
    b, weights, names = batch(t, filler=()), jnp.ones(2), ("flow_match", "recon_mel")
    chunked = lambda *sizes: t.probe(Plan(fm_unroll_steps=1, fm_chunks=sizes), names)(t.params, b, weights).values  # noqa: E731
    whole, chunks, either = chunked(), chunked(2), chunked(0, 2)
    assert np.abs(whole - chunks).min() > 1e-5
    assert np.array_equal(either, whole) or np.array_equal(either, chunks), "one size for both terms and all rows"
    np.testing.assert_array_equal(chunked(0), whole)


@pytest.mark.parametrize("changed", [{"rm_noise_db": (-5.0, 0.0)}, {"rm_speed": (0.8, 1.25)}], ids=["noise", "speed"])
def test_only_the_rm_hears_noise_and_other_speeds(t: Tiny, changed: dict[str, Any]):
    b, weights = batch(t, filler=()), jnp.ones(3)
    plan, names = Plan("codes_detached", "codes_detached"), ("rm_ctc", "flow_match", "lm_ce")
    plain = t.probe(plan, names)(t.params, b, weights).values
    other = t.probe(dataclasses.replace(plan, **changed), names)(t.params, b, weights).values
    assert abs(float(other[0] - plain[0])) > 1e-3
    np.testing.assert_allclose(other[1:], plain[1:], rtol=1e-6)
    same = t.probe(dataclasses.replace(plan, rm_speed=(1.0,)), names)(t.params, b, weights).values
    np.testing.assert_allclose(same, plain, rtol=1e-5)


def test_whole_numbers_are_heard_as_floats(t: Tiny):
    b, weights = batch(t), jnp.ones(3)
    whole = b.replace(wav=jnp.round(b.wav * 32768).astype(jnp.int16))
    run = t.probe(Plan("codes_detached", "codes_detached"), ("rm_ctc", "flow_match", "lm_ce"))
    back = b.replace(wav=whole.wav.astype(jnp.float32) / 32768)
    np.testing.assert_array_equal(run(t.params, whole, weights).values, run(t.params, back, weights).values)


@pytest.mark.parametrize("speed", [(0.4,), (0.9, 2.1), (0.123, 1.0), (1.005,)])
def test_impossible_speeds_are_refused(speed: tuple[float, ...]):
    with pytest.raises(ValueError, match="plan.rm_speed is factors from 0.5 to 2"):
        Plan(rm_speed=speed)
    with pytest.raises(ValueError, match="plan.rm_speed is for an RM that hears recordings"):
        Plan(tokens_to_rm="llm_gumbel", rm_speed=(0.9, 1.1))
