"""The same numbers on one device and on eight, over several meshes; and where every parameter lies."""

import dataclasses
import functools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from tiny import Tiny, batch, build, fast_jit, load, tiny, with_terms

from configs import sharding as presets
from e2etts_jax import flops, sharding, state
from e2etts_jax.stages import Optimizer, Stage
from e2etts_jax.step import make_train_step, needed

GOLDEN = Path(__file__).parent / "golden"
RENEW = "E2ETTS_RENEW_GOLDEN"
ROWS = 8
JOINT = {"lm_ce": 0.1, "flow_match": 1.0, "rm_ctc": 1.0, "rm_spk": 1.0}
CHAIN = {"kl_ref": 0.1, "rm_ctc": 1.0, "rm_ctc_sampled": 1.0}
# Standardisation before the quantiser takes the last layer's shift away: what Adam sees there is rounding noise alone.
NO_GRADIENT = "['tokenizer']['encoder']['blocks']['norm']['bias']"


def gentle(stage_name: str, terms: dict[str, float], **changes: Any) -> Stage:
    """The stage with some of its terms and a batch for eight devices.

    Adam turns rounding noise in tiny gradients into whole steps, so the rate is low: what is compared are sums over
    devices.
    """
    stage = with_terms(tiny().stages[stage_name], **terms)
    optimizers = {g: Optimizer(lr=1e-4) for g in stage.train}
    return dataclasses.replace(stage, batch_size=ROWS, optimizers=optimizers, **changes)


def train(t: Tiny, stage: Stage, shape: tuple[int, ...], steps: int = 3) -> tuple[Any, list[dict[str, float]], int]:
    """Steps as the training loop makes them. Returns the last state, metrics, and constraints in the lowered step."""
    mesh, rules = sharding.make_mesh(shape), sharding.rules_of(t.config.mesh.rules)
    needs = needed(stage, t.terms)
    params = t.params  # made without a mesh
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        places = state.shardings(t.system, stage, needs, mesh, rules)
        params = jax.device_put(params, places.params)
        s = jax.jit(lambda p: state.create(p, stage, 0, needs), out_shardings=places)(params)
        step = fast_jit(make_train_step(t.system, stage, t.terms), donate_argnums=0, out_shardings=(places, None))
        place = sharding.batch_sharding(mesh)
        batches = [jax.device_put(batch(t, rows=ROWS, seed=seed), place) for seed in range(steps)]
        constraints = step.lower(s, batches[0]).as_text().count("sharding_constraint")
        programs, lines = step._cache_size(), []
        for b in batches:
            s, metrics = step(s, b)
            lines.append({name: float(value) for name, value in metrics.items()})
        assert step._cache_size() == programs + 1, "compiled again for a state that the step made itself"
        moved = [
            jax.tree_util.keystr(path)
            for (path, x), want in zip(jax.tree_util.tree_leaves_with_path(s), jax.tree.leaves(places), strict=True)
            if not x.sharding.is_equivalent_to(want, x.ndim)
        ]
        assert not moved, f"the step left these elsewhere than it found them: {moved}"
    return jax.device_get(s), lines, constraints


@pytest.fixture(scope="module")
def alone() -> tuple[Any, list[dict[str, float]], int]:
    return train(tiny(), gentle("joint", JOINT), (1, 1, 1))


def assert_same(one: tuple[Any, list[dict[str, float]], int], many: tuple[Any, list[dict[str, float]], int]) -> None:
    for at, (a, b) in enumerate(zip(one[1], many[1], strict=True)):
        for name in a:
            if not name.startswith("update_norm/"):
                assert b[name] == pytest.approx(a[name], rel=1e-5, abs=1e-6), f"{name} of step {at}"
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one[0].params), jax.tree.leaves(many[0].params), strict=True
    ):
        difference = np.abs(a - b)
        where = jax.tree_util.keystr(path)
        if where == NO_GRADIENT:
            continue
        assert difference.mean() < 1e-6, where
        assert difference.max() <= 6.5e-4, f"{where}: further apart than three whole steps in opposite directions"


@pytest.mark.parametrize("shape, parts", [((8, 1, 1), 1), ((1, 8, 1), 1), ((2, 2, 2), 2)])
def test_eight_devices_compute_what_one_does(alone: Any, shape: tuple[int, ...], parts: int):
    many = train(tiny(), gentle("joint", JOINT, accumulate=parts), shape)
    assert_same(alone, many)
    assert many[2] > 10, "no sharding constraint reached the compiler"


def test_positions_of_a_whole_token_are_the_same_on_eight_devices():
    """`:tiny`'s own `fm.patch`, which the shrunken config lacks."""
    config = tiny().config.copy_and_resolve_references()
    config.model.fm.patch = 4
    t, stage = build(config), gentle("joint", {"flow_match": 1.0})
    assert t.system.fm.frames_per_token == 4
    assert_same(train(t, stage, (1, 1, 1), steps=1), train(t, stage, (2, 2, 2), steps=1))


def test_chain_in_parts_on_eight_devices_is_the_chain_on_one():
    one = train(tiny(), gentle("chain", CHAIN), (1, 1, 1), steps=1)
    assert_same(one, train(tiny(), gentle("chain", CHAIN, accumulate=2), (2, 2, 2), steps=1))


@functools.cache
def shipped(size: str) -> tuple[Tiny, Any]:
    """`joint` at full size, and its parameters as shapes with names."""
    t = build(load("joint", size))
    return t, t.system.abstract()


