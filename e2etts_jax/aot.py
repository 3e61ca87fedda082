"""Compiles the stages of a config for a TPU slice, without a TPU, and says what a step takes there.

    python -m e2etts_jax.aot --config=configs/joint.py:base --topology=v5e:4x4 [--stage=chain] [--slices=2]

The compiler is the real one (libtpu), so memory, collectives and refusals are facts. Times are estimates.
"""

import dataclasses
import json
import os
import re
import sys
import time
from typing import Any

from absl import app, flags

from e2etts_jax import cli, main
from e2etts_jax.main import CONFIG

TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "family:shape of a slice, such as v5e:4x4, v5p:2x2x4, v6e:4x4")
SLICES = flags.DEFINE_integer("slices", 1, "slices joined by the slower network", lower_bound=1)
STAGE = flags.DEFINE_multi_string("stage", [], "stages to compile, by name or number from 1; all if not given")
JSON = flags.DEFINE_string("json", None, "file to which a line with the numbers of each stage is added")

LARGEST = 5  # tensors named where a program does not fit
NEAREST = {"v5e": "v5litepod-16", "v5p": "v5p-8", "v6e": "v6e-8", "v4": "v4-8"}


def topology(name: str, slices: int) -> list[Any]:
    """The devices of a slice that is not there.

    Raises:
      ValueError: libtpu is not installed, or knows no such topology.
    """
    # read when libtpu is loaded; without them it asks a metadata server for the machine it is on
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", NEAREST.get(name.split(":")[0], "v5litepod-16"))
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    try:
        import libtpu  # noqa: F401
    except ImportError:
        if not os.environ.get("TPU_LIBRARY_PATH"):
            raise ValueError(
                "compiling for TPUs needs libtpu: pip install 'jax[tpu]' in an environment of its own, or set "
                "TPU_LIBRARY_PATH to a libtpu.so"
            ) from None
    try:
        more = {"num_slices": slices} if slices > 1 else {}
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices)
    except Exception as error:  # of many kinds, all from the depths of libtpu
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--topology={name} can't be had ({reason}); v5e:4x4, v5p:2x2x4 and v6e:4x4 are some"
        ) from None


def chosen(stages: list[Any], names: list[str]) -> list[Any]:
    """The stages with these names or numbers."""
    if not names:
        return stages
    by_name = {stage.name: stage for stage in stages} | {str(stage.index + 1): stage for stage in stages}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ValueError(f"--stage={missing[0]}: the run has {', '.join(stage.name for stage in stages)}")
    return [by_name[name] for name in names]


def run(config: Any) -> None:
    """Compiles and reports."""
    import jax

    from e2etts_jax import sharding, state, step, trainable
    from e2etts_jax.data.text import make_both
    from e2etts_jax.stages import parse_run

    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.dtype = "bfloat16" if config.dtype == "auto" else config.dtype
        config.attention = "splash" if config.attention == "auto" else config.attention
    system = trainable.of_config(config, *make_both(config.text).sizes)
    terms = system.terms()
    stages = chosen(parse_run(config, terms, system.groups, system.plan_type), STAGE.value)
    devices = topology(TOPOLOGY.value, SLICES.value)
    mesh, rules = sharding.make_mesh(config.mesh.shape, devices), sharding.rules_of(config.mesh.rules)
    kind = devices[0].device_kind
    print(f"{len(devices)} x {kind}, mesh {dict(mesh.shape)}, {SLICES.value} slice(s)")
    refused = []
    for stage in stages:
        begun = time.perf_counter()
        given = state.placed(system, stage, step.needed(stage, terms), mesh, rules)
        traced = trace(config, system, stage, terms, mesh, rules, given)
        try:
            with jax.set_mesh(mesh):
                compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            refused.append(stage.name)
            reason = re.search(r"Ran out of memory[^.]*?\)\.?|Used .*? hbm", str(error))
            print(f"\n{stage.name}: does not fit. {reason[0] if reason else str(error).splitlines()[0]}")
            print(f"  largest arrays, over all {mesh.size} chips together:")
            print("\n".join(largest(traced.jaxpr.jaxpr, LARGEST)))
            continue
        seconds = time.perf_counter() - begun
        numbers = measure(config, system, stage, terms, mesh, given, compiled, kind)
        place = {"topology": TOPOLOGY.value, "slices": SLICES.value, "stage": stage.name}
        numbers = {**place, "level": jax.config.jax_optimization_level, **numbers}
        print(report(numbers) + f"\n  compiled in {seconds:.0f} s", flush=True)
        if JSON.value:
            with open(JSON.value, "a") as file:
                file.write(json.dumps(numbers) + "\n")
    if refused:
        raise ValueError(
            f"{', '.join(refused)}: more memory than a chip has; raise stages.*.accumulate or the number of chips, "
            "or shard by more (mesh.shape)"
        )


