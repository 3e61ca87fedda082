"""Autoregressive decoding of speech tokens as one compiled loop with a key-value cache."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from e2etts_jax.models.attention import Cache
from e2etts_jax.models.kernels import NEVER
from e2etts_jax.models.llm import LLM

REPETITION_WINDOW = 10


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
class Drawing:
    """Tokens being drawn, T at most.

    Attributes:
      step: the next token. ids, length, done: what there is, and which rows have ended.
      hidden, caches, seen: of the decoder (`LLM.step`). recent: the last ids, -1 where there is none yet.
      first: position of a row's first token. shortest, longest: bounds of its length.
    """

    step: Int[Array, ""]
    ids: Int[Array, "B T"]
    length: Int[Array, " B"]
    done: Bool[Array, " B"]
    hidden: Float[Array, "B D"]
    caches: tuple[Cache, ...]
    seen: Bool[Array, "B N"]
    recent: Int[Array, "B R"]
    first: Int[Array, " B"]
    shortest: Int[Array, " B"]
    longest: Int[Array, " B"]


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
    params = model.apart(params)
    drawing = begin(model, params, text, text_len, codebook, max_tokens, sampling, prompt)
    drawing = go_on(model, params, codebook, keys, drawing, sampling, max_tokens)
    return drawing.ids, drawing.length


def begin(
    model: LLM,
    params: dict,
    text: Int[Array, "B S"],
    text_len: Int[Array, " B"],
    codebook: Float[Array, "V Dq"],
    max_tokens: int,
    sampling: Sampling,
    prompt: Prompt | None = None,
) -> Drawing:
    """Reads the texts, and what has been said of them; nothing is drawn yet.

    Arguments as for `generate`, but for the parameters, which are here those of `LLM.apart`.
    """
    batch, first, to_say, said = text.shape[0], text_len + 2, text_len, None
    if prompt is not None:
        said = codebook[prompt.ids], prompt.ids, prompt.length
        first, to_say = first + prompt.length, text_len - prompt.text_len
    hidden, caches, seen = model.apply({"params": params}, text, text_len, max_tokens, said, method=LLM.prefill)
    longest = jnp.minimum(jnp.ceil(sampling.max_ratio * to_say).astype(jnp.int32), max_tokens)
    return Drawing(
        step=jnp.int32(0),
        ids=jnp.zeros((batch, max_tokens), jnp.int32),
        length=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        hidden=hidden,
        caches=caches,
        seen=seen,
        recent=jnp.full((batch, REPETITION_WINDOW), -1, jnp.int32),
        first=first,
        shortest=jnp.minimum(jnp.floor(sampling.min_ratio * to_say).astype(jnp.int32), longest),
        longest=longest,
    )


def go_on(
    model: LLM,
    params: dict,
    codebook: Float[Array, "V Dq"],
    keys: PRNGKeyArray,
    drawing: Drawing,
    sampling: Sampling,
    until: Int[Array, ""] | int,
) -> Drawing:
    """Draws tokens until each row has `until` of them, T at most, or has ended; `params` as for `begin`."""
    variables, eos = {"params": params}, model.vocab
    prefix = drawing.seen.shape[1] - drawing.ids.shape[1]
    table = model.apply(variables, codebook, method=LLM.table)
    until = jnp.minimum(until, drawing.ids.shape[1])

    def more(d: Drawing) -> Bool[Array, ""]:
        return (d.step < until) & ~jnp.all(d.done)

    def one(d: Drawing) -> Drawing:
        logits = model.apply(variables, d.hidden[:, None], table, method=LLM.logits)[:, 0]
        logits = logits.at[:, eos].add(jnp.where(d.step < d.shortest, NEVER, 0.0))
        token = jax.vmap(lambda k, row, last: draw(jax.random.fold_in(k, d.step), row, last, sampling))(
            keys, logits, d.recent
        )
        done = d.done | (token == eos) | (d.step >= d.longest)
        token, slot = jnp.where(done, 0, token), prefix + d.step
        seen = jax.lax.dynamic_update_slice_in_dim(d.seen, ~done[:, None], slot, axis=1)
        hidden, caches = model.apply(variables, table[token], d.first + d.step, seen, d.caches, slot, method=LLM.step)
        return dataclasses.replace(
            d,
            step=d.step + 1,
            ids=jax.lax.dynamic_update_slice_in_dim(d.ids, token[:, None], d.step, axis=1),
            length=jnp.where(done, d.length, d.step + 1),
            done=done,
            hidden=hidden,
            caches=caches,
            seen=seen,
            recent=jnp.concatenate([d.recent[:, 1:], token[:, None]], axis=1),
        )

    return jax.lax.while_loop(more, one, drawing)
