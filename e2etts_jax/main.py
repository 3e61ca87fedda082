"""`python -m e2etts_jax.main --config=configs/joint.py --workdir=runs/joint [--config.key=value ...]`"""

import os
import sys

from absl import app, flags
from ml_collections import config_flags

from e2etts_jax import cli, distributed, processes, run_flags, stopping

CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
PROFILE = flags.DEFINE_string("profile", "", "steps of each stage to trace into WORKDIR/profile: --profile=100:105")


def parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags as absl does, but says in one line what is wrong with them."""
    try:
        rest = cli.parse_flags(argv)
        getattr(CONFIG.value, "run", None)  # a config file that is not there is an error only on access
    except (flags.Error, OSError, AttributeError, KeyError) as error:
        if os.environ.get("E2ETTS_TRACEBACK"):
            raise
        if isinstance(error, AttributeError | KeyError):  # ConfigDict's, the first with the second inside
            inner = error.args[0] if isinstance(error.args[0], KeyError) else error
            sys.exit(f"error: the config has no such key: {' '.join(str(inner.args[0]).split())}")
        last = str(error).splitlines()[-1].strip()  # before it comes a traceback, where the config file raised
        sys.exit("error: " + last.removeprefix("ValueError: ").removeprefix("TypeError: "))
    if CONFIG.value is None:
        sys.exit("error: say what to train: --config=configs/joint.py")
    return rest


def command() -> None:
    from e2etts_jax import train  # after the flags are parsed: a wrong flag must not wait for the imports

    with processes.together():
        train.run(CONFIG.value, run_flags.workdir(), PROFILE.value)


def main(argv: list[str]) -> int:
    cli.prepare()
    try:
        return cli.guarded(distributed.initialize) or cli.guarded(command)
    except stopping.Interrupted as stop:
        processes.say(stop)
        return 130
    finally:
        processes.finish()


if __name__ == "__main__":
    flags.mark_flag_as_required(run_flags.WORKDIR)
    app.run(main, flags_parser=parse_flags)
