"""The shipped system, shrunk until a step compiles in seconds, and ragged batches for it."""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from e2etts_jax import losses, stages
from e2etts_jax.data.text import make_both
from e2etts_jax.forward import REFERENCE, forward
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan, Stage
from e2etts_jax.state import State, create
from e2etts_jax.step import Step, make_train_step, needed
from e2etts_jax.system import System
from e2etts_jax.types import GROUPS, Batch, Params

ROWS, SIZE, TEXT = 4, 8, 6  # of a batch: rows, speech tokens, characters
STEPS = 120  # of a stage


def shrink(config: ConfigDict) -> ConfigDict:
    """A copy of a config with small models, fp32 and short batches; what it is made of stays."""
    c = config.copy_and_resolve_references()
    c.dtype = "float32"
    c.mel.n_mels, c.tokenizer_mel.n_mels = (
        c.mel.n_mels // 5,
        c.tokenizer_mel.n_mels // 5,
    )  # noise has to pass through width 32
    m = c.model
    for part in (m.tokenizer, m.rm, m.fm, m.llm):
        part.layers, part.width, part.heads, part.ff = 1, 32, 2, 32
    m.tokenizer.kernel = m.rm.kernel = 3
    m.tokenizer.dims, m.tokenizer.q_width = 4, 16
    m.llm.kv_heads, m.llm.head_dim, m.llm.adapter_width = 2, 16, 32
    m.llm.embed_std = 0.5  # a width of 32 carries less than one of 256
    m.fm.look_ahead, m.fm.patch = 1, min(m.fm.patch, 2)  # noise of four frames would not pass either
    m.rm.speaker = m.fm.speaker = 8
    if m.fm.cond_hidden:
        m.fm.cond_hidden = m.llm.width
    c.data.buckets, c.data.max_text = (SIZE,), TEXT
    for stage in c.stages.values():
        stage.steps, stage.batch_size, stage.optimizer.warmup = STEPS, ROWS, 5
        stage.optimizer.muon = min(stage.optimizer.muon, 2.0)  # the rates below are five times as high
        for group in stage.train:
            stage.lr[group] = 5e-3
        stage.plan.fm_crop_tokens = min(stage.plan.fm_crop_tokens, SIZE - 2)
        stage.plan.fm_chunks = tuple(min(size, 3) for size in stage.plan.fm_chunks)
    return c


@dataclasses.dataclass(frozen=True, eq=False)
class Tiny:
    """A shrunken config, built."""

    config: ConfigDict
    system: System
    terms: Mapping[str, losses.Term]
    made: dict[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)  # compiled so far

    @functools.cached_property
    def fresh(self) -> Params:
        """First parameters, as training starts with them."""
        return fast_jit(self.system.unboxed)(jax.random.key(0))

    @functools.cached_property
    def params(self) -> Params:
        """Parameters as if training had gone on: nothing is exactly zero, so no gradient is zero by accident."""
        leaves, tree = jax.tree.flatten(self.fresh)
        rng = np.random.default_rng(0)
        return jax.tree.unflatten(tree, [x + 0.1 * rng.standard_normal(x.shape, np.float32) for x in leaves])

    @functools.cached_property
    def stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in stages.parse_run(self.config, self.terms)}

    def state(self, stage: Stage, params: Params | None = None) -> State:
        """A first state in buffers of its own, so that it can be donated."""
        return create(jax.tree.map(jnp.copy, params or self.params), stage, 0, needed(stage, self.terms))

    def step(self, stage: Stage) -> Step:
        """The compiled step, one a session for all test modules."""
        key = repr(stage)
        if key not in self.made:
            self.made[key] = fast_jit(make_train_step(self.system, stage, self.terms), donate_argnums=0)
        return self.made[key]

    def probe(self, plan: Plan, names: tuple[str, ...]) -> Callable[..., "Probed"]:
        """Compiled `(params, batch, weights, step=9) -> Probed` for the terms `names`, one a session.

        The losses are means; the first parameters of the LLM are the reference of `kl_ref`. Step 0 comes before
        `plan.continuous_steps`, if there are any, and step 9 after.
        """
        key = repr((plan, names))
        if key not in self.made:
            needs = tuple(sorted({need for name in names for need in self.terms[name].needs}))

            def total(params: Params, batch: Batch, weights: jax.Array, step: jax.Array) -> tuple[jax.Array, Any]:
                streams = Streams(jax.random.key(5), batch.row)
                everything = {**params, REFERENCE: self.fresh["llm"]}
                out = forward(self.system, everything, batch, streams, plan, needs, step)
                values = jnp.stack([self.terms[name].fn(out, batch).mean for name in names])
                return values @ weights, (values, out["tokens"].ids)

            @fast_jit
            def run(params: Params, batch: Batch, weights: jax.Array, step: int) -> Probed:
                (_, (values, ids)), grads = jax.value_and_grad(total, has_aux=True)(params, batch, weights, step)
                return Probed(values, grads, ids)

            self.made[key] = lambda params, batch, weights, step=9: run(params, batch, weights, step)
        return self.made[key]


