"""Signals that ask a run to stop. All processes stop after the same step, whichever of them was asked."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from e2etts_jax import processes


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""


class Stop:
    """Notes SIGINT and SIGTERM while `listening`; a second one kills as usual."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._asked = 0

    def __call__(self) -> bool:
        """Is it time to stop? With several processes all must ask, as often as the others, and all get one answer.

        JAX agrees on it in the background: nothing is sent before a signal comes, and no device waits.
        """
        if not processes.several():
            return bool(self._received)
        from jax.experimental import multihost_utils

        self._asked += 1
        return multihost_utils.reached_preemption_sync_point(self._asked)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        several = processes.several()

        def note(number: int, frame: Any) -> None:
            self._received.append(number)
            signal.signal(number, before[signal.Signals(number)])
            if several:  # JAX watches SIGTERM itself, and only that
                os.kill(os.getpid(), signal.SIGTERM)

        caught = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, note) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