def trace(config: Any, system: Any, stage: Any, terms: Any, mesh: Any, rules: Any, given: Any) -> Any:
    """The step of a stage from the state `given` (`state.placed`) on its largest batch; nothing is allocated."""
    import jax
    from flax import linen as nn

    from e2etts_jax import sharding, step

    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.batch_sharding(mesh)),
        example(config, system, stage),
    )
    train_step = step.make_train_step(system, stage, terms)
    places = jax.tree.map(lambda x: x.sharding, given)
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):  # where nothing may run, not even a constant
        return jax.jit(train_step, donate_argnums=0, out_shardings=(places, None)).trace(given, batch)


def example(config: Any, system: Any, stage: Any) -> Any:
    """Shapes of the largest batch of a stage."""
    import jax
    import numpy as np

    from e2etts_jax.data.text import differ, rm_limit
    from e2etts_jax.types import Batch

    models = config.model
    rows, samples = stage.batch_size, max(config.data.buckets) * system.samples_per_token

    def array(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct((rows, *shape), dtype)

    one = array(np.int32)
    written = array(np.int32, config.data[rm_limit(config.data)]) if differ(config.text) else None
    return Batch(
        wav=array(np.int16, samples),
        wav_len=one,
        prompt_len=one,
        text=array(np.int32, config.data.max_text),
        text_len=one,
        speaker=array(np.float32, models.fm.speaker if "fm" in models else 0),
        speaker_mask=array(np.bool_),
        labels={name: one for name, _ in (models.rm.tasks if "rm" in models else ())},
        row=one,
        rm_text=written,
        rm_text_len=None if written is None else one,
    )


def measure(
    config: Any, system: Any, stage: Any, terms: Any, mesh: Any, given: Any, compiled: Any, kind: str
) -> dict[str, Any]:
    """Numbers of a compiled step, of one chip unless they say otherwise."""
    import jax
    import numpy as np

    from e2etts_jax import chips, flops, hlo

    def share(part: str) -> int:
        leaves = jax.tree.leaves(getattr(given, part))
        return sum(int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize for x in leaves)

    memory = compiled.memory_analysis()
    shape = flops.Shape(stage.batch_size, max(config.data.buckets), config.data.max_text)
    model = flops.step(system, stage, terms, shape)
    moved = hlo.collectives(compiled.as_text())
    chip = chips.find(kind)
    total = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    numbers: dict[str, Any] = {
        "chip": kind,
        "chips": mesh.size,
        "mesh": tuple(mesh.shape.values()),
        "rows": stage.batch_size,
        "accumulate": stage.accumulate,
        "audio_s": stage.batch_size * max(config.data.buckets) * system.samples_per_token / config.audio.sample_rate,
        "weights": share("params") + share("frozen"),
        "optimizer": share("opt"),
        "activations": memory.temp_size_in_bytes,
        "memory": total,
        "limit": chip.memory if chip else None,
        "flops": {group: count / mesh.size for group, count in model.items()},
        "collectives": [{**dataclasses.asdict(c), "sent": c.sent} for c in moved],
    }
    if chip:
        passes = stage.accumulate * 3  # forward, again for the backward pass, and that: weights are read each time
        whole = sum(x.size for x in jax.tree.leaves(given.params)) * 2 / mesh.shape["tensor"]
        numbers["seconds"] = {
            "compute": sum(flops.step(system, stage, terms, shape, recomputed=True).values()) / mesh.size / chip.flops,
            "memory": (passes * whole + 2 * (share("params") + share("opt"))) / chip.memory_rate,
            "links": sum(c.sent for c in moved if not c.across) / chip.link_rate,
            "network": sum(c.sent for c in moved if c.across) / chip.network_rate,
        }
        slowest = max(numbers["seconds"].values())
        numbers["mfu"] = sum(model.values()) / mesh.size / chip.flops / slowest
    return numbers


def report(n: dict[str, Any]) -> str:
    """The numbers of a stage, to read."""
    gib = lambda b: f"{b / 2**30:.2f} GiB"  # noqa: E731
    limit = f" of {gib(n['limit'])}" if n["limit"] else ""
    whole = f"{gib(n['memory'])}{limit}"
    lines = [
        f"\n{n['stage']}: {n['rows']} rows in {n['accumulate']} part(s), {n['audio_s'] / 3600:.1f} h of audio a step",
        f"  memory a chip      {whole}: weights {gib(n['weights'])}, optimizer {gib(n['optimizer'])}, "
        f"activations and gradients {gib(n['activations'])}",
        f"  model FLOPs a chip {sum(n['flops'].values()):.3g}: "
        + ", ".join(f"{group} {count:.3g}" for group, count in n["flops"].items() if count),
    ]
    for c in n["collectives"][:8]:
        place = "between slices" if c["across"] else f"over {c['group']}"
        lines.append(f"  {c['kind']:18} {place:15} {c['count']:7} a step, results of {gib(c['bytes'])}")
    if len(n["collectives"]) > 8:
        lines.append(f"  and {len(n['collectives']) - 8} kinds of smaller ones")
    if "seconds" in n:
        parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in n["seconds"].items() if seconds)
        slowest = max(n["seconds"].values())
        lines.append(f"  estimate           a step takes {slowest:.3g} s or more, MFU {n['mfu']:.0%} or less ({parts})")
    return "\n".join(lines)


