"""Fixed-step ODE integration, forward in time from noise (t=0) to data (t=1)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Field = Callable[[Float[Array, "..."], Float[Array, ""]], Float[Array, "..."]]


def cosine_times(steps: int) -> np.ndarray:
    """Step boundaries `t = 1 - cos(pi u / 2)`, finer near the noise (CosyVoice 3). Float32 [steps + 1]."""
    if steps < 1:
        raise ValueError(f"an ODE solve needs at least one step, got {steps}")
    return (1.0 - np.cos(np.pi / 2 * np.linspace(0.0, 1.0, steps + 1))).astype(np.float32)


def euler(field: Field, start: Float[Array, "..."], times: np.ndarray, *, remat: bool = False) -> Float[Array, "..."]:
    """Integrates `dx/dt = field(x, t)` over `times` with Euler steps.

    One scan, so the program holds a single copy of the field. With `remat` the field is recomputed in the backward pass
    and memory stays that of one step however many are unrolled.
    """

    return euler_with(lambda x, t, _: (field(x, t), None), start, times, None, remat=remat)[0]


def euler_with(
    field: Callable[[Any, Any, Any], tuple[Any, Any]],
    start: Float[Array, "..."],
    times: np.ndarray,
    memory: Any,
    *,
    remat: bool = False,
) -> tuple[Float[Array, "..."], Any]:
    """`euler` of a field with a memory for each step, `(x, t, memory[i]) -> (dx/dt, new memory[i])`.

    Returns:
      the end, and the new memory (leading axis: steps).
    """

    def step(x, span):
        t, dt, kept = span
        slope, kept = field(x, t, kept)
        return x + dt * slope, kept

    body = jax.checkpoint(step) if remat else step
    spans = jnp.asarray(times[:-1], jnp.float32), jnp.asarray(np.diff(times), jnp.float32), memory
    return jax.lax.scan(body, start, spans)
