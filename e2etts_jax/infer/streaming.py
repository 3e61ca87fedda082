"""Speech as it is made: tokens, mel by the chunk, samples by the chunk, each as soon as what it needs is there.

Offline, the same mask and noise give the same mel, so there are no seams: a chunk is computed once, after the chunks
before it, whose keys and values are kept; the vocoder reads the frames on both sides of those that it makes heard.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from e2etts_jax.infer import programs
from e2etts_jax.infer.prompt import Lead
from e2etts_jax.infer.vocoder import Chosen
from e2etts_jax.models import generate
from e2etts_jax.models.generate import Sampling
from e2etts_jax.rng import Streams
from e2etts_jax.system import System
from e2etts_jax.types import Params

Tokens = Callable[[int], tuple[Int[np.ndarray, " T"], bool]]  # so many at least, unless these are all


def drawn(
    system: System,
    params: Params,
    sampling: Sampling,
    max_tokens: int,
    text: tuple[np.ndarray, np.ndarray],
    streams: Streams,
    said: generate.Prompt | None,
) -> Tokens:
    """The tokens of one text, drawn no further than they are asked for."""
    decoding, state = programs.first_tokens(system, sampling, max_tokens, params, *text, said)

    def tokens(count: int) -> tuple[Int[np.ndarray, " T"], bool]:
        nonlocal state
        state = programs.more_tokens(system, sampling, decoding, state, streams, jnp.int32(count))
        ids, length, done = np.asarray(state.ids[0]), int(state.length[0]), bool(state.done[0])
        return ids[:length], done or length == max_tokens

    return tokens


def mels(
    system: System,
    params: Params,
    infer: ConfigDict,
    tokens: Tokens,
    room: int,
    streams: Streams,
    speaker: Float[np.ndarray, " E"],
    lead: Lead | None,
) -> Iterator[tuple[Float[np.ndarray, "C F"], bool]]:
    """Chunks of a sentence's mel, those of the lead among them, and whether each is the last.

    Args:
      room: tokens that there can be, the lead's among them.
    """
    size, ahead, per_token = infer.chunk, system.fm.config.look_ahead, system.frames_per_token
    before = lead.ids if lead else np.zeros(0, np.int32)
    solver = (system, infer.ode_steps, infer.guidance)
    cache = programs.no_chunk(*solver, -(-room // size) * size)
    start, last = 0, False
    while not last:
        made, ended = tokens(start + size + max(ahead, 1) - len(before))  # one more tells whether this is the last
        count = len(before) + len(made)
        if count <= start:
            return
        sentence = np.pad(np.concatenate([before, made]), (ahead, size + ahead))
        window = sentence[start : start + size + 2 * ahead]
        heard: Any = np.zeros((size * per_token, system.mel.n_mels), np.float32)
        if lead:
            part = lead.log_mel[start * per_token : (start + size) * per_token]
            heard[: len(part)] = part
        given = (window, jnp.int32(start), jnp.int32(count), speaker, streams, (heard, jnp.int32(len(before))))
        mel, cache = programs.flow_chunk(*solver, params, cache, *given)
        last = ended and count <= start + size
        yield np.asarray(mel)[: (count - start) * per_token], last
        start += size


def sound(
    vocoder: Chosen, chunks: Iterator[tuple[Float[np.ndarray, "C F"], bool]], start: int, size: int, hop: int
) -> Iterator[Float[np.ndarray, " W"]]:
    """Samples of mel chunks, from frame `start` on. A vocoder that must hear everything makes them at the end.

    Args:
      size: frames of a chunk.
    """
    known = np.zeros((0, 0), np.float32)
    for mel, last in chunks:
        known = np.concatenate([known, mel]) if len(known) else mel
        reach = vocoder.reach if vocoder.reach is not None else len(known) * (not last)
        end = len(known) if last else len(known) - reach
        while start < end:
            first = max(0, start - reach) if vocoder.reach is not None else 0
            behind = len(known) if vocoder.reach is None else first + size + 2 * reach  # one shape to compile
            until = end if last and behind >= len(known) else min(end, behind - reach)
            wav = vocoder.run(known[None, first:behind])[0]
            yield wav[(start - first) * hop : (until - first) * hop]
            start = until
