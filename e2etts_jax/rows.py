"""Which rows of a global batch a process makes, and their way onto its devices."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from e2etts_jax import sharding
from e2etts_jax.stages import Stage
from e2etts_jax.types import Batch


def share(mesh: Mesh) -> tuple[int, int]:
    """The share of every batch that this process makes, and how many shares there are.

    Processes whose devices hold the same rows, as with a tensor axis that spans hosts, make the same share. The mesh
    may scatter a process's devices; a row then has another place in the array, and still its own number in `Batch.row`.

    Raises:
      ValueError: a process without a device in the mesh, or processes that have only a part of their rows in common.
    """
    held: dict[int, set[int]] = {}
    for row, devices in enumerate(mesh.devices.reshape(-1, mesh.shape["tensor"])):
        for device in devices:
            held.setdefault(device.process_index, set()).add(row)
    shape, count = tuple(mesh.shape.values()), jax.process_count()
    if len(held) < count:
        idle = min(set(range(count)) - held.keys())
        raise ValueError(
            f"mesh.shape {shape} uses {mesh.size} of {jax.device_count()} devices and none of process {idle}: "
            f'use all of them, as with --config.mesh.shape="(1,-1,1)"'
        )
    shares = sorted({tuple(sorted(rows)) for rows in held.values()})
    if len({len(rows) for rows in shares}) > 1 or sum(map(len, shares)) > len(set().union(*shares)):
        raise ValueError(
            f"mesh.shape {shape} over {count} processes: some have a part of their rows in common; the tensor axis "
            "must divide the devices of a process, or be a multiple of them"
        )
    return shares.index(tuple(sorted(held[jax.process_index()]))), len(shares)


def check(mesh: Mesh, stages: Sequence[Stage]) -> None:
    """Refuses batches that do not divide over the mesh.

    Raises:
      ValueError: one does not.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    for stage in stages:
        if stage.batch_size % (rows * stage.accumulate):
            parts = f" in {stage.accumulate} parts" if stage.accumulate > 1 else ""
            raise ValueError(
                f"stage {stage.name!r}: batch_size {stage.batch_size}{parts} does not divide over the {rows} rows of "
                f"devices (data x fsdp) of mesh {tuple(mesh.shape.values())}"
            )


def put(mesh: Mesh, batch: Mapping[str, Any]) -> Batch:
    """This process's share of a batch onto its devices."""
    place = sharding.batch_sharding(mesh)
    return Batch(**jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), dict(batch)))
