"""From logical axis names to a device mesh. The mesh always has the same axes; a laptop and a pod differ in sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
Rules = tuple[tuple[str, Any], ...]


def count_slices(devices: Sequence[Any]) -> int:
    """TPU slices of the devices; 1 on other platforms. (GPUs have a slice index too, one for each host.)"""
    return len({getattr(device, "slice_index", 0) for device in devices if device.platform == "tpu"}) or 1


def make_mesh(shape: Sequence[int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Mesh over AXES; one size may be -1 = whatever devices are left, and 0 is the number of TPU slices.

    Slices are joined by a network slower than the one inside: only the first axis, data, runs over them.

    Raises:
      ValueError: the sizes do not multiply to the number of devices, or the data axis does not divide over the slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    slices = count_slices(devices)
    sizes = [slices if size == 0 else size for size in shape]
    if len(sizes) != len(AXES) or sizes.count(-1) > 1:
        raise ValueError(f"mesh.shape needs {len(AXES)} sizes for {AXES}, at most one of them -1; got {tuple(shape)}")
    if any(size < 1 and size != -1 for size in sizes):
        raise ValueError(f"mesh.shape sizes are -1, 0 (slices), or 1 and more; got {tuple(shape)}")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(len(devices) // abs(int(np.prod(sizes))), 1)
    if np.prod(sizes) > len(devices) or (-1 in shape and np.prod(sizes) != len(devices)):
        raise ValueError(
            f"mesh.shape {tuple(shape)} does not fit {len(devices)} devices; sizes multiply to their number"
        )
    devices = devices[: int(np.prod(sizes))]
    if slices == 1:
        grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    elif sizes[0] % slices:
        raise ValueError(
            f"mesh.shape {tuple(shape)}: its data size {sizes[0]} does not divide over {slices} slices; give it 0 or -1"
        )
    else:
        inside, over = (sizes[0] // slices, *sizes[1:]), (slices, 1, 1)
        grid = mesh_utils.create_hybrid_device_mesh(inside, over, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def rules_of(table: Mapping[str, Any]) -> Rules:
    """Rules as linen wants them, from the config's `mesh.rules` (name -> mesh axis, tuple of them, or '')."""
    known = {*AXES, ""}
    for name, axes in table.items():
        for axis in (axes,) if isinstance(axes, str) else axes:
            if axis not in known:
                raise ValueError(f"mesh.rules.{name} names mesh axis {axis!r}; axes are {', '.join(AXES)}")
    return tuple(
        (name, axes if isinstance(axes, str) and axes else (tuple(axes) or None)) for name, axes in table.items()
    )


def names_of(boxed: Any) -> set[str]:
    """All logical axis names of a boxed parameter tree."""
    specs = jax.tree.leaves(nn.get_partition_spec(boxed), is_leaf=lambda x: isinstance(x, PartitionSpec))
    return {name for spec in specs for name in spec if name is not None}


def param_shardings(boxed: Any, mesh: Mesh, rules: Rules) -> Any:
    """Sharding of every parameter of a boxed tree (`System.abstract`).

    Raises:
      ValueError: a parameter has a logical axis that no rule covers (linen would silently replicate it).
    """
    missing = sorted(names_of(boxed) - {name for name, _ in rules})
    if missing:
        raise ValueError(f"mesh.rules has no rule for logical axis {', '.join(missing)}")
    return nn.logical_to_mesh_sharding(nn.get_partition_spec(boxed), mesh, rules)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over all data-parallel devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
