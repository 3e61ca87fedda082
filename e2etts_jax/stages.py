"""A stage as data: who trains, on which terms, at what rate, and how tokens travel between the models."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from e2etts_jax.types import GROUPS, config_of

TO_FM = ("codes", "codes_detached", "llm_gumbel", "llm_hidden")
TO_RM = ("codes", "codes_detached", "llm_gumbel")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How tokens travel.

    Attributes:
      tokens_to_fm, tokens_to_rm: what the FM and the RM read: the straight-through `codes`, the same without gradient
        (`codes_detached`, the cascade), tokens drawn from the LLM on the recorded history (`llm_gumbel`), or its
        hidden states (`llm_hidden`).
      continuous_steps: steps at the start in which codes are bounded but not yet rounded (quantiser warm-up).
      lm_into_tokenizer: factor on the next-token gradient into the tokenizer.
      gumbel_temperature: (first, last) of the stage, linear between.
      gumbel_hard: straight-through one-hots, else soft mixtures.
      fm_crop_tokens: the FM trains on a random window of so many tokens (0 = whole clips).
      fm_chunks: tokens of the chunks in which the FM attends, for streaming: one of these each step, 0 = no chunks
        (empty = never any; validation has none).
      fm_unroll_steps: solver steps unrolled for `recon_mel`.
      rm_noise_db: (lowest, highest) signal-to-noise ratio of white noise added to half the rows that the RM hears
        (empty = none).
      rm_speed: factors by which what the RM hears is sped up, pitch included, one drawn for each row, such as
        (0.9, 1.0, 1.1) (empty = as recorded).
    """

    tokens_to_fm: str = "codes"
    tokens_to_rm: str = "codes"
    continuous_steps: int = 0
    lm_into_tokenizer: float = 1.0
    gumbel_temperature: tuple[float, float] = (1.0, 1.0)
    gumbel_hard: bool = True
    fm_crop_tokens: int = 0
    fm_chunks: tuple[int, ...] = ()
    fm_unroll_steps: int = 0
    rm_noise_db: tuple[float, ...] = ()
    rm_speed: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("tokens_to_fm", TO_FM), ("tokens_to_rm", TO_RM)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"plan.{name}={getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if len(self.gumbel_temperature) != 2 or min(self.gumbel_temperature) <= 0:
            raise ValueError(f"plan.gumbel_temperature needs two numbers above 0, got {self.gumbel_temperature}")
        if any(not isinstance(size, int) or size < 0 for size in self.fm_chunks):
            raise ValueError(f"plan.fm_chunks is numbers of tokens, or empty; got {self.fm_chunks}")
        if len(self.rm_noise_db) not in (0, 2):
            raise ValueError(f"plan.rm_noise_db is (lowest, highest) dB or empty, got {self.rm_noise_db}")
        if any(not 0.5 <= factor <= 2 or abs(round(100 * factor) - 100 * factor) > 1e-6 for factor in self.rm_speed):
            raise ValueError(f"plan.rm_speed is factors from 0.5 to 2 in steps of 0.01, or empty; got {self.rm_speed}")
        for name in ("rm_noise_db", "rm_speed"):
            if getattr(self, name) and not self.tokens_to_rm.startswith("codes"):
                raise ValueError(f"plan.{name} is for an RM that hears recordings, not the LLM's tokens")

    def for_validation(self) -> "Plan":
        return dataclasses.replace(self, fm_chunks=())


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up, or Muon beside it, for one group.

    Attributes:
      lr: peak rate. final: last rate as a fraction of it. decay: shape from peak to last, `cosine` or `constant`.
      warmup: steps from 0 to the peak. clip: largest global gradient norm of the group.
      muon: factor on the rate of the matrices of the blocks, which then take orthogonalised updates (Muon, Jordan et
        al. 2024) of an RMS of 0.2 x rate; 0 = AdamW for all.
    """

    lr: float
    warmup: int = 0
    decay: str = "cosine"
    final: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip: float = 1.0
    muon: float = 0.0

    def __post_init__(self) -> None:
        if self.muon < 0:
            raise ValueError(f"optimizer muon {self.muon} must be 0 (off) or a factor above it")
        if self.decay not in ("cosine", "constant"):
            raise ValueError(f"optimizer decay {self.decay!r} is not one of cosine, constant")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
      name: its key in the config.
      index: its place in the run; folds into the rng.
      steps, batch_size, accumulate: length; rows a step over all devices; microbatches a step.
      train: groups that train.
      terms: loss terms and their weights, all above 0.
      monitor: terms that are computed and logged but not trained on.
      ema: decay of the running average of what trains, which is then the stage's result; 0 = none.
      optimizers: one for each trained group.
      plan: a `Plan`, or what another system has in its place (`Trainable.plan_type`).
    """

    name: str
    index: int
    steps: int
    batch_size: int
    accumulate: int
    train: tuple[str, ...]
    terms: Mapping[str, float]
    monitor: tuple[str, ...]
    optimizers: Mapping[str, Optimizer]
    plan: Any
    ema: float = 0.0

    @property
    def all_terms(self) -> tuple[str, ...]:
        return (*self.terms, *(name for name in self.monitor if name not in self.terms))


