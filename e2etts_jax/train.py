"""The loop: build, restore or start, step, log, save, validate. What a step does is in step.py."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import linen as nn
from ml_collections import ConfigDict

from e2etts_jax import distributed, flops, losses, processes, rows, sharding, state, step, trainable
from e2etts_jax.checkpoint import Checkpointer, load_last, saved_stages
from e2etts_jax.data import pipeline, sources
from e2etts_jax.data.text import Texts, make_both
from e2etts_jax.infer import vocoder
from e2etts_jax.metrics import MetricsWriter, Silent
from e2etts_jax.profile import Profile
from e2etts_jax.progress import StageLog
from e2etts_jax.samples import CopySampler, Sampler, on_one_device
from e2etts_jax.stages import Stage, parse_run
from e2etts_jax.stopping import Interrupted, Stop
from e2etts_jax.system import System
from e2etts_jax.trainable import Trainable
from e2etts_jax.vocoding import VocoderSystem
from e2etts_jax.workdir import claim, keep_vocoder, keep_voice


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a config asks for.

    Attributes:
      share: of the rows of every batch, which part this process makes: its number, and how many parts there are.
    """

    system: Trainable
    terms: Mapping[str, losses.Term]
    stages: list[Stage]
    mesh: jax.sharding.Mesh
    rules: sharding.Rules
    share: tuple[int, int]
    texts: Texts

    @classmethod
    def of(cls, config: ConfigDict) -> "Setup":
        """Raises ValueError where the config contradicts itself, or asks for more than the devices can do."""
        texts = make_both(config.text)
        system = trainable.of_config(config, *texts.sizes)
        terms = system.terms()
        stages = parse_run(config, terms, system.groups, system.plan_type)
        if not stages:
            raise ValueError("config.run names no stage")
        mesh = sharding.make_mesh(config.mesh.shape)
        rows.check(mesh, stages)
        return cls(system, terms, stages, mesh, sharding.rules_of(config.mesh.rules), rows.share(mesh), texts)


@dataclasses.dataclass(frozen=True)
class Run(Setup):
    """What all stages of a run share."""

    config: ConfigDict
    workdir: str
    writer: MetricsWriter | Silent
    sampler: Sampler | CopySampler
    stop: Stop
    profile: str


def run(config: ConfigDict, workdir: str, profile: str = "") -> None:
    """Trains all stages of `config.run`, continuing whatever the workdir holds.

    Args:
      profile: steps of each stage to trace, `first:last`; see `Profile`.

    Raises:
      ValueError: a config that contradicts itself, or a workdir that belongs to another.
      Interrupted: stopped by SIGINT or SIGTERM after saving.
      FloatingPointError: too many steps in a row were not finite.
    """
    distributed.check()
    Profile(profile, workdir, "")  # a mistake must not wait for the data
    setup = processes.agreed(lambda: Setup.of(config))
    speaks = isinstance(setup.system, System)  # a vocoder in training has neither a voice nor words
    # nor for the first samples, which process 0 alone makes
    first = speaks and processes.first_process()
    processes.agreed(lambda: first and vocoder.choose(config.infer.vocoder, setup.system.mel))
    source = processes.in_turn(lambda: open_data(config, setup))
    same_everywhere(config, source)
    processes.first(lambda: claim(workdir, config))
    main = processes.first_process()
    voice = processes.agreed(lambda: keep_voice(workdir, config, source) if main and speaks else None)
    stop = Stop()
    with jax.set_mesh(setup.mesh), nn.logical_axis_rules(setup.rules), stop.listening():
        writer = processes.agreed(lambda: MetricsWriter(workdir) if main else Silent())
        system = setup.system
        sampler = CopySampler(config, system) if isinstance(system, VocoderSystem) else Sampler(config, voice)
        r = Run(
            **vars(setup), config=config, workdir=workdir, writer=writer, sampler=sampler, stop=stop, profile=profile
        )
        print_sizes(r)
        try:
            current, index = resume(r)
            for stage in setup.stages[index:]:
                if current is None or stage.index != index:
                    params = initial(r) if current is None else current.result
                    current = begin(r, stage, params)
                    r.writer.truncate(-1, stage.name)
                current = train_stage(r, stage, current)
        finally:
            r.writer.close()


def open_data(config: ConfigDict, setup: Setup) -> sources.Source:
    """The clips to train on; what is derived from them is there when this returns.

    Raises:
      ValueError: data sets that are not there, or that the models and stages can't use.
    """
    source = sources.open_source(config.data, "train")  # builds the data set if need be
    if isinstance(setup.system, System):
        check_data(setup.system, setup.stages, source)
    sources.open_source(config.data, "validation")  # now, not after the first stage
    return source