class Probed(NamedTuple):
    """Losses [N], gradient of their weighted sum by group, token ids."""

    values: jax.Array
    grads: Params
    ids: jax.Array


def fast_jit(fn: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
    """`jax.jit` that spends little on optimisation: a test runs its program only a few times."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(fn, compiler_options=options, **kwargs)


@functools.cache
def load(recipe: str, arg: str = "tiny") -> ConfigDict:
    """The config of `--config=configs/<recipe>.py:<arg>`."""
    return importlib.import_module(f"configs.{recipe}").get_config(arg)


@functools.cache
def tiny(recipe: str = "joint", arg: str = "tiny") -> Tiny:
    """The shrunken system of a shipped config; `arg` may carry `key=value` pairs, which shrinking may override."""
    return build(shrink(load(recipe, arg)))


def build(config: ConfigDict) -> Tiny:
    """Builds a config as the training loop does."""
    terms = losses.terms(config.model.rm.tasks)
    return Tiny(config, System.from_config(config, *make_both(config.text).sizes), terms)


def batch(
    t: Tiny, rows: int = ROWS, size: int = SIZE, text: int = TEXT, seed: int = 0, filler: tuple[int, ...] = (-1,)
) -> Batch:
    """A ragged batch of tones keyed by text: character c sounds as one of 28 pitches.

    The rows up to ROWS are the same whatever `rows`, `size` and `text` are, as long as they fit.

    Args:
      filler: rows without a clip.
    """
    spt, rate = t.config.audio.samples_per_token, t.config.audio.sample_rate
    speaker = t.config.model.fm.speaker
    out = {
        "wav": np.zeros((rows, size * spt), np.float32),
        "wav_len": np.zeros(rows, np.int32),
        "prompt_len": np.zeros(rows, np.int32),
        "text": np.zeros((rows, text), np.int32),
        "text_len": np.zeros(rows, np.int32),
        "speaker": np.zeros((rows, speaker), np.float32),
        "speaker_mask": np.zeros(rows, bool),
    }
    empty = {row % rows for row in filler}
    for row in range(rows):
        if row in empty:
            continue
        rng = np.random.default_rng((seed, row))
        chars = rng.integers(1, len(t.config.text.alphabet) + 1, 2 + (row + seed) % (min(text, TEXT) - 2))
        samples = (min(size, SIZE) - row % 3) * spt - int(rng.integers(0, spt))
        pitch = 110.0 * 2.0 ** (np.repeat(chars, -(-samples // len(chars)))[:samples] / 6.0)
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) + 0.01 * rng.standard_normal(samples)
        out["wav"][row, :samples] = wave
        out["wav_len"][row] = samples
        out["text"][row, : len(chars)], out["text_len"][row] = chars, len(chars)
        if row != 1:  # one clip of an unknown speaker
            out["speaker"][row], out["speaker_mask"][row] = rng.standard_normal(speaker), True
    labels = {name: np.arange(rows, dtype=np.int32) % classes - 1 for name, classes in t.config.model.rm.tasks}
    return jax.tree.map(jnp.asarray, Batch(**out, labels=labels, row=np.arange(rows, dtype=np.int32)))


def with_terms(stage: Stage, **terms: float) -> Stage:
    """The stage with other terms."""
    return dataclasses.replace(stage, terms=terms)


def first_moments(opt: Any) -> Any:
    """First moments of a group as a tree like its parameters: each has its own in the state of AdamW or of Muon."""
    trees = [tree for _, tree in optax.tree.get_all_with_path(opt, "mu")]

    def absent(x: Any) -> bool:
        return isinstance(x, optax.MaskedNode)

    return jax.tree.map(lambda *found: next(x for x in found if not absent(x)), *trees, is_leaf=absent)


def norms(grads: Mapping[str, Any]) -> dict[str, float]:
    """Norm of each group's gradient."""
    return {g: float(optax.tree.norm(grads[g])) for g in GROUPS}


def same_bits(a: Any, b: Any) -> bool:
    """Are all leaves of two trees equal, bit by bit?"""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)
