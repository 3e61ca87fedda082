"""Every shipped configuration: it parses, its shapes fit, and every stage of its recipe trains what it names."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from tiny import STEPS, Tiny, batch, build, fast_jit, load, same_bits, tiny

from e2etts_jax import sharding, state
from e2etts_jax.forward import forward
from e2etts_jax.losses import lm_ce
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.step import needed
from e2etts_jax.types import GROUPS, Batch

RECIPES = {"joint": ("joint", "tune", "chain"), "cascaded": ("tok", "parts", "tune")}
SIZES = ("tiny", "small", "base")
MILLIONS = {  # of parameters, rounded: what the documentation says
    "tiny": {"tokenizer": 2.1, "llm": 2.4, "fm": 7.0, "rm": 1.4},
    "small": {"tokenizer": 21.0, "llm": 38.1, "fm": 59.0, "rm": 13.8},
    "base": {"tokenizer": 293.7, "llm": 597.9, "fm": 498.2, "rm": 291.5},  # the paper: 0.6 + 0.5 + 0.6 thousand
}


def test_every_recipe_is_listed_here(repo_root: Path):
    helpers = {"__init__", "base", "sizes", "sharding", "vocoder"}  # the last has tests of its own: test_vocoding.py
    assert {file.stem for file in (repo_root / "configs").glob("*.py")} - helpers == set(RECIPES)


@functools.cache
def full(recipe: str, size: str) -> Tiny:
    return build(load(recipe, size))


def moments_of(opt: Any, name: str) -> int:
    """Arrays of AdamW's second moments (`nu`), or of Muon's momentum (`muon`)."""
    if name == "nu":
        found = [value for _, value in optax.tree.get_all_with_path(opt, "nu")]
    else:
        nodes = jax.tree.leaves(opt, is_leaf=lambda x: isinstance(x, optax.contrib.MuonState))
        found = [node.mu for node in nodes if isinstance(node, optax.contrib.MuonState)]
    return len(jax.tree.leaves(found))


@functools.cache
def parameters(size: str) -> Any:
    return nn.unbox(full("joint", size).system.abstract())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_config_holds_together(recipe: str, size: str):
    t = full(recipe, size)
    c = t.config
    assert tuple(t.stages) == RECIPES[recipe] == tuple(c.run)
    assert t.system == full("joint", size).system, "the recipes compare the same models"
    mesh = sharding.make_mesh(c.mesh.shape)
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    for stage in t.stages.values():
        assert stage.batch_size // stage.accumulate % rows == 0, "rows do not divide over the mesh of the preset"
        assert stage.plan.fm_crop_tokens <= max(c.data.buckets)
        assert all(config.warmup < stage.steps for config in stage.optimizers.values())
    assert c.infer.max_tokens >= max(c.data.buckets), "speech as long as in training can be made"
    assert t.system.vocab == 6561
    assert c.model.fm.speaker == c.model.rm.speaker == 256


@pytest.mark.parametrize("size", SIZES)
def test_states_of_all_stages_have_shapes(size: str):
    params = {g: len(jax.tree.leaves(parameters(size)[g])) for g in GROUPS}
    for recipe in RECIPES:
        t = full(recipe, size)
        for stage in t.stages.values():
            made = jax.eval_shape(lambda p, s=stage, t=t: state.create(p, s, 0, needed(s, t.terms)), parameters(size))
            assert set(made.opt) == set(stage.train)
            moments = {g: sum(moments_of(made.opt[g], name) for name in ("nu", "muon")) for g in stage.train}
            assert moments == {g: params[g] for g in stage.train}, "one second moment, or Muon's first, a parameter"
            assert bool(made.frozen) == ("kl_ref" in stage.all_terms)
            assert all(x.dtype == np.float32 for x in jax.tree.leaves(made.params)), "parameters are fp32"


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts(size: str):
    counted = {g: round(sum(x.size for x in jax.tree.leaves(parameters(size)[g])) / 1e6, 1) for g in GROUPS}
    assert counted == MILLIONS[size]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_stage_trains_what_it_names(recipe: str):
    """The whole recipe, shrunk, two steps a stage."""
    t = tiny(recipe)
    assert tuple(t.stages) == RECIPES[recipe]
    params = t.fresh
    for stage in t.stages.values():
        state_, before = t.state(stage, params), jax.device_get(params)
        assert set(state_.opt) == set(stage.train), "a frozen group holds optimizer state"
        for seed in range(2):
            state_, metrics = t.step(stage)(state_, batch(t, seed=seed))
            values = {name: float(value) for name, value in metrics.items()}
            assert np.isfinite(list(values.values())).all(), (stage.name, values)
            for group in stage.train:
                assert values[f"grad_norm/{group}"] > 1e-4, (stage.name, group)
                assert values[f"update_norm/{group}"] > 1e-6, (stage.name, group)
        assert (int(state_.step), int(state_.skipped)) == (2, 0)
        params = state_.params
        for group in GROUPS:
            same = same_bits(before[group], params[group])
            assert same == (group not in stage.train), (
                f"stage {stage.name}: {group} {'stood still' if same else 'moved'}"
            )
        if state_.frozen:
            assert same_bits(state_.frozen["llm_ref"], before["llm"]), "the reference moved"


def test_shrinking_keeps_the_recipe():
    """What makes the test above say something about the shipped configs."""
    for recipe in RECIPES:
        large, small = full(recipe, "tiny").stages, tiny(recipe).stages
        for name in large:
            assert small[name].terms == large[name].terms
            assert small[name].train == large[name].train
            assert small[name].plan.tokens_to_fm == large[name].plan.tokens_to_fm
            assert small[name].plan.tokens_to_rm == large[name].plan.tokens_to_rm
            assert small[name].plan.lm_into_tokenizer == large[name].plan.lm_into_tokenizer
            assert small[name].plan.rm_noise_db == large[name].plan.rm_noise_db
            assert small[name].steps == STEPS


def test_the_llm_starts_undecided():
    """At the true size of `:tiny`, a fresh LLM spreads its bets over all 6561 codes and the end."""
    config = load("joint", "tiny").copy_and_resolve_references()
    config.dtype = "float32"
    t = build(config)

    def loss(key: jax.Array, b: Batch) -> jax.Array:
        out = forward(t.system, t.system.unboxed(key), b, Streams(key, b.row), Plan(), ("lm",))
        return lm_ce(out, b).mean

    # over keys: a fresh tokenizer says nearly the same few tokens all the time, so one draw of the LLM says little
    value = float(
        fast_jit(lambda keys, b: jnp.mean(jax.lax.map(lambda k: loss(k, b), keys)))(
            jax.random.split(jax.random.key(0), 6), batch(t)
        )
    )
    assert abs(value - np.log(6562)) < 0.25, value
