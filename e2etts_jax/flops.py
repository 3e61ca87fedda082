"""Floating point operations of a step, counted from shapes: the one formula behind every MFU.

A forward pass costs 2 x (numbers of a kernel) x (positions it reads), and attention 4 x heads x head width x positions
squared, half of it where causal. Of a group, a step counts

    passes forward x (1, and 1 more if a gradient runs through its activations, and 1 more if it trains),

nothing for what is computed again to save memory, for mels, norms, embeddings or the optimizer.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from e2etts_jax.losses import Term
from e2etts_jax.stages import Stage
from e2etts_jax.step import needed
from e2etts_jax.system import System
from e2etts_jax.trainable import Trainable
from e2etts_jax.types import GROUPS
from e2etts_jax.vocoding import VocoderSystem

ONCE_A_ROW = {"modulation", "final_modulation", "time_in", "time_out", "speaker", "spk"}  # and task_*


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of a padded batch: rows, speech tokens, text ids."""

    rows: int
    tokens: int
    text: int


def forward(system: System, shape: Shape, window: int = 0) -> dict[str, float]:
    """FLOPs of one forward pass of each group.

    Args:
      window: tokens that the FM sees of each row, 0 = all.
    """
    window = min(window or shape.tokens, shape.tokens)
    rows, tokens = shape.rows, shape.tokens
    length = {
        "tokenizer": tokens,
        "llm": shape.text + 2 + tokens,
        "fm": window * system.frames_per_token // system.fm.config.patch,
        "rm": tokens,
    }

    def positions(group: str, path: tuple[str, ...]) -> float:
        if ONCE_A_ROW & set(path) or any(part.startswith("task_") for part in path):
            return rows
        if path[0].startswith("subsample"):
            return rows * tokens * 2 ** (system.tokenizer.config.halvings - 1 - int(path[0].split("_")[1]))
        if path[0] == "speech":
            return rows * tokens + system.vocab
        if path[0] in ("cond_q", "cond_h", "spread", "context"):
            return rows * window
        return rows * length[group]

    made = dict.fromkeys(GROUPS, 0.0)
    for group, params in system.abstract().items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            names = tuple(part.key for part in path if hasattr(part, "key"))  # without the box around the array
            if "kernel" in names:
                made[group] += 2.0 * leaf.size * positions(group, names)
    for group in GROUPS:
        config = getattr(system, group).config
        head = getattr(config, "head_dim", config.width // config.heads)
        attention = 4.0 * config.layers * config.heads * head * rows * length[group] ** 2
        made[group] += attention / 2 if group == "llm" else attention
    made["llm"] += 2.0 * rows * (tokens + 1) * (system.vocab + 1) * system.llm.config.width
    return made


def step(
    system: Trainable, stage: Stage, terms: Mapping[str, Term], shape: Shape, recomputed: bool = False
) -> dict[str, float]:
    """Model FLOPs of one training step, by group.

    Args:
      recomputed: count what rematerialised layers compute again, too: what the hardware does, no part of an MFU.
    """
    if isinstance(system, VocoderSystem):
        return of_vocoder(system, stage, terms, shape)
    if isinstance(system, System):
        return of_speech(system, stage, terms, shape, recomputed)
    raise TypeError(f"the operations of a {type(system).__name__} are not counted")


def of_vocoder(system: VocoderSystem, stage: Stage, terms: Mapping[str, Term], shape: Shape) -> dict[str, float]:
    """Of the step of a vocoder and its critics, who hear the recorded and the generated sound."""
    frames = min(stage.plan.segment, shape.tokens * system.samples_per_token // system.mel.hop)
    seen = {"vocoder": (frames, system.mel.n_mels), "critics": (frames * system.mel.hop,)}
    # unboxed inside: `nn.unbox` of abstract parameters fails under a mesh
    params = jax.eval_shape(system.unboxed, jax.eval_shape(lambda: jax.random.key(0)))

    def once(group: str) -> float:
        given = jax.ShapeDtypeStruct((1, *seen[group]), jnp.float32)
        return shape.rows * convolutions(getattr(system, group).apply, {"params": params[group]}, given)

    needs, trained = set(needed(stage, terms)), {g for n in stage.terms for g in terms[n].groups(stage.plan)}
    trained &= set(stage.train)
    heard = bool(needs & {"verdicts", "impressions"})
    persuaded = "vocoder" in trained and "impressions" in {need for n in stage.terms for need in terms[n].needs}
    return {
        "vocoder": once("vocoder") * (1 + 2 * ("vocoder" in trained)),
        "critics": once("critics") * (2 * heard * (1 + 2 * ("critics" in trained)) + persuaded),
    }


def convolutions(fn: Callable[..., Any], *args: Any) -> float:
    """Of the convolutions of `fn(*args)`; the zeros that an upsampling puts between samples do not count."""

    def count(jaxpr: Any) -> float:
        total = 0.0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval
                outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
                total += 2.0 * out.size * math.prod(kernel) / outputs / math.prod(equation.params["lhs_dilation"])
            for value in equation.params.values():
                total += count(value.jaxpr) if hasattr(value, "jaxpr") else 0.0
        return total

    return count(jax.make_jaxpr(fn)(*args).jaxpr)


def of_speech(
    system: System, stage: Stage, terms: Mapping[str, Term], shape: Shape, recomputed: bool
) -> dict[str, float]:
    """Of the step of the four models."""
    plan, once = stage.plan, forward(system, shape, stage.plan.fm_crop_tokens)
    needs = set(needed(stage, terms))
    reached = {g for name in stage.terms for g in terms[name].groups(plan)} & set(stage.train)

    def cost(group: str, upstream: set[str]) -> int:
        """1 forward, and what the backward pass adds; `upstream` are the groups that made what this one reads."""
        trains = group in stage.train and group in reached
        back = bool(trains or upstream & set(stage.train))
        again = recomputed and back and getattr(system, group).config.remat != "none"
        return 1 + trains + back + again

    into_fm = set(terms["flow_match"].groups(plan)) - {"fm"}
    into_rm = set(terms["rm_ctc"].groups(plan)) - {"rm"}
    augmented = bool(plan.rm_noise_db or plan.rm_speed) and "rm" in needs
    reads = bool(needs & {"lm", "kl"} or any("llm" in way for way in (plan.tokens_to_fm, plan.tokens_to_rm)))
    passes = {
        "tokenizer": cost("tokenizer", set()) * (1 + augmented),
        "llm": reads * cost("llm", {"tokenizer"} if plan.lm_into_tokenizer else set()) + ("lm_ref" in needs),
        "fm": cost("fm", into_fm) * (("flow" in needs) + ("recon" in needs) * plan.fm_unroll_steps),
        "rm": ("rm" in needs) * cost("rm", into_rm),
    }
    if "rm_sampled" in needs:  # drawn token by token, then read in one pass
        passes["llm"] += 1 + cost("llm", set())
        passes["rm"] += cost("rm", {"llm"})
    return {group: once[group] * count for group, count in passes.items()}


def parameter_table(system: Trainable) -> str:
    """Parameters of every part, as text: group, part, shape of the layers, numbers."""
    lines, whole = [], 0
    for group, params in system.abstract().items():
        parts: dict[str, int] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            names = [part.key for part in path if hasattr(part, "key")]
            depth = names.index("blocks") + 2 if "blocks" in names else 1
            name = "/".join(names[:depth])
            parts[name] = parts.get(name, 0) + leaf.size
        size = sum(parts.values())
        whole += size
        config = getattr(system, group).config
        about = f"   {config.layers} layers of width {config.width}" if hasattr(config, "layers") else ""
        lines.append(f"{group:34}{size / 1e6:10.2f} M{about}")
        lines += [f"  {name:32}{count / 1e6:10.2f} M" for name, count in parts.items()]
    return "\n".join([*lines, f"{'all':34}{whole / 1e6:10.2f} M"])
