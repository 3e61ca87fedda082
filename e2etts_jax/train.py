"""The loop: build, restore or start, step, log, save, validate. What a step does is in step.py."""

import contextlib
import dataclasses
import glob
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from tqdm import tqdm

from e2etts_jax import losses, sharding, state, step
from e2etts_jax.checkpoint import Checkpointer, load_items
from e2etts_jax.data import pipeline, sources
from e2etts_jax.data.catalog import SPEAKER_DIM
from e2etts_jax.data.text import Tokenizer
from e2etts_jax.data.text import make as make_tokenizer
from e2etts_jax.infer.synthesizer import ONE_VOICE, VOICE
from e2etts_jax.metrics import MetricsWriter
from e2etts_jax.samples import Sampler
from e2etts_jax.stages import Stage, parse_run
from e2etts_jax.system import System
from e2etts_jax.types import GROUPS, Batch

logger = logging.getLogger(__name__)

# What may differ between two runs of one workdir: nothing here changes a bit of the result.
FREE = ("log_every", "checkpoint_every", "keep", "max_skipped", "infer", "data.workers", "data.prefetch")


VOICE_CLIPS = 100  # clips in which a speaker vector is looked for
LINE_EVERY = 20.0  # seconds between progress lines where the output is no terminal


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""


@dataclasses.dataclass
class Run:
    """What all stages of a run share."""

    config: ConfigDict
    workdir: str
    system: System
    terms: Mapping[str, losses.Term]
    stages: list[Stage]
    mesh: jax.sharding.Mesh
    rules: sharding.Rules
    text: Tokenizer
    writer: MetricsWriter
    sampler: Sampler
    stop: list[int]  # signals received


def run(config: ConfigDict, workdir: str) -> None:
    """Trains all stages of `config.run`, continuing whatever the workdir holds.

    Raises:
      ValueError: a config that contradicts itself, or a workdir that belongs to another.
      Interrupted: stopped by SIGINT or SIGTERM after saving.
      FloatingPointError: too many steps in a row were not finite.
    """
    text = make_tokenizer(config.text)
    system = System.from_config(config, text.vocab_size)
    terms = losses.terms(system.rm.config.tasks, speaker=system.rm.config.speaker > 0)
    stages = parse_run(config, terms)
    if not stages:
        raise ValueError("config.run names no stage")
    mesh, rules = sharding.make_mesh(config.mesh.shape), sharding.rules_of(config.mesh.rules)
    source = sources.open_source(config.data, "train")  # builds the data set if need be
    check_data(system, stages, source)
    sources.open_source(config.data, "validation")  # now, not after the first stage
    claim(workdir, config)
    voice = keep_voice(workdir, config, source)
    stop: list[int] = []
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules), catch_signals(stop):
        writer, sampler = MetricsWriter(workdir), Sampler(config, voice)
        r = Run(config, workdir, system, terms, stages, mesh, rules, text, writer, sampler, stop)
        print_sizes(r)
        try:
            current, index = resume(r)
            for stage in stages[index:]:
                if current is None or stage.index != index:
                    params = initial(r) if current is None else current.params
                    current = begin(r, stage, params)
                    r.writer.truncate(-1, stage.name)
                current = train_stage(r, stage, current)
        finally:
            r.writer.close()


def check_data(system: System, stages: Sequence[Stage], source: sources.Source) -> None:
    """Refuses models and stages that the data can't serve.

    Raises:
      ValueError: speaker vectors of another size, a labelled task with other classes, or one without labels.
    """
    for model, size in (("rm", system.rm.config.speaker), ("fm", system.fm.config.speaker)):
        if size not in (0, SPEAKER_DIM) or (model == "fm" and not size):
            raise ValueError(f"model.{model}.speaker={size}: speaker vectors of the data have {SPEAKER_DIM} numbers")
    for task, classes in system.rm.config.tasks:
        names = source.label_names.get(task)
        if names is None:
            asking = [stage.name for stage in stages if f"rm_{task}" in stage.all_terms]
            if asking:
                has = ", ".join(source.label_names) or "none"
                raise ValueError(f"stage {asking[0]!r} learns {task!r}, but {source!r} has no such label; it has {has}")
        elif len(names) != classes:
            raise ValueError(
                f"model.rm.tasks gives {task!r} {classes} classes, the data has {len(names)}: {', '.join(names[:12])}"
            )


