"""`python tests/multihost/places.py DATA_DIR`, in two processes of two devices: is every row where it belongs?

Prints, mesh by mesh, the share that this process makes and the rows that its devices hold, checked against the batch of
a process that is alone.
"""

import sys

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from multihost.config import get_config

from e2etts_jax import distributed, processes, rows, sharding
from e2etts_jax.data import pipeline
from e2etts_jax.data.text import make_both

distributed.initialize()
c = get_config(sys.argv[1])
fixed = {"sample_rate": c.audio.sample_rate, "samples_per_token": c.audio.samples_per_token, "texts": make_both(c.text)}
fixed |= {"split": "train", "batch_size": 8, "seed": 0, "shuffle": True}
whole = pipeline.make_batches(c.data, **fixed)[3]
scattered = np.array(jax.devices())[[0, 2, 1, 3]].reshape(1, 4, 1)
meshes = [sharding.make_mesh(shape) for shape in ((1, 4, 1), (2, 2, 1), (1, 2, 2), (1, 1, 4))]
for mesh in [*meshes, Mesh(scattered, sharding.AXES, axis_types=(AxisType.Auto,) * 3)]:
    index, count = rows.share(mesh)
    mine = pipeline.make_batches(c.data, **fixed, process_index=index, process_count=count)[3]
    batch = rows.put(mesh, mine)
    assert batch.wav.shape == whole["wav"].shape, batch.wav.shape
    held = []
    for wav, row in zip(batch.wav.addressable_shards, batch.row.addressable_shards, strict=True):
        numbers = np.asarray(row.data)
        np.testing.assert_array_equal(np.asarray(wav.data), whole["wav"][numbers])
        held.append(",".join(map(str, numbers)))
    print(f"{index}/{count} {' '.join(held)}")
processes.finish()