def placed(t: Tiny, boxed: Any, shape: tuple[int, ...]) -> list[tuple[str, jax.ShapeDtypeStruct, NamedSharding]]:
    """Path, shape and place of every parameter."""
    places = sharding.param_shardings(boxed, sharding.make_mesh(shape), sharding.rules_of(t.config.mesh.rules))
    leaves = jax.tree_util.tree_leaves_with_path(places)
    names = ["/".join(k.key for k in path) for path, _ in leaves]
    return list(zip(names, jax.tree.leaves(boxed), [place for _, place in leaves], strict=True))


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
@pytest.mark.parametrize("shape", [*presets.SHAPES.values(), (2, 2, 2)])
def test_every_size_divides_over_every_preset(size: str, shape: tuple[int, ...]):
    for name, x, place in placed(*shipped(size), shape):
        try:
            place.shard_shape(x.shape)
        except ValueError as error:
            pytest.fail(f"{name}: {error}")


def test_places_are_the_golden_ones():
    """Where each parameter of `joint:base` lies on a mesh with all three axes, as a table to be read in reviews."""

    def line(name: str, x: jax.ShapeDtypeStruct, spec: PartitionSpec) -> str:
        axes = ["-" if axis is None else str(axis) for axis in (*spec, *[None] * (x.ndim - len(spec)))]
        return f"{name:48s} {'x'.join(map(str, x.shape)):16s} {' '.join(axes)}".rstrip()

    table = placed(*shipped("base"), (2, 2, 2))
    made = "".join(line(name, x, place.spec) + "\n" for name, x, place in table)
    file = GOLDEN / "places_joint_base.txt"
    if os.environ.get(RENEW):
        file.write_text(made)
    old = file.read_text() if file.exists() else ""
    assert made == old, f"parameters lie elsewhere than in {file}; if that is meant: {RENEW}=1 pytest {__file__}"
    large = [(name, place) for name, x, place in table if x.size > 2**20]
    assert len(large) > 20
    assert not [name for name, place in large if place.is_fully_replicated], "a large parameter is replicated"


def test_parameters_are_the_golden_ones():
    """What `joint:base` consists of, as it is printed at the start of a run."""
    made = flops.parameter_table(shipped("base")[0].system) + "\n"
    file = GOLDEN / "parameters_joint_base.txt"
    if os.environ.get(RENEW):
        file.write_text(made)
    old = file.read_text() if file.exists() else ""
    assert made == old, f"other parameters than in {file}; if that is meant: {RENEW}=1 pytest {__file__}"


def test_moments_lie_with_their_parameters():
    t = tiny()
    stage = t.stages["chain"]
    mesh, rules = sharding.make_mesh((2, 2, 2)), sharding.rules_of(t.config.mesh.rules)
    places = state.shardings(t.system, stage, needed(stage, t.terms), mesh, rules)
    assert set(places.opt) == {"llm"}, "frozen groups have no optimizer state"
    want = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(places.params["llm"])}
    found = 0
    for path, place in jax.tree_util.tree_leaves_with_path(places.opt["llm"]):
        name = jax.tree_util.keystr(path)
        owner = [key for key in want if name.endswith(key)]
        assert place.spec == (want[owner[0]].spec if owner else PartitionSpec()), name
        found += bool(owner)
    assert found == 2 * len(want), "two moments a parameter"
    reference = jax.tree.leaves(places.frozen["llm_ref"])
    assert [x.spec for x in reference] == [x.spec for x in jax.tree.leaves(places.params["llm"])]


def test_an_axis_without_a_rule_is_named():
    t = tiny()
    rules = sharding.rules_of({k: v for k, v in t.config.mesh.rules.items() if k not in ("mlp", "time_embed")})
    with pytest.raises(ValueError, match="no rule for logical axis mlp, time_embed"):
        sharding.param_shardings(t.system.abstract(), sharding.make_mesh((1, 1, 1)), rules)


def test_a_rule_to_an_unknown_mesh_axis_is_named():
    with pytest.raises(ValueError, match="mesh.rules.mlp names mesh axis 'model'; axes are data, fsdp, tensor"):
        sharding.rules_of({"embed": "fsdp", "mlp": "model"})
    with pytest.raises(ValueError, match="mesh.rules.batch names mesh axis 'x'"):
        sharding.rules_of({"batch": ("data", "x")})


@pytest.mark.parametrize(
    "shape, message",
    [
        ((8, 1), "needs 3 sizes"),
        ((-1, -1, 1), "at most one of them -1"),
        ((16, 1, 1), "does not fit 8 devices"),
        ((3, -1, 1), "does not fit 8 devices"),
        ((-1, 1, 16), "does not fit 8 devices"),
        ((-2, 4, 1), "sizes are -1, 0 (slices), or 1 and more"),
    ],
)
def test_meshes_that_do_not_fit_are_named(shape: tuple[int, ...], message: str):
    with pytest.raises(ValueError) as error:
        sharding.make_mesh(shape)
    assert message in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("platform, slices", [("tpu", 2), ("gpu", 1), ("cpu", 1)])
def test_hosts_of_gpus_are_no_slices(platform: str, slices: int):
    devices = [SimpleNamespace(platform=platform, slice_index=i // 2) for i in range(4)]
    assert sharding.count_slices(devices) == slices


def test_meshes_always_have_the_same_axes():
    sizes = {name: dict(sharding.make_mesh(shape).shape) for name, shape in presets.SHAPES.items()}
    assert sizes == {
        "single": {"data": 1, "fsdp": 1, "tensor": 1},
        "dp": {"data": 8, "fsdp": 1, "tensor": 1},
        "fsdp": {"data": 1, "fsdp": 8, "tensor": 1},
        "fsdp_tp": {"data": 1, "fsdp": 4, "tensor": 2},
        "multislice": {"data": 1, "fsdp": 8, "tensor": 1},
    }