def keep_voice(workdir: str, config: ConfigDict, source: sources.Source) -> np.ndarray | None:
    """The voice to speak with after training on many: that of the first clip which has one, kept in the workdir."""
    if config.data.dataset in ONE_VOICE:
        return None
    for i in range(min(len(source), VOICE_CLIPS)):
        vector = source.speaker(i)
        if vector is not None:
            np.save(os.path.join(workdir, VOICE), vector)
            return vector
    return None


def claim(workdir: str, config: ConfigDict) -> None:
    """Writes the resolved config into a workdir; refuses one in which another config has trained."""
    path, metrics = os.path.join(workdir, "config.json"), os.path.join(workdir, "metrics.jsonl")
    mine = json.loads(config.to_json())
    logged = os.path.exists(metrics) and os.path.getsize(metrics) > 0
    if os.path.exists(path) and (logged or glob.glob(os.path.join(workdir, "checkpoints", "*", "*"))):
        with open(path) as file:
            theirs = json.load(file)
        changed = [key for key in different(theirs, mine) if not key.startswith(FREE)]
        if changed:
            raise ValueError(
                f"workdir {workdir} belongs to another config (different: {', '.join(changed[:8])}): "
                "choose another --workdir, or the config it was made with"
            )
    try:
        os.makedirs(workdir, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"workdir {workdir} is a file: choose another --workdir") from None
    with open(path + ".tmp", "w") as file:
        json.dump(mine, file, indent=1, sort_keys=True)
    os.replace(path + ".tmp", path)


def different(a: Any, b: Any, prefix: str = "") -> list[str]:
    """Dotted names of the leaves in which two JSON trees differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [x for k in sorted({*a, *b}) for x in different(a.get(k), b.get(k), f"{prefix}{k}.")]
    return [] if a == b else [prefix.rstrip(".")]


@contextlib.contextmanager
def catch_signals(stop: list[int]) -> Iterator[None]:
    """SIGINT and SIGTERM append to `stop`; a second one kills as usual."""

    def note(number: int, frame: Any) -> None:
        stop.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_sizes(r: Run) -> None:
    sizes = {g: sum(x.size for x in jax.tree.leaves(p)) for g, p in r.system.abstract().items()}
    parts = "  ".join(f"{g} {n / 1e6:.2f} M" for g, n in sizes.items())
    dtype = np.dtype(r.system.tokenizer.dtype).name
    print(f"parameters: {parts}  all {sum(sizes.values()) / 1e6:.2f} M; compute {dtype} on {r.mesh.size} device(s)")


# --- state: fresh, warm, restored -------------------------------------------------------------------------------------


def initial(r: Run) -> Any:
    """First parameters of the run: fresh, but for `warm_groups` where another workdir gives its last ones."""
    shardings = sharding.param_shardings(r.system.abstract(), r.mesh, r.rules)
    other, groups = r.config.warm_start, r.config.warm_groups
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise ValueError(f"warm_groups names unknown group {unknown[0]!r}: groups are {', '.join(GROUPS)}")
    own = {g: place for g, place in shardings.items() if not other or g not in groups}
    make = jax.jit(lambda key: {g: p for g, p in r.system.unboxed(key).items() if g in own}, out_shardings=own)
    fresh = make(jax.random.key(r.config.seed))
    if not other:
        return fresh
    try:
        with open(os.path.join(other, "config.json")) as file:
            names = json.load(file)["run"]
    except OSError as error:
        raise ValueError(f"warm_start: {other} is not a workdir ({error})") from None
    abstract = state.abstract(r.system, r.stages[0], ())
    places = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract.params, shardings)
    for name in reversed(names):
        directory = os.path.join(other, "checkpoints", name)
        if os.path.isdir(directory):
            try:
                return {**fresh, **load_items(directory, groups, places)}
            except FileNotFoundError:  # nothing usable of this stage: take the one before
                continue
    raise ValueError(f"warm_start: {other} holds no usable checkpoint")


def begin(r: Run, stage: Stage, params: Any) -> state.State:
    """First state of a stage: the parameters as they are, a fresh optimizer."""
    needs = step.needed(stage, r.terms)
    shardings = state.shardings(r.system, stage, needs, r.mesh, r.rules)
    make = jax.jit(lambda p: state.create(p, stage, r.config.seed, needs), out_shardings=shardings)
    return make(params)


def items(s: state.State) -> dict[str, Any]:
    """The state as checkpoint items: every group alone, so that one group can be warm-started."""
    misc = {"step": s.step, "skipped": s.skipped, "key": s.key}
    return {**s.params, "frozen": s.frozen, "opt": s.opt, "misc": misc}


def checkpointer(r: Run, stage: Stage) -> Checkpointer:
    return Checkpointer(os.path.join(r.workdir, "checkpoints", stage.name), keep=r.config.keep)


def resume(r: Run) -> tuple[state.State | None, int]:
    """The newest good state in the workdir and the index of its stage; (None, 0) if there is none."""
    for stage in reversed(r.stages):
        if not os.path.isdir(os.path.join(r.workdir, "checkpoints", stage.name)):
            continue
        needs = step.needed(stage, r.terms)
        abstract = state.abstract(r.system, stage, needs)
        shardings = state.shardings(r.system, stage, needs, r.mesh, r.rules)
        places = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings)
        saver = checkpointer(r, stage)
        found = saver.restore(items(places))
        saver.close()
        if found is None:
            continue
        at, tree, _ = found
        params = {g: tree[g] for g in GROUPS}
        r.writer.truncate(at, stage.name)
        print(f"continuing stage {stage.name} at step {at} of {stage.steps}", flush=True)
        return state.State(params, tree["frozen"], tree["opt"], **tree["misc"]), stage.index
    return None, 0


# --- a stage ----------------------------------------------------------------------------------------------------------


def data(r: Run, split: str, stage: Stage) -> dict[str, Any]:
    c = r.config
    return {
        "cfg_data": c.data,
        "sample_rate": c.audio.sample_rate,
        "samples_per_token": c.audio.samples_per_token,
        "tokenizer": r.text,
        "split": split,
        "batch_size": stage.batch_size,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }


def put(r: Run, batch: Mapping[str, Any]) -> Batch:
    """This process's rows of a batch onto its devices."""
    place = sharding.batch_sharding(r.mesh)
    return Batch(**jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), dict(batch)))


