"""The train step: what it changes, what it refuses to change, and that it repeats itself bit by bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import batch, same_bits, tiny

from e2etts_jax.state import State, create
from e2etts_jax.types import GROUPS, Batch


def start(stage: str = "joint") -> State:
    t = tiny()
    return t.state(t.stages[stage])


def run(state: State, *batches: Batch, stage: str = "joint") -> tuple[State, list[dict[str, float]]]:
    """One step a batch; the given state is donated."""
    t, lines = tiny(), []
    for b in batches:
        state, metrics = t.step(t.stages[stage])(state, b)
        lines.append({name: float(value) for name, value in metrics.items()})
    return state, lines


@pytest.mark.parametrize("where", ["wav", "speaker"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing(where: str, value: float):
    good = batch(tiny())
    bad = good.replace(**{where: getattr(good, where).at[0, 0].set(value)})
    state, _ = run(start(), good)  # the optimizer's moments are not zero any more
    kept = jax.device_get((state.params, state.opt))
    state, lines = run(state, bad, bad)
    assert not np.isfinite(lines[-1]["loss/total"])
    assert same_bits(kept, (state.params, state.opt))
    assert [line["guard/skipped"] for line in lines] == [1, 2]
    assert all(line[f"update_norm/{g}"] == 0.0 for line in lines for g in GROUPS)
    assert int(state.step) == 3, "the data goes on"
    state, lines = run(state, good)
    assert lines[0]["guard/skipped"] == 0 == int(state.skipped)
    assert np.isfinite(list(lines[0].values())).all()
    assert not same_bits(kept[0], state.params)


def test_metrics_are_complete_and_finite():
    t = tiny()
    stage = t.stages["joint"]
    _, lines = run(start(), batch(t))
    names = {f"loss/{n}" for n in (*stage.terms, "total")} | {f"weight/{n}" for n in stage.terms}
    names |= {f"{kind}/{g}" for g in stage.train for kind in ("grad_norm", "update_norm", "lr")}
    assert set(lines[0]) == names | {"tokens/used", "tokens/entropy", "guard/skipped"}
    assert np.isfinite(list(lines[0].values())).all(), lines[0]
    total = sum(lines[0][f"weight/{n}"] * lines[0][f"loss/{n}"] for n in stage.terms)
    assert lines[0]["loss/total"] == pytest.approx(total, rel=1e-6)
    valid = int(jnp.sum(batch(t).token_len(t.system.samples_per_token)))
    assert 1 <= lines[0]["tokens/used"] <= valid
    assert 0.0 <= lines[0]["tokens/entropy"] <= np.log2(valid)


def test_the_state_is_donated_and_its_shape_kept():
    t = tiny()
    step, old = t.step(t.stages["joint"]), start()
    new, _ = step(old, batch(t))
    assert all(x.is_deleted() for x in jax.tree.leaves((old.params, old.opt)))
    programs = step._cache_size()
    for seed in range(3):
        new, _ = step(new, batch(t, seed=seed))
    assert step._cache_size() == programs, "the step was compiled again for a state that it made itself"


def test_the_same_seed_gives_the_same_bits():
    b, c = batch(tiny(), seed=0), batch(tiny(), seed=1)
    one, lines = run(start(), b, c, b)
    other, again = run(start(), b, c, b)
    assert same_bits(one, other)
    assert lines == again


def test_randomness_follows_seed_stage_step_and_row():
    t = tiny()
    stage, b = t.stages["joint"], batch(t)
    later = dataclasses.replace(stage, index=1)

    def flow_loss(state: State, b: Batch = b) -> float:
        return run(state, b)[1][0]["loss/flow_match"]

    made = {
        "here": flow_loss(start()),
        "step": flow_loss(dataclasses.replace(start(), step=jnp.int32(1))),
        "seed": flow_loss(create(jax.tree.map(jnp.copy, t.params), stage, 1)),
        "stage": flow_loss(create(jax.tree.map(jnp.copy, t.params), later, 0)),
        "row": flow_loss(start(), b.replace(row=b.row + 8)),
    }
    assert len(set(made.values())) == len(made), made
    assert flow_loss(start()) == made["here"]
