"""What a stage says of itself while it trains: progress, metric lines, and the end when losses stay non-finite."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from e2etts_jax import chips, processes
from e2etts_jax.metrics import MetricsWriter, Silent
from e2etts_jax.stages import Stage

PHASES = ("step", "compile", "input", "save")
Cost = Callable[[int], Mapping[str, float]]
LINE_EVERY = 20.0  # seconds between progress lines where the output is no terminal


class StageLog:
    """Progress bar, metric lines and the guard against losses that stay non-finite. Only process 0 prints.

    Where the time goes, as `perf/*_share` of every line and in a last line for the stage: `compile` (a call of the step
    on a new shape), `input` (waiting for data), `save`, `step` (the rest between lines), `other` (before and after).
    """

    def __init__(self, config: ConfigDict, writer: MetricsWriter | Silent, stage: Stage, start: int, cost: Cost):
        """`cost`: model FLOPs of a step by group, from the tokens of its rows (`flops.step`)."""
        self.config, self.writer, self.stage, self.cost = config, writer, stage, cost
        self.chips, self.chip = jax.device_count(), chips.find(jax.devices()[0].device_kind)
        self.shapes: set[int] = set()
        self.whole = dict.fromkeys(PHASES, 0.0)
        self.speaks = processes.first_process()
        self.bar = tqdm(
            total=stage.steps,
            initial=start,
            desc=f"{stage.index + 1}/{len(config.run)} {stage.name}",
            unit="step",
            file=sys.stdout,
            disable=not (self.speaks and sys.stdout.isatty()),
            dynamic_ncols=True,
        )
        self.started, self.start, self.told = time.perf_counter(), start, time.perf_counter()
        self.reset()

    def reset(self) -> None:
        self.begun, self.steps, self.samples, self.filled, self.width = time.perf_counter(), 0, 0, 0, 0
        self.spent = dict.fromkeys(PHASES, 0.0)
        self.flops: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.spent[name] += time.perf_counter() - begun

    def call(self, width: int) -> contextlib.AbstractContextManager[None]:
        """The call of the step on rows of `width` samples: where that is a new shape, it is compiled first."""
        new = width not in self.shapes
        self.shapes.add(width)
        return self.phase("compile") if new else contextlib.nullcontext()

    def dispatched(self, samples: int, rows: Mapping[str, Any]) -> None:
        """Counts a step: `samples` of audio over all processes, padding included, and `rows`, this process's."""
        self.bar.update()
        self.steps += 1
        self.samples += samples
        self.filled += int(rows["wav_len"].sum())
        self.width += rows["wav"].size
        for group, count in self.cost(rows["wav"].shape[1] // self.config.audio.samples_per_token).items():
            self.flops[group] = self.flops.get(group, 0.0) + count

    def write(self, at: int, metrics: Any) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        skipped = int(values["guard/skipped"])
        if skipped >= self.config.max_skipped:
            words = (
                f"stage {self.stage.name}: loss or gradient was not finite in steps {at - skipped + 1} to {at} "
                "(batches of the same numbers); parameters are as before them. Lower the rate or look at the data"
            )
            raise processes.alike(FloatingPointError(words))
        wall = time.perf_counter() - self.begun
        audio = self.config.audio
        seconds = self.samples / audio.sample_rate / wall
        self.spent["step"] = wall - sum(self.spent.values())
        values |= {
            "perf/steps_per_s": self.steps / wall,
            "perf/audio_s_per_s": seconds,  # padding included
            "perf/audio_s_per_s_chip": seconds / self.chips,
            "perf/tokens_per_s_chip": self.samples / audio.samples_per_token / wall / self.chips,
            "perf/flops_per_s": sum(self.flops.values()) / wall,
            "perf/padding": 1.0 - self.filled / self.width if self.width else 0.0,
            **{f"perf/{name}_share": spent / wall for name, spent in self.spent.items()},
        }
        if self.chip is not None:
            peak = wall * self.chips * self.chip.flops
            values |= {f"perf/mfu_{group}": count / peak for group, count in self.flops.items()}
            values["perf/mfu"] = sum(self.flops.values()) / peak
        self.whole = {name: self.whole[name] + spent for name, spent in self.spent.items()}
        self.writer.scalars(values, at, self.stage.name)
        shown = {n.removeprefix("loss/"): f"{v:.3f}" for n, v in values.items() if n.startswith("loss/")}
        self.bar.set_postfix(shown, refresh=False)
        self.tell(at, shown)
        self.reset()

    def tell(self, at: int, shown: Mapping[str, str]) -> None:
        """Where the output is no terminal: a line now and then in place of the bar."""
        now = time.perf_counter()
        if not self.speaks or not self.bar.disable or (now - self.told < LINE_EVERY and at < self.stage.steps):
            return
        self.told = now
        left = (now - self.started) / (at - self.start) * (self.stage.steps - at)
        losses = "  ".join(f"{name} {value}" for name, value in shown.items())
        print(f"{self.stage.name} {at}/{self.stage.steps}, {left / 60:.1f} min left:  {losses}", flush=True)

    def close(self) -> None:
        self.bar.close()
        wall = time.perf_counter() - self.started
        shares = {**self.whole, "other": wall - sum(self.whole.values())}
        words = ", ".join(f"{name} {spent / wall:.0%}" for name, spent in shares.items() if spent >= 0.005 * wall)
        processes.say(f"{self.stage.name}: {wall:.0f} s, of which {words}")