def largest(jaxpr: Any, count: int) -> list[str]:
    """The largest arrays that a traced program makes, whole sizes over all chips, with the operation and its module."""
    found: dict[tuple[str, str], int] = {}

    def walk(jaxpr: Any, inside: str) -> None:
        for equation in jaxpr.eqns:
            where = f"{inside}/{equation.source_info.name_stack}".strip("/")
            for out in equation.outvars:
                size = getattr(out.aval, "size", 0) * getattr(getattr(out.aval, "dtype", None), "itemsize", 0)
                key = out.aval.str_short(), f"{equation.primitive.name} in {where}"
                found[key] = max(size, found.get(key, 0))
            params = dict(equation.params)
            kinds = params.pop("branches_platforms", None) or ()
            for branch, platforms in zip(params["branches"], kinds, strict=True) if kinds else ():
                if platforms is None or "tpu" in platforms:  # of what depends on the platform, what a TPU runs
                    params["branches"] = (branch,)
            for value in params.values():
                for inner in value if isinstance(value, tuple | list) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        walk(inner, where)

    walk(jaxpr, "")
    top: dict[str, tuple[int, str]] = {}  # one line a shape, that of the first operation
    for (shape, where), size in found.items():
        top.setdefault(shape, (size, where))
    ordered = sorted(top.items(), key=lambda item: -item[1][0])[:count]
    return [f"{size / 2**30:9.2f} GiB  {shape:34} {where[-90:]}" for shape, (size, where) in ordered]


def command(argv: list[str]) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # the TPU is only compiled for
    cli.prepare()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # can't hold programs for a machine that is not there
    return cli.guarded(lambda: run(CONFIG.value))


if __name__ == "__main__":
    sys.argv.insert(1, "--workdir=") if not any(a.startswith("--workdir") for a in sys.argv) else None
    app.run(command, flags_parser=main.parse_flags)
