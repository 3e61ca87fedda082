"""Traces of a few steps, to look at in TensorBoard's profile plugin, XProf or Perfetto."""

import re

import jax
from etils import epath

from e2etts_jax import processes


class Profile:
    """Traces the steps `first:last` of a stage into `<workdir>/profile/<stage>`; '' = none."""

    def __init__(self, steps: str, workdir: str, stage: str):
        """Raises ValueError where `steps` is neither '' nor first:last."""
        found = re.fullmatch(r"(\d+):(\d+)", steps)
        if steps and (not found or not 1 <= int(found[1]) <= int(found[2])):
            raise ValueError(f"--profile={steps} is not first:last, two steps from 1 on, such as 100:105")
        self._first, self._last = (int(found[1]), int(found[2])) if found else (0, 0)
        self._folder, self._on = str(epath.Path(workdir) / "profile" / stage), False

    def before(self, step: int) -> None:
        """Call before each step."""
        if step == self._first:
            jax.profiler.start_trace(self._folder)
            self._on = True
        elif step == self._last + 1:
            self.close()

    def close(self) -> None:
        """Writes what was traced; a stage that ends early leaves a shorter trace."""
        if self._on:
            jax.profiler.stop_trace()
            self._on = False
            processes.say(f"trace of steps {self._first} to {self._last} at most in {self._folder}")