def same_everywhere(config: ConfigDict, source: sources.Source) -> None:
    """Refuses processes that were started with another config, or that see other data.

    Raises:
      ValueError: one was.
    """
    seen = f"{len(source)} {int(source.samples(config.audio.sample_rate).sum())}"
    told = processes.exchange(hashlib.sha256(f"{config.to_json()} {seen}".encode()).hexdigest())
    for i, word in enumerate(told):
        if word != told[0]:
            words = f"process {i} has another config than process 0, or other clips (this one has {len(source)})"
            raise processes.alike(ValueError(words))


def check_data(system: System, stages: Sequence[Stage], source: sources.Source) -> None:
    """Refuses models and stages that the data can't serve.

    Raises:
      ValueError: speaker vectors of another size, a labelled task with other classes, or one without labels.
    """
    sources.check_speaker(source, fm=system.fm.config.speaker, rm=system.rm.config.speaker)
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


def print_sizes(r: Run) -> None:
    processes.say(flops.parameter_table(r.system))
    dtype = np.dtype(r.system.dtype).name
    where = f"{r.mesh.size} device(s)" + (f" of {jax.process_count()} processes" if processes.several() else "")
    processes.say(f"computing in {dtype} on {where}")


# --- state: fresh, warm, restored -------------------------------------------------------------------------------------


def initial(r: Run) -> Any:
    """First parameters of the run: fresh, but for `warm_groups` where another workdir gives its last ones."""
    shardings = sharding.param_shardings(r.system.abstract(), r.mesh, r.rules)
    other, groups = r.config.warm_start, r.config.warm_groups
    unknown = [group for group in groups if group not in r.system.groups]
    if unknown:
        raise ValueError(f"warm_groups names unknown group {unknown[0]!r}: groups are {', '.join(r.system.groups)}")
    own = {g: place for g, place in shardings.items() if not other or g not in groups}
    make = jax.jit(lambda key: {g: p for g, p in r.system.unboxed(key).items() if g in own}, out_shardings=own)
    fresh = make(jax.random.key(r.config.seed))
    if isinstance(r.system, VocoderSystem) and r.config.warm_vocoder:
        fresh["vocoder"] = jax.device_put(published(r.config.warm_vocoder, r.system), shardings["vocoder"])
    if not other:
        return fresh
    try:
        names = json.loads((epath.Path(other) / "config.json").read_text())["run"]
    except OSError as error:
        raise ValueError(f"warm_start: {other} is not a workdir ({error})") from None
    places = dict(state.placed(r.system, r.stages[0], (), r.mesh, r.rules).params)
    try:
        return {**fresh, **load_last(other, names, groups, places)[1]}
    except FileNotFoundError as error:
        raise ValueError(f"warm_start: {error}") from None


def published(name: str, system: VocoderSystem) -> Any:
    """Parameters of the generator `name` (`infer.vocoder.weights`) for a vocoder of its shape.

    It may have read another mel: it learns.

    Raises:
      FileNotFoundError, ValueError: there is none, or it has another shape.
    """
    shape, mel, params = vocoder.weights(name)
    own = system.vocoder.config
    if (shape, mel.n_mels) != (own, system.mel.n_mels):
        raise ValueError(
            f"warm_vocoder: {name} is a {shape} of {mel.n_mels} bins, "
            f"but the config wants a {own} of {system.mel.n_mels}"
        )
    return params


def begin(r: Run, stage: Stage, params: Any) -> state.State:
    """First state of a stage: the parameters as they are, a fresh optimizer."""
    needs = step.needed(stage, r.terms)
    shardings = state.shardings(r.system, stage, needs, r.mesh, r.rules)
    make = jax.jit(lambda p: state.create(p, stage, r.config.seed, needs), out_shardings=shardings)
    return make(params)


def items(s: state.State) -> dict[str, Any]:
    """The state as checkpoint items: every group alone, so that one group can be warm-started.

    Who reads a group reads the stage's result; where that is an average, `live` has what training goes on with.
    """
    misc = {"step": s.step, "skipped": s.skipped, "key": s.key}
    live = {"live": {g: s.params[g] for g in s.ema}} if s.ema else {}
    return {**s.result, **live, "frozen": s.frozen, "opt": s.opt, "misc": misc}


def checkpointer(r: Run, stage: Stage) -> Checkpointer:
    return Checkpointer(str(epath.Path(r.workdir) / "checkpoints" / stage.name), keep=r.config.keep)


def resume(r: Run) -> tuple[state.State | None, int]:
    """The newest good state in the workdir and the index of its stage; (None, 0) if there is none."""
    there = processes.first(lambda: saved_stages(r.workdir))
    for stage in reversed(r.stages):
        if stage.name not in there:
            continue
        places = state.placed(r.system, stage, step.needed(stage, r.terms), r.mesh, r.rules)
        saver = checkpointer(r, stage)
        found = saver.restore(items(places))
        saver.close()
        if found is None:
            continue
        at, tree, _ = found
        live = tree.get("live", {})
        params, ema = {**{g: tree[g] for g in r.system.groups}, **live}, {g: tree[g] for g in live}
        r.writer.truncate(at, stage.name)
        processes.say(f"continuing stage {stage.name} at step {at} of {stage.steps}")
        return state.State(params, tree["frozen"], ema, tree["opt"], **tree["misc"]), stage.index
    return None, 0


