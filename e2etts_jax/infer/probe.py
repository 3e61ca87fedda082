"""What the models make of recordings whose words are known, each told the truth about what came before."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from e2etts_jax.forward import Wiring
from e2etts_jax.models.flow import path
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.system import System
from e2etts_jax.types import Batch, Params

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the flow: 0 is noise, 1 the mel


@dataclasses.dataclass(frozen=True)
class Probe:
    """Of each recording, in order.

    Attributes:
      nats: f[N], that the LLM spends on its tokens and their end; tokens: i[N], how many these are, the end among them.
      flow: f[N, K], squared error of the FM's velocity at each of `TIMES`, without a prompt (normalised mel units).
      read, read_drawn: what the RM reads in the recording's tokens, and in tokens that the LLM draws one by one, each
        given the recorded ones before it (temperature 1).
    """

    nats: Float[np.ndarray, " N"]
    tokens: Int[np.ndarray, " N"]
    flow: Float[np.ndarray, "N K"]
    read: list[str]
    read_drawn: list[str]


@functools.partial(jax.jit, static_argnums=0)
def program(
    system: System, params: Params, batch: Batch, streams: Streams
) -> tuple[Float[Array, " B"], Int[Array, " B"], Float[Array, "B K"], tuple[Int[Array, "B N"], Int[Array, "B N"]]]:
    """The figures of `Probe` for a batch; of the readings, the best character of each CTC frame."""
    wiring = Wiring(system, params, batch, streams, Plan(), jnp.int32(0), 1)
    lm = wiring.lm()
    nats = jnp.sum(jnp.where(lm.mask, lm.loss, 0.0), axis=1)
    crop = wiring.crop()  # of the whole clip
    frames = jnp.repeat(crop.mask, system.frames_per_token, axis=1)
    crop = dataclasses.replace(crop, prompt_mask=jnp.zeros_like(frames), loss_mask=frames)
    field = wiring.field(jnp.ones(len(batch.wav), bool), crop)

    def error(t: Float[Array, ""]) -> Float[Array, " B"]:
        times = jnp.full(len(batch.wav), t)
        point, target = path(crop.mel, crop.noise, times)
        squares = jnp.mean(jnp.square(field(point, times) - target), axis=-1)
        return jnp.sum(jnp.where(frames, squares, 0.0), axis=1) / jnp.maximum(jnp.sum(frames, axis=1), 1)

    flow = jax.lax.map(error, jnp.array(TIMES)).T
    heads = [
        wiring.recognise(q, wiring.mask, wiring.token_len).heads["asr"] for q in (wiring.tokens.q, wiring.gumbel())
    ]
    read, drawn = (jnp.argmax(logits, axis=-1) for logits in heads)
    return nats, jnp.sum(lm.mask, axis=1), flow, (read, drawn)