def parse(
    name: str,
    index: int,
    config: Mapping[str, Any],
    known_terms: Mapping[str, Any],
    groups: tuple[str, ...] = GROUPS,
    plan_type: type = Plan,
) -> Stage:
    """Reads and validates one stage of a config.

    Args:
      known_terms: `losses.terms(...)`: name -> term, each with `.groups(plan)`, the groups its gradient reaches.
      groups, plan_type: of the system that trains.

    Raises:
      ValueError: an unknown group, term or field; a trained group that no term reaches; nothing to train.
    """
    where = f"stage {name!r}"
    unknown = [g for g in config["train"] if g not in groups]
    if unknown:
        raise ValueError(f"{where} trains unknown group {unknown[0]!r}: groups are {', '.join(groups)}")
    weights = {term: weight for term, weight in config["terms"].items() if weight}
    for term in (*weights, *config["monitor"]):
        if term not in known_terms:
            raise ValueError(f"{where} names unknown term {term!r}: terms are {', '.join(sorted(known_terms))}")
    negative = [term for term, weight in weights.items() if weight < 0]
    if negative:
        raise ValueError(f"{where} gives term {negative[0]!r} a negative weight")
    if not config["train"] or not weights:
        raise ValueError(f"{where} trains nothing: it needs at least one group and one term with a weight")
    plan = config_of(plan_type, config["plan"])
    for group in config["train"]:
        if not any(group in known_terms[term].groups(plan) for term in weights):
            raise ValueError(f"{where} trains {group!r}, but none of its terms ({', '.join(weights)}) reaches it")
        if config["lr"][group] <= 0:
            raise ValueError(f"{where} trains {group!r} at rate {config['lr'][group]}: set lr.{group} above 0")
    if "recon_mel" in (*weights, *config["monitor"]) and plan.fm_unroll_steps < 1:
        raise ValueError(f"{where} computes recon_mel: set plan.fm_unroll_steps to the solver steps to unroll")
    if config["batch_size"] < 1 or config["accumulate"] < 1:
        raise ValueError(
            f"{where}: batch_size {config['batch_size']} and accumulate {config['accumulate']} must be 1 or more"
        )
    if config["batch_size"] % config["accumulate"]:
        raise ValueError(f"{where}: batch_size {config['batch_size']} does not split into {config['accumulate']} parts")
    if not 0 <= config["ema"] < 1:
        raise ValueError(f"{where}: ema {config['ema']} is a decay, 0 (none) or below 1, such as 0.999")
    if config["steps"] < 1:
        raise ValueError(f"{where} has {config['steps']} steps")
    shared = {k: v for k, v in config["optimizer"].items()}
    return Stage(
        name=name,
        index=index,
        steps=config["steps"],
        batch_size=config["batch_size"],
        accumulate=config["accumulate"],
        train=tuple(g for g in groups if g in config["train"]),
        terms=weights,
        monitor=tuple(config["monitor"]),
        optimizers={g: config_of(Optimizer, {**shared, "lr": config["lr"][g]}) for g in config["train"]},
        plan=plan,
        ema=config["ema"],
    )


def parse_run(
    config: Mapping[str, Any],
    known_terms: Mapping[str, Any],
    groups: tuple[str, ...] = GROUPS,
    plan_type: type = Plan,
) -> list[Stage]:
    """All stages of `config.run`, in order."""
    stages = config["stages"]
    missing = [name for name in config["run"] if name not in stages]
    if missing:
        raise ValueError(f"config.run names stage {missing[0]!r}; config.stages has {', '.join(sorted(stages))}")
    return [parse(name, i, stages[name], known_terms, groups, plan_type) for i, name in enumerate(config["run"])]
