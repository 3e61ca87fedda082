"""Flags of the commands that work on a run; defined once, so that one process may import them all."""

from absl import flags

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: config, checkpoints, metrics, report", required=True)
