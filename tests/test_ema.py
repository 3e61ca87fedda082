"""The running average of parameters: what it is, what it costs nothing, and that a run goes on with both."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import batch, load, same_bits, shrink, tiny, with_terms

from e2etts_jax import train
from e2etts_jax.stages import parse_run

DECAY = 0.9


def stage_with(ema: float):
    t = tiny()
    stage = with_terms(t.stages["joint"], flow_match=1.0, rm_ctc=1.0)
    return t, dataclasses.replace(stage, train=("fm", "rm"), ema=ema)


def test_the_average_follows_the_parameters_and_changes_nothing_else():
    t, stage = stage_with(DECAY)
    plain = t.state(dataclasses.replace(stage, ema=0.0))
    s, want = t.state(stage), None
    assert set(s.ema) == {"fm", "rm"} and plain.ema == {}
    for at in range(4):
        before = jax.device_get(s.ema if want is None else want)
        s, _ = t.step(stage)(s, batch(t, seed=at))
        plain, _ = t.step(dataclasses.replace(stage, ema=0.0))(plain, batch(t, seed=at))
        rate = 1 - min(DECAY, (1 + at) / (10 + at))
        want = jax.tree.map(lambda a, b, r=rate: a + r * (b - a), before, {g: s.params[g] for g in s.ema})
        for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(s.ema), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(  # another program, so not the same bits
        np.asarray(s.params["rm"]["asr"]["kernel"]), np.asarray(plain.params["rm"]["asr"]["kernel"]), atol=1e-5
    )
    assert same_bits(s.result["fm"], s.ema["fm"]) and same_bits(s.result["llm"], s.params["llm"])
    assert not same_bits(s.ema["fm"], s.params["fm"])


def test_checkpoints_hold_the_average_under_the_names_of_the_groups():
    t, stage = stage_with(DECAY)
    s = t.state(stage)
    s = s.replace(ema=jax.tree.map(lambda x: x + 1, s.ema))
    items = train.items(s)
    assert same_bits(items["fm"], s.ema["fm"]) and same_bits(items["live"]["fm"], s.params["fm"])
    assert same_bits(items["tokenizer"], s.params["tokenizer"])
    assert "live" not in train.items(t.state(dataclasses.replace(stage, ema=0.0)))


@pytest.mark.parametrize("ema", [-0.1, 1.0])
def test_decays_that_make_no_average_are_refused(ema: float):
    config = shrink(load("joint"))
    config.stages.joint.ema = ema
    with pytest.raises(ValueError, match="ema .* is a decay, 0 .none. or below 1"):
        parse_run(config, tiny().terms)
