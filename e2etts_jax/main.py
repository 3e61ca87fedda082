"""`python -m e2etts_jax.main --config=configs/joint.py --workdir=runs/joint [--config.key=value ...]`"""

import logging
import os
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "directory for checkpoints, metrics and reports", required=True)


def main(argv: list[str]) -> int:
    from e2etts_jax import train  # after the flags are parsed: a wrong flag must not wait for the imports

    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; options start with --")
    if CONFIG.value is None:
        raise app.UsageError("say what to train: --config=configs/joint.py")
    logging.getLogger("absl").setLevel(logging.WARNING)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/e2etts_jax/compiled"))
    jax.config.update("jax_compilation_cache_dir", cache)
    try:
        train.run(CONFIG.value, WORKDIR.value)
    except train.Interrupted as stop:
        print(stop)
        return 130
    except (ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("E2ETTS_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    app.run(main)
