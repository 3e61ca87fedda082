"""`python -m e2etts_jax.main --config=configs/joint.py --workdir=runs/joint [--config.key=value ...]`"""

from absl import app, flags
from ml_collections import config_flags

from e2etts_jax import cli

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "directory for checkpoints, metrics and reports", required=True)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; options start with --")
    if CONFIG.value is None:
        raise app.UsageError("say what to train: --config=configs/joint.py")
    cli.prepare()
    from e2etts_jax import train  # after the flags are parsed: a wrong flag must not wait for the imports

    try:
        return cli.guarded(lambda: train.run(CONFIG.value, WORKDIR.value))
    except train.Interrupted as stop:
        print(stop)
        return 130


if __name__ == "__main__":
    app.run(main)
