"""The few words that processes exchange besides arrays, so that all of them go on, stop or fail alike.

They go through the key-value store of process 0 and not through collectives, because a process may wait for another for
as long as a data set takes to build. A process that is alone does what it is asked to, and waits for nobody.
"""

import contextlib
import fcntl
import itertools
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

FOREVER = 7 * 24 * 3600 * 1000  # milliseconds to wait for a word; a dead process is found by its missing heartbeat

_calls = itertools.count()
_watcher: list[threading.Thread] = []


def several() -> bool:
    """Are there other processes?"""
    import jax

    return jax.process_count() > 1


def first_process() -> bool:
    """Is this the one that writes and prints?"""
    return _index() == 0


def say(text: object) -> None:
    """Prints a line, once."""
    if first_process():
        print(text, flush=True)


def exchange(word: str) -> list[str]:
    """The words of all processes, in their order; each must call this as often as the others."""
    if not several():
        return [word]
    import jax

    call = f"e2etts/{next(_calls)}"
    _client().key_value_set(f"{call}/{_index()}", f"={word}")
    return [_client().blocking_key_value_get(f"{call}/{i}", FOREVER)[1:] for i in range(jax.process_count())]


def agreed(step: Callable[[], T]) -> T:
    """`step()` on every process. Where it fails on one, all fail.

    Raises:
      Exception: that of this process; ValueError if it was another.
    """
    if not several():
        return step()
    result, error = _outcome(step)
    words = exchange("" if error is None else _words(error))
    if error is not None:
        raise alike(error)
    for i, word in enumerate(words):
        if word:
            raise alike(ValueError(f"process {i}: {word}"))
    return result


def first(step: Callable[[], T]) -> T:
    """`step()` of process 0, for all; the others wait for it. The result must be JSON.

    Raises:
      Exception: that of process 0; a ValueError with its words in the others.
    """
    if not several():
        return step()
    call = f"e2etts/{next(_calls)}"
    if not first_process():
        value, word = json.loads(_client().blocking_key_value_get(call, FOREVER))
        if word:
            raise alike(ValueError(word))
        return value
    result, error = _outcome(step)
    _client().key_value_set(call, json.dumps([result, "" if error is None else _words(error)]))
    if error is not None:
        raise alike(error)
    return result


def in_turn(step: Callable[[], T]) -> T:
    """`step()` on process 0, then on all others, one after the other on each host.

    So what it makes on a disk is made once for each disk, shared or not. Errors as in `agreed`.
    """
    if not several():
        return step()
    result: Any = agreed(lambda: step() if first_process() else None)
    return agreed(lambda: result if first_process() else _alone_on_host(step))


def alike(error: BaseException) -> Any:
    """Marks an error that all processes raise at the same place, so that each ends in the ordinary way."""
    error.__dict__["on_all"] = True
    return error


@contextlib.contextmanager
def together() -> Iterator[None]:
    """An error inside that is not `alike` ends this process and, through it, all others: they would wait forever."""
    try:
        yield
    except BaseException as error:
        if not several() or getattr(error, "on_all", False):
            raise
        if os.environ.get("E2ETTS_TRACEBACK") or not isinstance(error, ValueError | OSError | ImportError):
            traceback.print_exc()
        import jax

        word = f"error: process {_index()} of {jax.process_count()}: {_words(error)}"
        for i in range(jax.process_count()):
            if i != _index():
                _tell(_end_of(i), word)
        if first_process():
            time.sleep(2)  # it holds the store in which the others read why
        end(word)


def watch() -> None:
    """From now on this process ends when another fails."""
    _watcher.append(threading.Thread(target=_watch, daemon=True, name="other_processes"))
    _watcher[0].start()


def finish() -> None:
    """Comes last: the process no longer minds how the others end."""
    if _watcher:
        _tell(_end_of(_index()), "")
        _watcher.pop().join()


def end(word: str) -> None:
    """Ends this process at once: an ordinary end waits for the others."""
    print(word, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)


# --- inside -----------------------------------------------------------------------------------------------------------


def _index() -> int:
    import jax

    return jax.process_index()


def _client() -> Any:
    from jax._src.distributed import global_state  # the store has no public name; Orbax reaches it the same way

    return global_state.client


def _end_of(process: int) -> str:
    return f"e2etts/end/{process}"


def _tell(key: str, word: str) -> None:
    with contextlib.suppress(RuntimeError):  # it has its end already
        _client().key_value_set(key, f"={word}")


def _watch() -> None:
    """Waits for the word that ends this process: its own, or that of one which failed."""
    try:
        word = _client().blocking_key_value_get(_end_of(_index()), FOREVER)[1:]
    except RuntimeError:  # process 0 is gone; JAX says so
        return
    if word:
        end(word)


def _outcome(step: Callable[[], T]) -> tuple[Any, Exception | None]:
    try:
        return step(), None
    except Exception as error:
        return None, error


def _words(error: BaseException) -> str:
    kind = "" if isinstance(error, ValueError | OSError | ImportError) else f"{type(error).__name__}: "
    return kind + (str(error) or type(error).__name__)


def _alone_on_host(step: Callable[[], T]) -> T:
    with open(Path(tempfile.gettempdir()) / f"e2etts_jax-{os.getuid()}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return step()
