"""One AdamW per trained group: clip by the group's norm, warm up, decay."""

import jax
import optax

from e2etts_jax.stages import Optimizer
from e2etts_jax.types import Params

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


def make(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optimizer of one group for one stage."""

    def decayed(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            schedule(config, steps), config.beta1, config.beta2, weight_decay=config.weight_decay, mask=decayed
        ),
    )
