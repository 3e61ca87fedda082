"""`python tests/faults/run.py KIND:STAGE:STEP ARGUMENTS`: e2etts_jax.main with these arguments, and an accident.

commit            SIGKILL in the save of the step, between its data and Orbax's commit
manifest          SIGKILL in the save of the step, between Orbax's commit and the manifest
saved             SIGKILL right after the save of the step is complete
SIGTERM, SIGINT   the signal, while the step runs
nan               recordings are not a number from the step on
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from absl import app

from e2etts_jax import checkpoint, main, rows, train

KIND, STAGE, STEP = sys.argv.pop(1).split(":")
PLACE = (STAGE, STEP)


def before(holder: Any, name: str, accident: Any) -> None:
    """Lets `accident` see the arguments of every call of `holder.name`."""
    original = getattr(holder, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        accident(*args)
        return original(*args, **kwargs)

    setattr(holder, name, replaced)


def die_in(path: Path) -> None:
    if (path.parent.name, path.name.split(".")[0]) == PLACE:
        os.kill(os.getpid(), signal.SIGKILL)


def die_after(r: Any, stage: Any, saver: Any, *rest: Any) -> None:
    save(r, stage, saver, *rest)
    saver.wait()
    die_in(Path(str(saver.directory), str(rest[-1])))


def put(mesh: Any, batch: dict[str, Any]) -> None:
    clock["step"] += 1
    if clock["step"] >= int(STEP):
        batch["speaker"][:] = float("nan")


def count(log: Any, *counted: Any) -> None:
    clock["step"] += 1
    if (log.stage.name, str(clock["step"])) == PLACE:
        os.kill(os.getpid(), signal.Signals[KIND])


def start_clock(log: Any, config: Any, writer: Any, stage: Any, start: int, cost: Any) -> None:
    clock["step"] = start


clock = {"step": 0}
before(train.StageLog, "__init__", start_clock)
if KIND == "commit":
    before(ocp.CompositeCheckpointHandler, "finalize", lambda handler, path: die_in(path))
elif KIND == "manifest":
    before(checkpoint, "_write_manifest", die_in)
elif KIND == "saved":
    save, train.save = train.save, die_after
elif KIND == "nan":
    before(rows, "put", put)
elif KIND in ("SIGTERM", "SIGINT"):
    before(train.StageLog, "dispatched", count)
elif KIND != "none":
    sys.exit(f"no accident {KIND!r}")
train.Sampler.log = lambda *_: None  # changes nothing that is compared, and takes seconds
app.run(main.main, flags_parser=main.parse_flags)
