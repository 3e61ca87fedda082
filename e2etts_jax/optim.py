"""One optimizer per trained group: clip by the group's norm, warm up, decay; AdamW, or Muon for matrices of blocks."""

import dataclasses
from typing import Any

import jax
import optax

from e2etts_jax.stages import Optimizer
from e2etts_jax.types import Params

NEWTON_SCHULZ_STEPS = 3  # with 5 the LLM learned alike, at 7 % more a CPU step (docs/results/recipe)
DECAYED = ("kernel", "text_embed", "control", "rows")  # weight decay is for matrices, not for norms and biases


def schedule(config: Optimizer, steps: int) -> optax.Schedule:
    """Learning rate over the stage: linear warm-up from 0, then `config.decay` to `final * lr` at the last step."""
    warm = min(config.warmup, steps - 1)
    if config.decay == "cosine":
        after = optax.cosine_decay_schedule(config.lr, max(steps - warm, 1), alpha=config.final)
    else:
        after = optax.constant_schedule(config.lr)
    if not warm:
        return after
    # step 0 already moves: a first step at rate 0 is a wasted step
    return optax.join_schedules([optax.linear_schedule(config.lr / warm, config.lr, warm), after], [warm])


def matrices(params: Params) -> Any:
    """Muon's view of a group: axes (in, out) of the kernels [layers, in, out] of a layer scan, None for the rest."""

    def axes(path: Any, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        names = [part.key for part in path]
        mixes = names[-1] == "kernel" and "blocks" in names and not {"modulation", "depthwise"} & set(names)
        return optax.contrib.MuonDimensionNumbers(1, 2) if mixes else None

    return jax.tree_util.tree_map_with_path(axes, params)


def make(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optimizer of one group for one stage."""

    def decayed(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)

    clip, rate = optax.clip_by_global_norm(config.clip), schedule(config, steps)
    if not config.muon:
        adam = optax.adamw(rate, config.beta1, config.beta2, weight_decay=config.weight_decay, mask=decayed)
        return optax.chain(clip, adam)
    muon = optax.contrib.muon(
        schedule(dataclasses.replace(config, lr=config.muon * config.lr), steps),
        ns_steps=NEWTON_SCHULZ_STEPS,
        consistent_rms=0.2,
        adam_b1=config.beta1,
        adam_b2=config.beta2,
        adam_learning_rate=rate,
        muon_weight_dimension_numbers=matrices,
    )
    # outside, because optax's Muon decays what it leaves to Adam without a mask
    decay = optax.add_decayed_weights(lambda count: -config.weight_decay * rate(count), mask=decayed)
    return optax.chain(clip, muon, decay)
