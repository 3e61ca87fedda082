"""Flags of the commands that use what a run has trained. Training must not take them: it would do nothing with them."""

from absl import flags

STAGE = flags.DEFINE_string("stage", None, "stage to take the models from; by default the last that has a checkpoint")
SEED = flags.DEFINE_integer("seed", 0, "of the sampled tokens and the noise: another seed, another reading")
INFER = flags.DEFINE_multi_string(
    "infer",
    [],
    "decoding unlike the run's own, key=value of config.infer: --infer=candidates=1 --infer=ode_steps=4",
)
