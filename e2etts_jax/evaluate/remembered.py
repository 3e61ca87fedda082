"""What judges said of a clip, kept by its content: nothing is judged twice, and a run that was stopped goes on."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from e2etts_jax import bucket

PART = 16  # clips between two writes of the file

Judge = Callable[[Sequence[np.ndarray]], Sequence[Any]]  # clips to something that JSON can hold, of each


class Remembered:
    """The file of one judge. `version` names everything that its words depend on beside the clip."""

    def __init__(self, version: str, folder: Path | None = None) -> None:
        self._path = (folder or Path.home() / ".cache" / "e2etts_jax" / "asr") / f"{version.replace('/', '-')}.json"

    def __call__(self, wavs: Sequence[np.ndarray], rate: int, judge: Judge) -> list[Any]:
        """What `judge` says of each clip, f32[W] at `rate` Hz; it is asked of those that it has not heard."""
        keys = [_key(wav, rate) for wav in wavs]
        known = self._read()
        new = {key: wav for key, wav in zip(keys, wavs, strict=True) if key not in known}
        unheard = list(new)
        for at in range(0, len(unheard), PART):
            some = unheard[at : at + PART]
            said = dict(zip(some, judge([new[key] for key in some]), strict=True))
            known |= self._read() | said  # read again: another run may have added to it
            self._keep(known)
        return [known[key] for key in keys]

    def _keep(self, known: dict[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            bucket.write(epath.Path(self._path), json.dumps(known, indent=0).encode())
        except OSError as error:  # the judgement itself is none the worse
            logging.warning("nothing is kept for a second run: %s; is HOME a folder you can write to?", error)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _key(wav: np.ndarray, rate: int) -> str:
    return hashlib.sha256(f"{rate} ".encode() + np.asarray(wav, np.float32).tobytes()).hexdigest()[:32]
