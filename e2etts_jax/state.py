"""Everything a step reads and writes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, UInt32

from e2etts_jax import optim, sharding
from e2etts_jax.stages import Stage
from e2etts_jax.trainable import Trainable
from e2etts_jax.types import Params


@flax.struct.dataclass
class State:
    """Training state of one stage.

    Attributes:
      params: the system's groups.
      frozen: extra parameters that never train: `llm_ref` where a term compares with it, else empty.
      ema: running average of the trained groups, where the stage asks for it, else empty.
      opt: optimizer state of the trained groups alone.
      step: steps done in this stage. skipped: steps in a row whose loss or gradient was not finite.
      key: data of the run's rng key.
    """

    params: Params
    frozen: Params
    ema: Params
    opt: dict[str, Any]
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    key: UInt32[Array, " 2"]

    @property
    def result(self) -> Params:
        """The groups as the stage hands them on: averages where there are any."""
        return {**self.params, **self.ema}


def optimizers(stage: Stage) -> dict[str, optax.GradientTransformation]:
    """The optimizer of each trained group."""
    return {group: optim.make(config, stage.steps) for group, config in stage.optimizers.items()}


def create(params: Params, stage: Stage, seed: int, needs: tuple[str, ...] = ()) -> State:
    """First state of a stage, from the parameters that the stage before left."""
    frozen = {"llm_ref": jax.tree.map(jnp.copy, params["llm"])} if "lm_ref" in needs else {}
    return State(
        params=params,
        frozen=frozen,
        ema={group: jax.tree.map(jnp.copy, params[group]) for group in stage.train} if stage.ema else {},
        opt={group: tx.init(params[group]) for group, tx in optimizers(stage).items()},
        step=jnp.int32(0),
        skipped=jnp.int32(0),
        key=jax.random.key_data(jax.random.fold_in(jax.random.key(seed), stage.index)),
    )


def abstract(system: Trainable, stage: Stage, needs: tuple[str, ...]) -> State:
    """Shapes and dtypes of the stage's state."""
    # unboxed inside: `nn.unbox` of abstract parameters fails under a mesh
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: create(system.unboxed(k), stage, 0, needs), key)


def shardings(system: Trainable, stage: Stage, needs: tuple[str, ...], mesh: Mesh, rules: sharding.Rules) -> Any:
    """A `State` of shardings of the stage's state: optimizer moments lie with their parameters, the rest everywhere."""
    params = sharding.param_shardings(system.abstract(), mesh, rules)
    everywhere = NamedSharding(mesh, PartitionSpec())
    shapes = abstract(system, stage, needs)
    absent = optax.MaskedNode  # of a parameter that another of the group's optimizers moves

    def beside(leaf: Any, place: NamedSharding) -> Any:
        return leaf if isinstance(leaf, absent) else place

    opt = {
        group: optax.tree_utils.tree_map_params(
            tx,
            beside,
            shapes.opt[group],
            params[group],
            transform_non_params=lambda _: everywhere,
            is_leaf=lambda x: isinstance(x, absent),
        )
        for group, tx in optimizers(stage).items()
    }
    frozen = {"llm_ref": params["llm"]} if shapes.frozen else {}
    places: Any = everywhere  # a State of shardings, where a State of arrays is declared
    return State(params, frozen, {group: params[group] for group in shapes.ema}, opt, places, places, places)


def placed(system: Trainable, stage: Stage, needs: tuple[str, ...], mesh: Mesh, rules: sharding.Rules) -> State:
    """Shapes, dtypes and places of the stage's state: what to restore onto, or to compile for."""
    shapes, places = abstract(system, stage, needs), shardings(system, stage, needs, mesh, rules)
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, places)
