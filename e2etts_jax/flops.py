"""Floating point operations of a step, counted from shapes: the one formula behind every MFU.

A forward pass costs 2 x (numbers of a kernel) x (positions it reads), and attention 4 x heads x head width x positions
squared, half of it where causal. Of a group, a step counts

    passes forward x (1, and 1 more if a gradient runs through its activations, and 1 more if it trains),

nothing for what is computed again to save memory, for mels, norms, embeddings or the optimizer.
"""

import dataclasses
from collections.abc import Mapping

import jax

from e2etts_jax.losses import Term
from e2etts_jax.stages import Stage
from e2etts_jax.step import needed
from e2etts_jax.system import System
from e2etts_jax.types import GROUPS

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
    system: System, stage: Stage, terms: Mapping[str, Term], shape: Shape, recomputed: bool = False
) -> dict[str, float]:
    """Model FLOPs of one training step, by group.

    Args:
      recomputed: count what rematerialised layers compute again, too: what the hardware does, no part of an MFU.
    """
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


def parameter_table(system: System) -> str:
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
        layers = getattr(system, group).config.layers
        lines.append(f"{group:34}{size / 1e6:10.2f} M   {layers} layers of width {getattr(system, group).config.width}")
        lines += [f"  {name:32}{count / 1e6:10.2f} M" for name, count in parts.items()]
    return "\n".join([*lines, f"{'all':34}{whole / 1e6:10.2f} M"])
