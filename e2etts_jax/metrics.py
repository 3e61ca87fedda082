"""Scalars to `metrics.jsonl` and TensorBoard; images and audio to TensorBoard."""

import json
import math
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import SummaryWriter

from e2etts_jax.bucket import Mirror

PUSH_EVERY = 60.0  # seconds between copies to a bucket


class MetricsWriter:
    """Writes `<workdir>/metrics.jsonl` and `<workdir>/tb/<stage>/`; make one on process 0 only, `Silent` on the others.

    A line is {"stage": ..., "step": ..., name: number, ...} with sorted names and all the digits of the numbers, and
    nothing of its own that depends on the clock: equal runs have equal lines, but for `perf/` names. JSON has no
    non-finite numbers, so these are the strings "nan", "inf" and "-inf", which float() reads like any other value.

    If the workdir is in a bucket, files grow on this machine and are copied now and then, and by `push`.
    """

    def __init__(self, workdir: str):
        """Appends to what is there, less a last line that a kill left incomplete."""
        self._mirror = Mirror(workdir)
        self._tensorboard_dir = self._mirror.local / "tb"
        self._path = self._mirror.local / "metrics.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._mirror.fetch(self._path.name)
        self._boards: dict[str, SummaryWriter] = {}
        self._first_stale_step: dict[str, int] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        self._file = self._path.open("ab")
        self._file.truncate(content.rfind(b"\n") + 1)

    def scalars(self, values: Mapping[str, float], step: int, stage: str) -> None:
        """Appends one line, which is on its way to the disk when this returns; values are floats or 0-d arrays."""
        numbers = {name: float(values[name]) for name in sorted(values)}
        reserved = numbers.keys() & {"stage", "step"}
        if reserved:
            raise ValueError(f"{sorted(reserved)} can't be names of metrics: every line has them already")
        line = {"stage": stage, "step": int(step)}
        line |= {name: number if math.isfinite(number) else str(number) for name, number in numbers.items()}
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()
        for name, number in numbers.items():
            self._board(stage).add_scalar(name, number, step)
        if self._mirror.due(PUSH_EVERY):
            self.push()

    def push(self) -> None:
        """Before a checkpoint is saved: a run that goes on from it finds all lines up to there, in a bucket too."""
        for board in self._boards.values():
            board.flush()
        self._mirror.push()

    def has(self, stage: str, prefix: str) -> bool:
        """Is there a line of `stage` with a name that begins with `prefix`?"""
        lines = map(json.loads, self._path.read_bytes().splitlines())
        return any(line["stage"] == stage and any(name.startswith(prefix) for name in line) for line in lines)

    def image(self, name: str, pixels: np.ndarray, step: int, stage: str) -> None:
        """Shows pixels, uint8 [H, W] (grey) or [H, W, 3], row 0 on top."""
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
            raise ValueError(
                f"image {name!r} is {pixels.dtype}{list(pixels.shape)}, wanted uint8[H, W] or uint8[H, W, 3]"
            )
        self._board(stage).add_image(name, pixels, step, dataformats="HW" if pixels.ndim == 2 else "HWC")

    def audio(self, name: str, wav: np.ndarray, sample_rate: int, step: int, stage: str) -> None:
        """Lets one listen to wav, float [W] in [-1, 1]."""
        if wav.ndim != 1:
            raise ValueError(f"audio {name!r} has shape {list(wav.shape)}, wanted [W]")
        self._board(stage).add_audio(name, np.clip(wav, -1.0, 1.0), step, sample_rate=sample_rate)

    def truncate(self, step: int, stage: str) -> None:
        """Call before a stage goes on after `step` (-1: drop all of it): forgets what a lost run logged later.

        That is the first line of `stage` with a larger step, and all lines after it. The file is replaced atomically,
        and TensorBoard is told to hide the same points.
        """
        lines = self._path.read_bytes().splitlines(keepends=True)
        heads = [(line["stage"], line["step"]) for line in map(json.loads, lines)]
        stale = [index for index, head in enumerate(heads) if head[0] == stage and head[1] > step]
        self._close_boards()
        self._first_stale_step[stage] = step + 1
        if not stale:
            return
        for later_stage, later_step in heads[stale[0] :]:
            if later_stage != stage:
                self._first_stale_step[later_stage] = min(
                    later_step, self._first_stale_step.get(later_stage, later_step)
                )
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(lines[: stale[0]]))
        self._file.close()
        temporary.replace(self._path)
        self._file = self._path.open("ab")

    def close(self) -> None:
        self._file.close()
        self._close_boards()
        self._mirror.close()

    def _close_boards(self) -> None:
        for board in self._boards.values():
            board.close()
        self._boards.clear()

    def _board(self, stage: str) -> SummaryWriter:
        """One TensorBoard run per stage, because steps count inside the stage."""
        if stage not in self._boards:
            stale = self._first_stale_step.pop(stage, None)
            # tensorboardX names files by the second and overwrites.
            unique = f".{time.time_ns()}"
            self._boards[stage] = SummaryWriter(
                str(self._tensorboard_dir / stage), purge_step=stale, filename_suffix=unique
            )
        return self._boards[stage]


class Silent:
    """The writer of a process that writes nothing."""

    def scalars(self, values: Mapping[str, float], step: int, stage: str) -> None: ...
    def push(self) -> None: ...
    def truncate(self, step: int, stage: str) -> None: ...
    def close(self) -> None: ...
    def has(self, stage: str, prefix: str) -> bool:
        return False
