"""`python tests/multihost/run.py ACCIDENT:STAGE:STEP ARGUMENTS`: e2etts_jax.main with these arguments, and an accident.

none       nothing happens
sampled    nothing happens, and the samples at the end of a stage are made; otherwise they are not, to save time
SIGTERM, SIGINT   the signal, after the step was dispatched; steps are slow enough for the processes to agree
slow       so are those of the process that gets no signal
kill       SIGKILL, then
error      a disk that can't be read, then
"""

import os
import signal
import sys
import time
from typing import Any

from absl import app
from jax._src import compiler, distributed

from e2etts_jax import main, train

KIND, STAGE, STEP = sys.argv.pop(1).split(":")


def write(*args: Any) -> None:
    """JAX lets only process 0 write to the compile cache; on CPUs the others' programs have other keys."""
    own, distributed.global_state.process_id = distributed.global_state.process_id, 0
    try:
        cache_write(*args)
    finally:
        distributed.global_state.process_id = own


def dispatched(log: Any, samples: int, rows: Any) -> None:
    count(log, samples, rows)
    clock["step"] += log.stage.name == STAGE
    if KIND in ("SIGTERM", "SIGINT", "slow"):
        time.sleep(1.5)
    if log.stage.name == STAGE and clock["step"] == int(STEP):
        if KIND == "error":
            raise OSError("clip 7 can't be read")
        if KIND != "slow":
            os.kill(os.getpid(), {"kill": signal.SIGKILL}.get(KIND) or signal.Signals[KIND])


clock = {"step": 0}
cache_write, compiler._cache_write = compiler._cache_write, write
if KIND not in ("none", "sampled"):
    count, train.StageLog.dispatched = train.StageLog.dispatched, dispatched
if KIND != "sampled":
    train.Sampler.log = lambda *_: None
app.run(main.main, flags_parser=main.parse_flags)