def train_stage(r: Run, stage: Stage, s: state.State) -> state.State:
    """Trains a stage from `s.step` to its end, saving on the way."""
    c, saver = r.config, checkpointer(r, stage)
    start = saved = int(s.step)
    if start >= stage.steps and validated(r, stage):
        return s
    options = {"seed": c.seed + stage.index, "shuffle": True}
    batches = pipeline.make_batches(**data(r, "train", stage), **options)
    ahead = iter(pipeline.stream(batches, start, workers=c.data.workers, prefetch=c.data.prefetch))
    # the state leaves a step where it entered it, or the second step would compile again
    places = state.shardings(r.system, stage, step.needed(stage, r.terms), r.mesh, r.rules)
    one_step = step.make_train_step(r.system, stage, r.terms)
    train_step = jax.jit(one_step, donate_argnums=0, out_shardings=(places, None))
    log = StageLog(r, stage, start)
    pending: tuple[int, Any] | None = None
    try:
        for at in range(start + 1, stage.steps + 1):
            with log.phase("input"):
                rows = next(ahead)
                batch = put(r, rows)
            s, metrics = train_step(s, batch)
            log.dispatched(batch.wav.size, rows)
            if pending is not None:  # fetched only now that the device has its next step
                log.write(*pending)
            pending = (at, metrics) if at % c.log_every == 0 or at in (1, stage.steps) else None
            if r.stop:
                break
            if at % c.checkpoint_every == 0 or at == stage.steps:
                if pending is not None:  # a run that goes on from this save won't log the step again
                    log.write(*pending)
                    pending = None
                with log.phase("save"):
                    save(r, stage, saver, s, at)
                    saved = at
        if pending is not None:
            log.write(*pending)
        if r.stop:
            done = int(s.step)
            if done > saved:
                save(r, stage, saver, s, done)
            raise Interrupted(f"stopped in stage {stage.name} after step {done}; the same command continues there")
        validate(r, stage, s)
        r.sampler.log(s.params, r.writer, stage.steps, stage.name)
    finally:
        log.close()
        saver.close()
    return s


