"""What a step sends between devices, read from the compiled program: how much, and that it does not grow."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from tiny import batch, fast_jit, tiny

from e2etts_jax import chips, flops, hlo, sharding, state
from e2etts_jax.step import make_train_step, needed


def compiled(shape: tuple[int, ...], rows: int) -> str:
    """Program text of the shrunken joint step over a mesh, `rows` on each device that shares out rows."""
    t = tiny()
    stage, rules = t.stages["joint"], sharding.rules_of(t.config.mesh.rules)
    mesh = sharding.make_mesh(shape)
    given = state.placed(t.system, stage, needed(stage, t.terms), mesh, rules)
    places = jax.tree.map(lambda x: x.sharding, given)
    here = sharding.batch_sharding(mesh)
    b = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), batch(t, rows=rows * shape[0] * shape[1])
    )
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        step = fast_jit(make_train_step(t.system, stage, t.terms), out_shardings=(places, None))
        return step.lower(given, b).compile().as_text()


def test_what_a_device_sends_does_not_grow_with_data_parallelism():
    sent = {}
    for size in (2, 4, 8):
        found = hlo.collectives(compiled((size, 1, 1), rows=1))
        assert {c.kind for c in found} == {"all-reduce"}, "gradients and sums alone"
        assert {c.group for c in found} == {size}
        sent[size] = sum(c.bytes for c in found)
    assert sent[2] == sent[4] == sent[8]
    t = tiny()
    gradients = 4 * sum(x.size for x in jax.tree.leaves(t.params))
    assert gradients <= sent[2] < 1.6 * gradients, "each gradient once, and sums such as that of the codebook"


def test_sharded_parameters_are_gathered():
    kinds = {c.kind for c in hlo.collectives(compiled((1, 2, 1), rows=1))}
    assert "all-gather" in kinds and kinds & {"all-reduce", "reduce-scatter"}


PROGRAM = """HloModule jit_step

%body (x: (s32[], f32[8])) -> (s32[], f32[8]) {
  %kernel = f32[8]{0} custom-call(%p), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 384}"
}}, metadata={op_name="jit(step)/splash"}
  %ag = f32[8]{0} all-gather(%p), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
}

%condition (x: (s32[], f32[8])) -> pred[] {
  %limit = s32[] constant(5)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %ar = (f32[100]{0}, bf16[50]{0}) all-reduce(%a, %b), channel_id=2, replica_groups=mesh['data'=2,'fsdp'=4] {'data'}
  %cp = f32[10]{0} collective-permute(%a), channel_id=3, source_target_pairs={{0,1},{1,0}}
  %rs = f32[3]{0} reduce-scatter(%a), channel_id=4, replica_groups={{0,1,2},{3,4,5}}, dimensions={0}
  %send = (f32[7]{0}, u32[], token[]) send(%a, %tok), channel_id=5, frontend_attributes={_xla_megascale_target="x"}
  %local = (f32[7]{0}, u32[], token[]) send(%a, %tok), channel_id=6
  %alone = f32[9]{0} all-reduce(%a), channel_id=7, replica_groups={{0},{1}}
}
"""


def test_every_way_of_writing_a_transfer_is_read():
    found = {c.kind: c for c in hlo.collectives(PROGRAM)}
    assert {k: (c.group, c.count, c.bytes, c.across) for k, c in found.items()} == {
        "all-gather": (4, 5, 160, False),  # in a loop of five rounds
        "all-reduce": (2, 1, 500, False),
        "collective-permute": (2, 1, 40, False),
        "reduce-scatter": (3, 1, 12, False),
        "send": (2, 1, 28, True),
    }
    assert found["all-reduce"].sent == 500 and found["all-gather"].sent == 120 and found["reduce-scatter"].sent == 24


@pytest.mark.parametrize(
    "kind, name", [("TPU v5 lite", "TPU v5e"), ("TPU v5", "TPU v5p"), ("NVIDIA H100 80GB HBM3", "H100"), ("cpu", None)]
)
def test_chips_are_found_by_the_names_that_jax_gives_them(kind: str, name: str | None):
    assert chips.find(kind) == (chips.CHIPS[name] if name else None)


def test_flops_are_those_of_the_compiled_program():
    """XLA's own count of a forward pass without loops, of the LLM and the DiT."""
    t = tiny()
    shape = flops.Shape(rows=4, tokens=64, text=30)
    want = flops.forward(t.system, shape)
    variables = {g: {"params": t.params[g]} for g in ("llm", "rm")}
    ids = jnp.zeros((4, 64), jnp.int32)
    q = jnp.zeros((4, 64, t.system.tokenizer.config.q_width))
    codes = jnp.zeros((t.system.vocab, q.shape[-1]))
    text, many = jnp.zeros((4, 30), jnp.int32), jnp.full(4, 30)
    runs = {
        "llm": lambda: t.system.llm.apply(variables["llm"], text, many, q, ids, many, codes)[0],
        "rm": lambda: t.system.rm.apply(variables["rm"], q, ids == 0)["asr"],
    }
    for group, run in runs.items():
        counted = jax.jit(run).lower().compile().cost_analysis()["flops"]
        # it counts causal attention whole and every norm and activation, and leaves out what it can fold
        assert want[group] == pytest.approx(counted, rel=0.35), group
