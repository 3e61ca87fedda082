"""What every command line shares: quiet logs, the compile cache, and user errors in one line."""

import logging
import os
import sys
from collections.abc import Callable

from absl import flags

# of every command; defined once, so that one process may import them all
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: config, checkpoints, metrics, report", required=True)

INFER = flags.DEFINE_multi_string(
    "infer",
    [],
    "decoding unlike the run's own, key=value of config.infer: --infer=candidates=1 --infer=ode_steps=4",
)


def prepare() -> None:
    """Keeps libraries quiet and XLA's programs in a cache, so that a second run starts at once."""
    import jax  # after the flags are parsed: a wrong flag must not wait for it

    for name in ("absl", "jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/e2etts_jax/compiled"))
    jax.config.update("jax_compilation_cache_dir", cache)


def guarded(command: Callable[[], object]) -> int:
    """Runs a command and returns its exit code; what a user can mend is one line, not a trace.

    `E2ETTS_TRACEBACK=1` shows the trace.
    """
    try:
        command()
    except (ImportError, ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("E2ETTS_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
