"""A step in parts is the same step: ragged masks, parts of a single row, and a part without any clip.

Two parts, and parts over several devices: test_sharding.py.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from tiny import batch, first_moments, tiny

RTOL = 1e-5


def first_step(stage_name: str, parts: int) -> tuple[dict[str, float], Any, Any]:
    """Metrics, first moments (a tenth of the clipped gradient) by group, and parameters after one step."""
    t = tiny()
    stage = dataclasses.replace(t.stages[stage_name], accumulate=parts)
    state, metrics = t.step(stage)(t.state(stage), batch(t))
    moments = {g: first_moments(state.opt[g]) for g in stage.train}
    return {name: float(value) for name, value in metrics.items()}, moments, state.params


@pytest.mark.parametrize("stage, parts", [("joint", 4), ("chain", 4)])
def test_parts_add_up(stage: str, parts: int):
    metrics, moments, params = first_step(stage, 1)
    in_parts, part_moments, part_params = first_step(stage, parts)
    assert in_parts.keys() == metrics.keys()
    for name, value in metrics.items():
        # Adam's first step is the sign of the gradient, so in an update rounding noise weighs as much as the rest
        rtol = 1e-3 if name.startswith("update_norm/") else RTOL
        assert in_parts[name] == pytest.approx(value, rel=rtol, abs=1e-6), name
    for group in moments:
        scale = max(float(abs(x).max()) for x in jax.tree.leaves(moments[group]))
        leaves = jax.tree_util.tree_leaves_with_path((moments[group], params[group]))
        middle = len(leaves) // 2
        others = jax.tree.leaves((part_moments[group], part_params[group]))
        for at in range(middle):
            where = group + jax.tree_util.keystr(leaves[at][0])
            moment = np.asarray(leaves[at][1])
            np.testing.assert_allclose(others[at], moment, rtol=RTOL, atol=RTOL * scale, err_msg=f"gradient of {where}")
            clear = np.abs(moment) > 1e-3 * scale
            before, after = np.asarray(leaves[middle + at][1]), np.asarray(others[middle + at])
            np.testing.assert_allclose(after[clear], before[clear], rtol=0, atol=1e-6, err_msg=where)


def test_batch_has_a_part_without_a_clip():
    """What makes the tests above strict."""
    b = batch(tiny())
    assert (b.wav_len == 0).sum() == 1
    assert len({int(n) for n in b.wav_len}) == len(b.wav_len)
    assert len({int(n) for n in b.text_len}) == len(b.text_len)
