"""Flags of the commands that work on a run; defined once, so that one process may import them all."""

from absl import flags

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: config, checkpoints, metrics, report", required=True)

STAGE = flags.DEFINE_string(
    "stage", None, "stage of the run; by default the last one that has a checkpoint, or all (aot)"
)

SEED = flags.DEFINE_integer("seed", 0, "of the sampled tokens and the noise: another seed, another reading")

INFER = flags.DEFINE_multi_string(
    "infer",
    [],
    "decoding unlike the run's own, key=value of config.infer: --infer=candidates=1 --infer=ode_steps=4",
)
