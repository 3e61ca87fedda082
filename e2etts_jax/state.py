"""Everything a step reads and writes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, UInt32

from e2etts_jax import optim
from e2etts_jax.stages import Stage
from e2etts_jax.types import Params


@flax.struct.dataclass
class State:
    """Training state of one stage.

    Attributes:
      params: the four groups.
      frozen: extra parameters that never train: `llm_ref` where a term compares with it, else empty.
      opt: optimizer state of the trained groups alone.
      step: steps done in this stage. skipped: steps in a row whose loss or gradient was not finite.
      key: data of the run's rng key.
    """

    params: Params
    frozen: Params
    opt: dict[str, Any]
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    key: UInt32[Array, " 2"]


def optimizers(stage: Stage) -> dict[str, optax.GradientTransformation]:
    """The optimizer of each trained group."""
    return {group: optim.make(config, stage.steps) for group, config in stage.optimizers.items()}


def create(params: Params, stage: Stage, seed: int, needs: tuple[str, ...] = ()) -> State:
    """First state of a stage, from the parameters that the stage before left."""
    frozen = {"llm_ref": jax.tree.map(jnp.copy, params["llm"])} if "lm_ref" in needs else {}
    return State(
        params=params,
        frozen=frozen,
        opt={group: tx.init(params[group]) for group, tx in optimizers(stage).items()},
        step=jnp.int32(0),
        skipped=jnp.int32(0),
        key=jax.random.key_data(jax.random.fold_in(jax.random.key(seed), stage.index)),
    )
