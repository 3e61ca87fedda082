"""What every command line shares: quiet logs, the compile cache, and user errors in one line."""

import errno
import logging
import os
import sys
from collections.abc import Callable

from absl import flags

MENDABLE = (ImportError, ValueError, FloatingPointError, OSError)  # by the user

OUT = flags.DEFINE_string(
    "out", None, "what to write: a file (synthesize, import_vocoder) or a folder (evaluate, prepare, export)"
)


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags as absl does, but says in one line what is wrong with them."""
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        if os.environ.get("E2ETTS_TRACEBACK"):
            raise
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    if len(rest) > 1:
        sys.exit(f"error: unexpected argument {rest[1]!r}; options start with --, and text goes in quotes")
    return rest


def prepare() -> None:
    """Keeps libraries quiet and XLA's programs in a cache, so that a second run starts at once."""
    import jax  # after the flags are parsed: a wrong flag must not wait for it

    for name in ("absl", "jax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/e2etts_jax/compiled"))
    jax.config.update("jax_compilation_cache_dir", cache)


def guarded(command: Callable[[], object], stopped: str = "stopped") -> int:
    """Runs a command and returns its exit code; what a user can mend is one line, not a trace.

    `E2ETTS_TRACEBACK=1` shows the trace. `stopped` is said after Ctrl-C.
    """
    try:
        command()
    except MENDABLE as error:
        if os.environ.get("E2ETTS_TRACEBACK"):
            raise
        if getattr(error, "errno", None) == errno.ENOSPC:
            error = OSError(f"{error}; free some space and run the same command again: it goes on where it was")
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    return 0
