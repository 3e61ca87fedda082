"""Autoregressive decoding of speech tokens as one compiled loop with a key-value cache."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from e2etts_jax.models.llm import LLM

REPETITION_WINDOW = 10
NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a token is drawn (CosyVoice 3's repetition-aware sampling).

    Attributes:
      temperature: 0 = greedy.
      top_p, top_k: nucleus and its largest size; top_k 0 = the plain softmax.
      min_ratio, max_ratio: shortest and longest speech, in tokens per text token.
      repetition: largest share of the last 10 tokens that an id may already have; above it, it is masked and redrawn
        from the whole softmax. 0 = any recurrence counts, 1 = never.
    """

    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int = 25
    repetition: float = 0.0
    min_ratio: float = 0.0
    max_ratio: float = 20.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0 or not 0 <= self.repetition <= 1:
            raise ValueError(f"temperature and top_k must be >= 0, top_p in (0, 1], repetition in [0, 1]: {self}")


@flax.struct.dataclass
class Prompt:
    """Speech that a row goes on from.

    Attributes:
      ids, length: its tokens, and how many.
      text_len: how many ids at the start of the row's text are its words.
    """

    ids: Int[Array, "B P"]
    length: Int[Array, " B"]
    text_len: Int[Array, " B"]


def draw(
    key: PRNGKeyArray, logits: Float[Array, " V1"], recent: Int[Array, " R"], sampling: Sampling
) -> Int[Array, ""]:
    """Draws one id; `recent` holds the last ids, -1 where there is none yet."""
    if sampling.temperature == 0:
        return jnp.argmax(logits).astype(jnp.int32)
    key, again = jax.random.split(key)
    logits = logits / sampling.temperature
    if sampling.top_k:
        top, where = jax.lax.top_k(logits, min(sampling.top_k, logits.shape[0]))
        share = jax.nn.softmax(logits)[where]
        before = jnp.cumsum(share) - share  # mass above each candidate: the first is always kept
        token = where[jax.random.categorical(key, jnp.where(before < sampling.top_p, top, NEVER))]
    else:
        token = jax.random.categorical(key, logits)
    if sampling.repetition >= 1:  # nothing can recur too often: save a draw from the whole vocabulary
        return token.astype(jnp.int32)
    repeated = jnp.sum(recent == token) > sampling.repetition * REPETITION_WINDOW
    redrawn = jax.random.categorical(again, logits.at[token].set(NEVER))
    return jnp.where(repeated, redrawn, token).astype(jnp.int32)


def generate(
    model: LLM,
    params: dict,
    text: Int[Array, "B S"],
    text_len: Int[Array, " B"],
    codebook: Float[Array, "V Dq"],
    keys: PRNGKeyArray,
    max_tokens: int,
    sampling: Sampling,
    prompt: Prompt | None = None,
) -> tuple[Int[Array, "B T"], Int[Array, " B"]]:
    """Samples speech tokens for each text.

    Args:
      keys: one PRNG key a row, so that a row's tokens do not depend on its neighbours.
      max_tokens: size of the result; rows stop at `max_ratio` tokens per id of text to be said, or here.
      prompt: what has been said of the text; only the rest is made, and returned.

    Returns:
      ids [B, max_tokens] (0 behind the end) and their count [B].
    """
    variables = {"params": params}
    batch, prefix, first, to_say = text.shape[0], text.shape[1] + 2, text_len + 2, text_len
    said = None
    if prompt is not None:
        said = codebook[prompt.ids], prompt.ids, prompt.length
        prefix, first, to_say = prefix + prompt.ids.shape[1], first + prompt.length, text_len - prompt.text_len
    table = model.apply(variables, codebook, method=LLM.table)
    hidden, cache, seen = model.apply(variables, text, text_len, max_tokens, said, method=LLM.prefill)
    longest = jnp.minimum(jnp.ceil(sampling.max_ratio * to_say).astype(jnp.int32), max_tokens)
    shortest = jnp.minimum(jnp.floor(sampling.min_ratio * to_say).astype(jnp.int32), longest)
    eos = model.vocab

    def cond(state: Any) -> Bool[Array, ""]:
        return (state[0] < max_tokens) & ~jnp.all(state[-1])

    def body(state: Any) -> Any:
        step, hidden, cache, seen, ids, recent, length, done = state
        logits = model.apply(variables, hidden[:, None], table, method=LLM.logits)[:, 0]
        logits = logits.at[:, eos].add(jnp.where(step < shortest, NEVER, 0.0))
        token = jax.vmap(lambda k, row, last: draw(jax.random.fold_in(k, step), row, last, sampling))(
            keys, logits, recent
        )
        done = done | (token == eos) | (step >= longest)
        token = jnp.where(done, 0, token)
        length = jnp.where(done, length, step + 1)
        ids = jax.lax.dynamic_update_slice_in_dim(ids, token[:, None], step, axis=1)
        recent = jnp.concatenate([recent[:, 1:], token[:, None]], axis=1)
        seen = jax.lax.dynamic_update_slice_in_dim(seen, ~done[:, None], prefix + step, axis=1)
        hidden, cache = model.apply(
            variables, codebook[token], token, first + step, seen, cache, prefix + step, method=LLM.step
        )
        return step + 1, hidden, cache, seen, ids, recent, length, done

    zeros = jnp.zeros(batch, jnp.int32)
    start = (
        jnp.int32(0),
        hidden,
        cache,
        seen,
        jnp.zeros((batch, max_tokens), jnp.int32),
        jnp.full((batch, REPETITION_WINDOW), -1, jnp.int32),
        zeros,
        zeros == 1,
    )
    final = jax.lax.while_loop(cond, body, start)
    return final[4], final[6]