# --- a stage ----------------------------------------------------------------------------------------------------------


def data(r: Run, split: str, stage: Stage) -> dict[str, Any]:
    c = r.config
    return {
        "cfg_data": c.data,
        "sample_rate": c.audio.sample_rate,
        "samples_per_token": c.audio.samples_per_token,
        "texts": r.texts,
        "split": split,
        "batch_size": stage.batch_size,
        "process_index": r.share[0],
        "process_count": r.share[1],
    }


def train_stage(r: Run, stage: Stage, s: state.State) -> state.State:
    """Trains a stage from `s.step` to its end, saving on the way."""
    c, saver = r.config, checkpointer(r, stage)
    start = saved = int(s.step)
    if start >= stage.steps and processes.first(lambda: r.writer.has(stage.name, "val/")):
        return s
    options = {"seed": c.seed + stage.index, "shuffle": True}
    batches = processes.in_turn(lambda: pipeline.make_batches(**data(r, "train", stage), **options))
    ahead = iter(pipeline.stream(batches, start, workers=c.data.workers, prefetch=c.data.prefetch))
    # the state leaves a step where it entered it, or the second step would compile again
    places = state.shardings(r.system, stage, step.needed(stage, r.terms), r.mesh, r.rules)
    one_step = step.make_train_step(r.system, stage, r.terms)
    train_step = jax.jit(one_step, donate_argnums=0, out_shardings=(places, None))
    shape = functools.partial(flops.Shape, rows=stage.batch_size, text=c.data.max_text)
    cost = functools.cache(lambda tokens: flops.step(r.system, stage, r.terms, shape(tokens=tokens)))
    log, profile = StageLog(c, r.writer, stage, start, cost), Profile(r.profile, r.workdir, stage.name)
    pending: tuple[int, Any] | None = None
    stop = False
    try:
        with processes.together():  # before `close`, which waits for the others
            for at in range(start + 1, stage.steps + 1):
                with log.phase("input"):
                    made = next(ahead)
                    batch = rows.put(r.mesh, made)
                profile.before(at)
                with log.call(batch.wav.shape[1]):
                    s, metrics = train_step(s, batch)
                log.dispatched(batch.wav.size, made)
                if pending is not None:  # fetched only now that the device has its next step
                    log.write(*pending)
                pending = (at, metrics) if at % c.log_every == 0 or at in (1, stage.steps) else None
                stop = r.stop()
                if stop:
                    break
                if c.listen_every and at % c.listen_every == 0 and at < stage.steps:
                    with log.phase("listen"):
                        r.sampler.log(s.result, r.writer, at, stage.name)
                if at % c.checkpoint_every == 0 or at == stage.steps:
                    if pending is not None:  # a run that goes on from this save won't log the step again
                        log.write(*pending)
                        pending = None
                    with log.phase("save"):
                        save(r, stage, saver, s, at)
                        saved = at
            if pending is not None:
                log.write(*pending)
            if stop or r.stop():
                done = int(s.step)
                if done > saved:
                    save(r, stage, saver, s, done)
                words = f"stopped in stage {stage.name} after step {done}; the same command continues there"
                raise processes.alike(Interrupted(words))
            validate(r, stage, s)
            r.sampler.log(s.result, r.writer, stage.steps, stage.name)
    finally:
        profile.close()
        log.close()
        saver.close()
    return s


def save(r: Run, stage: Stage, saver: Checkpointer, s: state.State, at: int) -> None:
    r.writer.push()
    system = r.system
    if isinstance(system, VocoderSystem):
        params = on_one_device(s.result["vocoder"])
        processes.first(lambda: keep_vocoder(r.workdir, system, params))
    saver.save(at, items(s), {"stage": stage.name, "seed": r.config.seed})


def validate(r: Run, stage: Stage, s: state.State) -> None:
    """Loss terms over the validation split, every clip once, logged as `val/<term>`."""
    evaluate = jax.jit(step.make_eval_step(r.system, stage, r.terms))
    sums: dict[str, list[float]] = {}
    batches = processes.in_turn(lambda: pipeline.make_eval_batches(**data(r, "validation", stage)))
    for batch in pipeline.stream(batches):
        for name, term in jax.device_get(evaluate(s, rows.put(r.mesh, batch))).items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + float(term.num), total[1] + float(term.den)
    means = {f"val/{name}": num / max(den, 1.0) for name, (num, den) in sums.items()}
    r.writer.scalars(means, stage.steps, stage.name)
    processes.say("  ".join(f"{name} {value:.4f}" for name, value in means.items()))
