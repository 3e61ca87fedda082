"""The start of several processes that train together.

The environment says whether there are several. Where it says nothing a process is alone, and nothing is started:

    E2ETTS_COORDINATOR=host:port E2ETTS_PROCESSES=n E2ETTS_PROCESS=i    by hand; the address is that of process 0
    E2ETTS_PROCESSES=auto                                               JAX asks the cluster: Cloud TPU VMs, Open MPI
    SLURM_*                                                             srun, with more than one task
    TPU_WORKER_HOSTNAMES, MEGASCALE_NUM_SLICES                          TPU workers on Kubernetes

`E2ETTS_PROCESSES=1` keeps a process alone whatever else is set. `E2ETTS_PATIENCE` is how many seconds the start may
take (300), `E2ETTS_HEARTBEAT` after how many a process that says nothing counts as dead (100).
"""

import os
import threading
from collections.abc import Mapping
from typing import Any

from e2etts_jax import processes

BY_HAND = ("E2ETTS_COORDINATOR", "E2ETTS_PROCESSES", "E2ETTS_PROCESS")


def settings(env: Mapping[str, str]) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`, {} = JAX finds them itself, None = this process is alone.

    Raises:
      ValueError: only a part of what is needed is set, or it makes no sense.
    """
    given = {name: env[name] for name in BY_HAND if env.get(name)}
    count = given.get("E2ETTS_PROCESSES", "")
    if count == "auto":
        return {}
    if count == "1":
        return None
    if given:
        missing = [name for name in BY_HAND if name not in given]
        if missing:
            raise ValueError(f"{' and '.join(given)} is set, but not {' and '.join(missing)}: set all three, or none")
        index, (host, _, port) = given["E2ETTS_PROCESS"], given["E2ETTS_COORDINATOR"].rpartition(":")
        if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
            raise ValueError(f"E2ETTS_PROCESS={index} of E2ETTS_PROCESSES={count}: processes count from 0")
        if not host or not port.isdecimal():
            raise ValueError(f"E2ETTS_COORDINATOR={given['E2ETTS_COORDINATOR']} is not host:port")
        return {
            "coordinator_address": given["E2ETTS_COORDINATOR"],
            "num_processes": int(count),
            "process_id": int(index),
            "cluster_detection_method": "deactivate",
        }
    # not in the script of a job itself: there SLURM names the tasks, but has started none
    if "SLURM_PROCID" in env and "SLURM_STEP_NODELIST" in env:
        tasks = env.get("SLURM_STEP_NUM_TASKS") or env.get("SLURM_NTASKS", "1")
        return {} if int(tasks) > 1 else None
    workers = len(env.get("TPU_WORKER_HOSTNAMES", "").split(","))
    return {} if max(workers, int(env.get("MEGASCALE_NUM_SLICES") or 1)) > 1 else None


def initialize(env: Mapping[str, str] = os.environ) -> None:
    """Joins the other processes, if the environment names any. Comes before anything that touches a device.

    Raises:
      ValueError: see `settings`; or JAX can't start.
    """
    options = settings(env)
    if options is None:
        return
    import jax  # after the flags are parsed: a wrong flag must not wait for it

    patience, heartbeat = _seconds(env, "E2ETTS_PATIENCE", 300), _seconds(env, "E2ETTS_HEARTBEAT", 100)
    who = f"process {options['process_id']} of {options['num_processes']}" if options else "this process"
    where = f" at {options['coordinator_address']}" if options else ""
    words = f"error: {who} could not join the others{where} within {patience} s (E2ETTS_PATIENCE)"
    late = threading.Timer(patience, processes.end, [words])  # JAX itself would abort with a stack trace of C++
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(**options, initialization_timeout=patience + 60, heartbeat_timeout_seconds=heartbeat)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{who} can't join the others{where}: {' '.join(str(error).split())}") from None
    finally:
        late.cancel()
    processes.watch()


def check() -> None:
    """Refuses workers of a TPU pod that were started, but not told of each other.

    Raises:
      ValueError: they were not.
    """
    import jax

    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ValueError(f"this is one of {jax.process_count()} workers: set E2ETTS_PROCESSES=auto on all of them")


def _seconds(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text} is not a number of seconds")
    return int(text)
