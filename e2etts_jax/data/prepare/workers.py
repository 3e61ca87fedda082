"""Shards over processes. A recording that kills its process is found, named and left out; the run goes on."""

import collections
import concurrent.futures
import multiprocessing
import os
import struct
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from e2etts_jax.data.prepare import shard as shards
from e2etts_jax.data.prepare.plan import Plan

Task = Callable[[Path, int, Collection[int], Callable[[], None]], None]  # `shard.write_shard`
_counter: Any = None  # of this process: clips done by all


def _start(counter: Any) -> None:
    global _counter
    _counter = counter
    parent = multiprocessing.parent_process()
    if parent is not None:  # a killed command must not leave workers behind that go on writing

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _count() -> None:
    with _counter.get_lock():
        _counter.value += 1


def _call(task: Task, out: Path, number: int, skip: Collection[int]) -> None:
    task(out, number, skip, _count)


def run(
    out: Path,
    plan: Plan,
    numbers: Sequence[int],
    workers: int,
    progress: Callable[[int], None] = lambda done: None,
    task: Task = shards.write_shard,
) -> None:
    """Writes the shards `numbers` of the plan in `out` with `workers` processes.

    Args:
      progress: told now and then how many clips are done.
      task: what writes one shard; a function that another process can import.

    Raises:
      OSError: the processes die before they read a clip, or can't write.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow_datasets", "pyloudnorm", "soxr", shards.__name__])
    deaths: collections.Counter[tuple[int, int]] = collections.Counter()  # by shard and row
    alone: list[int] = []
    pending, counter = list(numbers), context.Value("q", 0)
    while pending:
        # After a death the shards that were at work go one by one, so that the guilty clip is known for sure.
        group, size = (alone[:1], 1) if alone else (pending, workers)
        skips = {n: frozenset(row for (k, row), count in deaths.items() if k == n and count >= 2) for n in group}
        sweep(out, plan, group)
        done = _pool(context, counter, out, group, skips, min(size, len(group)), progress, task)
        # a shard may be finished although the pool broke before it could say so
        done |= {n for n in set(group) - done if shards.read_note(out, plan.shards[n], plan.digest)}
        pending = [n for n in pending if n not in done]
        alone = [n for n in alone if n not in done]
        for n in set(group) - done:
            row = _place(out, plan, n)
            if row is not None:
                deaths[n, row] += 1
                alone = alone if n in alone else [*alone, n]
            elif group == alone[:1] or not any(_place(out, plan, k) is not None for k in group):
                raise OSError(
                    f"the worker processes die before they read a clip (shard {n}); too little memory, or a library "
                    "that can't start? Try --workers=1 --speaker=none"
                )


def sweep(out: Path, plan: Plan, numbers: Sequence[int]) -> None:
    """Removes what dead processes left of these shards."""
    for n in numbers:
        shards.place_path(out, plan.shards[n]).unlink(missing_ok=True)
    files = {plan.shards[n].file for n in numbers}
    for path in (out / "prepare").glob(".*.part"):
        if path.name[1:].rsplit(".", 2)[0].removesuffix(".json") in files:
            path.unlink(missing_ok=True)


def _place(out: Path, plan: Plan, number: int) -> int | None:
    """The row at which a process died, None if it had not begun."""
    try:
        return struct.unpack("<q", shards.place_path(out, plan.shards[number]).read_bytes())[0]
    except (OSError, struct.error):
        return None


def _pool(
    context: Any,
    counter: Any,
    out: Path,
    group: Sequence[int],
    skips: Mapping[int, Collection[int]],
    size: int,
    progress: Callable[[int], None],
    task: Task,
) -> set[int]:
    """Shards of `group` that were written; fewer than all if a process died."""
    done: set[int] = set()
    pool = concurrent.futures.ProcessPoolExecutor(size, context, _start, (counter,))
    try:
        waiting = {pool.submit(_call, task, out, n, skips[n]): n for n in group}
        while waiting:
            ready, _ = concurrent.futures.wait(waiting, 0.5, concurrent.futures.FIRST_COMPLETED)
            progress(counter.value)
            for future in ready:
                number = waiting.pop(future)
                try:
                    future.result()
                    done.add(number)
                except BrokenProcessPool:
                    pass  # every other future says the same: which clip it was, the shards' places tell
    except BrokenProcessPool:
        pass  # at submit
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # the pool itself would wait for the shards at work
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return done