def save(r: Run, stage: Stage, saver: Checkpointer, s: state.State, at: int) -> None:
    saver.save(at, items(s), {"stage": stage.name, "seed": r.config.seed})


def validate(r: Run, stage: Stage, s: state.State) -> None:
    """Loss terms over the validation split, every clip once, logged as `val/<term>`."""
    evaluate = jax.jit(step.make_eval_step(r.system, stage, r.terms))
    sums: dict[str, list[float]] = {}
    for batch in pipeline.stream(pipeline.make_eval_batches(**data(r, "validation", stage))):
        for name, term in jax.device_get(evaluate(s, put(r, batch))).items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + float(term.num), total[1] + float(term.den)
    means = {f"val/{name}": num / max(den, 1.0) for name, (num, den) in sums.items()}
    r.writer.scalars(means, stage.steps, stage.name)
    print("  ".join(f"{name} {value:.4f}" for name, value in means.items()))


def validated(r: Run, stage: Stage) -> bool:
    """Is the stage's validation logged? A run may end between the last save and that."""
    with open(os.path.join(r.workdir, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    return any(line["stage"] == stage.name and any(name.startswith("val/") for name in line) for line in lines)


class StageLog:
    """Progress bar, metric lines and the guard against losses that stay non-finite."""

    def __init__(self, r: Run, stage: Stage, start: int):
        self.r, self.stage = r, stage
        self.bar = tqdm(
            total=stage.steps,
            initial=start,
            desc=f"{stage.index + 1}/{len(r.stages)} {stage.name}",
            unit="step",
            file=sys.stdout,
            disable=not sys.stdout.isatty(),
            dynamic_ncols=True,
        )
        self.started, self.start, self.told = time.perf_counter(), start, time.perf_counter()
        self.reset()

    def reset(self) -> None:
        self.begun, self.steps, self.samples, self.filled, self.width = time.perf_counter(), 0, 0, 0, 0
        self.spent = {"input": 0.0, "save": 0.0}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.spent[name] += time.perf_counter() - begun

    def dispatched(self, samples: int, rows: Mapping[str, Any]) -> None:
        """Counts a step: `samples` of audio over all processes, padding included, and `rows`, this process's."""
        self.bar.update()
        self.steps += 1
        self.samples += samples
        self.filled += int(rows["wav_len"].sum())
        self.width += rows["wav"].size

    def write(self, at: int, metrics: Any) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        skipped = int(values["guard/skipped"])
        if skipped >= self.r.config.max_skipped:
            raise FloatingPointError(
                f"stage {self.stage.name}: loss or gradient was not finite in steps {at - skipped + 1} to {at} "
                "(batches of the same numbers); parameters are as before them. Lower the rate or look at the data"
            )
        wall = time.perf_counter() - self.begun
        rate = self.r.config.audio.sample_rate
        values |= {
            "perf/steps_per_s": self.steps / wall,
            "perf/audio_s_per_s": self.samples / rate / wall,  # padding included
            "perf/padding": 1.0 - self.filled / self.width if self.width else 0.0,
            "perf/input_share": self.spent["input"] / wall,
            "perf/save_share": self.spent["save"] / wall,
        }
        self.r.writer.scalars(values, at, self.stage.name)
        shown = {n.removeprefix("loss/"): f"{v:.3f}" for n, v in values.items() if n.startswith("loss/")}
        self.bar.set_postfix(shown, refresh=False)
        self.tell(at, shown)
        self.reset()

    def tell(self, at: int, shown: Mapping[str, str]) -> None:
        """Where the output is no terminal: a line now and then in place of the bar."""
        now = time.perf_counter()
        if not self.bar.disable or (now - self.told < LINE_EVERY and at < self.stage.steps):
            return
        self.told = now
        left = (now - self.started) / (at - self.start) * (self.stage.steps - at)
        losses = "  ".join(f"{name} {value}" for name, value in shown.items())
        print(f"{self.stage.name} {at}/{self.stage.steps}, {left / 60:.1f} min left:  {losses}", flush=True)

    def close(self) -> None:
        self.bar.close()
