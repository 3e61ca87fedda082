"""From logical axis names to a device mesh. The mesh always has the same axes; a laptop and a pod differ in sizes only."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from e2etts_jax.stages import Stage
from e2etts_jax.state import State, create, optimizers
from e2etts_jax.system import System

AXES = ("data", "fsdp", "tensor")
Rules = tuple[tuple[str, Any], ...]


def make_mesh(shape: Sequence[int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Mesh over AXES; one size may be -1 = whatever devices are left.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = list(shape)
    if len(sizes) != len(AXES) or sizes.count(-1) > 1:
        raise ValueError(f"mesh.shape needs {len(AXES)} sizes for {AXES}, at most one of them -1; got {tuple(shape)}")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(len(devices) // abs(int(np.prod(sizes))), 1)
    if np.prod(sizes) > len(devices) or (-1 in shape and np.prod(sizes) != len(devices)):
        raise ValueError(f"mesh.shape {tuple(shape)} does not fit {len(devices)} devices; sizes multiply to their number")
    devices = devices[: int(np.prod(sizes))]
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def rules_of(table: Mapping[str, Any]) -> Rules:
    """Rules as linen wants them, from the config's `mesh.rules` (name -> mesh axis, tuple of them, or '')."""
    known = {*AXES, ""}
    for name, axes in table.items():
        for axis in (axes,) if isinstance(axes, str) else axes:
            if axis not in known:
                raise ValueError(f"mesh.rules.{name} names mesh axis {axis!r}; axes are {', '.join(AXES)}")
    return tuple((name, axes if isinstance(axes, str) and axes else (tuple(axes) or None)) for name, axes in table.items())


def names_of(boxed: Any) -> set[str]:
    """All logical axis names of a boxed parameter tree."""
    specs = jax.tree.leaves(nn.get_partition_spec(boxed), is_leaf=lambda x: isinstance(x, PartitionSpec))
    return {name for spec in specs for name in spec if name is not None}


def param_shardings(system: System, mesh: Mesh, rules: Rules) -> Any:
    """Sharding of every parameter.

    Raises:
      ValueError: a parameter has a logical axis that no rule covers (linen would silently replicate it).
    """
    boxed = system.abstract()
    missing = sorted(names_of(boxed) - {name for name, _ in rules})
    if missing:
        raise ValueError(f"mesh.rules has no rule for logical axis {', '.join(missing)}")
    return nn.logical_to_mesh_sharding(nn.get_partition_spec(boxed), mesh, rules)


def state_shardings(system: System, stage: Stage, needs: tuple[str, ...], mesh: Mesh, rules: Rules) -> State:
    """Sharding of every leaf of the stage's state: optimizer moments lie with their parameters, the rest everywhere."""
    params = param_shardings(system, mesh, rules)
    everywhere = NamedSharding(mesh, PartitionSpec())
    abstract = abstract_state(system, stage, needs)
    opt = {
        group: optax.tree_utils.tree_map_params(
            tx,
            lambda leaf, sharding: sharding,
            abstract.opt[group],
            params[group],
            transform_non_params=lambda _: everywhere,
        )
        for group, tx in optimizers(stage).items()
    }
    frozen = {"llm_ref": params["llm"]} if abstract.frozen else {}
    return State(params, frozen, opt, everywhere, everywhere, everywhere)


def abstract_state(system: System, stage: Stage, needs: tuple[str, ...]) -> State:
    """Shapes and dtypes of the stage's state."""
    # unboxed inside: `nn.unbox` of abstract parameters fails under a mesh
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: create(system.unboxed(k), stage, 0, needs), key)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over all data-parallel devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
