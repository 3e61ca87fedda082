"""Flags of the commands that work on a run; defined once, so that one process may import them all.

A command that can't do without marks it as required.
"""

from absl import flags

WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "folder of the run: config, checkpoints, metrics, report; synthesize, demo, evaluate take a voice in a file, too",
)


def workdir() -> str:
    """The folder, for commands that have marked the flag as required."""
    return WORKDIR.value or ""
