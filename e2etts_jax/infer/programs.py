"""The compiled programs of inference: one per system and padded shape. Rows with length 0 are filler."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.features import denormalize, log_mel, normalize
from e2etts_jax.losses import ctc
from e2etts_jax.models import ode
from e2etts_jax.models.attention import Cache
from e2etts_jax.models.flow import FlowModel
from e2etts_jax.models.generate import Drawing, Prompt, Sampling, begin, generate, go_on
from e2etts_jax.models.kernels import Chunks
from e2etts_jax.models.tokenizer import Tokenizer
from e2etts_jax.rng import Streams
from e2etts_jax.system import System
from e2etts_jax.types import Params, length_mask


def _codebook(system: System, params: Params) -> Float[Array, "V Dq"]:
    return system.tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)


@functools.partial(jax.jit, static_argnums=0)
def mel(system: System, wav: Float[Array, "B W"], wav_len: Int[Array, " B"]) -> Float[Array, "B M F"]:
    """The log-mel that the vocoder reads."""
    return log_mel(wav, system.mel, wav_len)


@functools.partial(jax.jit, static_argnums=0)
def tokenize(system: System, params: Params, wav: Float[Array, "B W"], wav_len: Int[Array, " B"]) -> Int[Array, "B T"]:
    """Token ids; W is a whole number of tokens, ids behind ceil(wav_len / samples_per_token) mean nothing."""
    heard, _ = system.mels(wav, wav_len)
    token_len = -(-wav_len // system.samples_per_token)
    mask = length_mask(token_len, wav.shape[1] // system.samples_per_token)
    mel_mask = jnp.repeat(mask, heard.shape[1] // mask.shape[1], axis=1)
    return system.tokenizer.apply({"params": params["tokenizer"]}, heard, mel_mask).ids


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def speak(
    system: System,
    sampling: Sampling,
    max_tokens: int,
    candidates: int,
    params: Params,
    text: Int[Array, "B S"],
    text_len: Int[Array, " B"],
    streams: Streams,
    written: tuple[Int[Array, "B R"], Int[Array, " B"]] | None = None,
    prompt: Prompt | None = None,
) -> tuple[Int[Array, "B T"], Int[Array, " B"]]:
    """Token ids [B, max_tokens] drawn for each text, and their count.

    With several `candidates`, all are drawn as one batch, and each text keeps the one in which the reward model reads
    it best (lowest CTC loss): `text`, or `written` where the RM writes in other ids or a `prompt` has said the
    beginning. The first candidate is what a single draw gives.
    """
    codebook, keys = _codebook(system, params), streams.rows("sample")
    if candidates == 1:
        return generate(system.llm, params["llm"], text, text_len, codebook, keys, max_tokens, sampling, prompt)
    others = jax.vmap(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(1, candidates)))(keys)
    keys = jnp.concatenate([keys[:, None], others], axis=1).reshape(-1)
    repeated = lambda x: jnp.repeat(x, candidates, axis=0)  # noqa: E731
    rm_text, rm_text_len = (repeated(x) for x in written or (text, text_len))
    text, text_len, prompt = jax.tree.map(repeated, (text, text_len, prompt))
    ids, count = generate(system.llm, params["llm"], text, text_len, codebook, keys, max_tokens, sampling, prompt)
    logits = _read(system, params, codebook, ids, count)
    loss = ctc(logits, count * system.rm.config.ctc_upsample, rm_text, rm_text_len).reshape(-1, candidates)
    best = jnp.arange(loss.shape[0]) * candidates + jnp.argmin(loss, axis=1)
    return ids[best], count[best]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def first_tokens(
    system: System,
    sampling: Sampling,
    max_tokens: int,
    params: Params,
    text: Int[Array, "B S"],
    text_len: Int[Array, " B"],
    prompt: Prompt | None = None,
) -> tuple[Params, Drawing]:
    """`speak` in parts, for streaming: the texts are read, nothing is drawn yet.

    Returns:
      what `more_tokens` reads: the tokenizer, and the LLM as decoding wants it.
    """
    llm, codebook = system.llm.apart(params["llm"]), _codebook(system, params)
    drawing = begin(system.llm, llm, text, text_len, codebook, max_tokens, sampling, prompt)
    return {"tokenizer": params["tokenizer"], "llm": llm}, drawing


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def more_tokens(
    system: System, sampling: Sampling, params: Params, drawn: Drawing, streams: Streams, until: Int[Array, ""]
) -> Drawing:
    """Draws on until there are `until` tokens: the same that one candidate of `speak` has."""
    keys = streams.rows("sample")
    return go_on(system.llm, params["llm"], _codebook(system, params), keys, drawn, sampling, until)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), static_argnames="chunk")
def flow(
    system: System,
    steps: int,
    guidance: float,
    params: Params,
    ids: Int[Array, "B T"],
    token_len: Int[Array, " B"],
    speaker: Float[Array, " E"],
    streams: Streams,
    prompt: tuple[Float[Array, "B M F"], Int[Array, " B"]] | None = None,
    chunk: int = 0,
) -> Float[Array, "B M F"]:
    """Log-mel of token ids, silence behind the end.

    A `prompt` is the log-mel of what the first tokens were heard in, and how many: it is given to the FM as it is.
    With `chunk`, frames attend as in `flow_chunk`, which gives the same mel chunk after chunk.

    Euler steps from noise with classifier-free guidance (CosyVoice 3): `(1 + w) v(condition) - w v(nothing)`, where
    nothing is no tokens and no speaker. Both halves run as one batch.
    """
    variables, fm = {"params": params["fm"]}, system.fm
    batch, frames = ids.shape[0], ids.shape[1] * system.frames_per_token
    mask = length_mask(token_len, ids.shape[1])
    q = _codebook(system, params)[ids] * mask[..., None]
    cond = fm.apply(variables, q, mask, method=FlowModel.condition)
    copies = 2 if guidance else 1
    cond, masks = jnp.tile(cond, (copies, 1, 1)), jnp.tile(mask, (copies, 1))
    keep = jnp.arange(copies * batch) < batch
    chunks = Chunks(chunk, (chunk,)) if chunk else None
    heard, heard_len = prompt or (jnp.zeros((batch, frames, system.mel.n_mels)), jnp.zeros(batch, jnp.int32))
    heard_mask = length_mask(heard_len * system.frames_per_token, frames)
    known, known_mask = jnp.tile(normalize(heard, system.mel), (copies, 1, 1)), jnp.tile(heard_mask, (copies, 1))
    speakers = jnp.broadcast_to(speaker, (copies * batch, speaker.shape[0]))

    def field(x: Float[Array, "B M F"], t: Float[Array, ""]) -> Float[Array, "B M F"]:
        point, times = jnp.tile(x, (copies, 1, 1)), jnp.full(copies * batch, t)
        given = (point, times, cond, known, known_mask, speakers, keep, masks, chunks)
        return _guided(fm.apply(variables, *given, method=FlowModel.velocity), guidance)

    noise = streams.draw("flow_noise", (frames, system.mel.n_mels))
    return _said(system, ode.euler(field, noise, ode.cosine_times(steps)), mask, heard, heard_mask)


def _said(
    system: System,
    made: Float[Array, "B M F"],
    mask: Bool[Array, "B T"],
    heard: Float[Array, "B M F"],
    heard_mask: Bool[Array, "B M"],
) -> Float[Array, "B M F"]:
    """The vocoder's log-mel: what was heard as it was, what the FM made, and silence where there are no tokens."""
    made = jnp.where(heard_mask[..., None], heard, denormalize(made, system.mel))
    floor, valid = jnp.log(system.mel.floor), jnp.repeat(mask, system.frames_per_token, axis=1)[..., None]
    return jnp.where(valid, jnp.maximum(made, floor), floor)


def _guided(velocity: Float[Array, "B2 M F"], guidance: float) -> Float[Array, "B M F"]:
    """Classifier-free guidance of a batch with and then, if there is any guidance, without the condition."""
    if not guidance:
        return velocity
    with_, without = jnp.split(velocity, 2)
    return (1 + guidance) * with_ - guidance * without


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def no_chunk(system: System, steps: int, guidance: float, tokens: int) -> Cache:
    """What `flow_chunk` begins with: room for so many tokens, at every step of the solver."""
    empty = system.fm.apply({}, 2 if guidance else 1, tokens, method=FlowModel.empty)
    return jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), empty)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def flow_chunk(
    system: System,
    steps: int,
    guidance: float,
    params: Params,
    cache: Cache,
    ids: Int[Array, " W"],
    start: Int[Array, ""],
    token_len: Int[Array, ""],
    speaker: Float[Array, " E"],
    streams: Streams,
    prompt: tuple[Float[Array, "C F"], Int[Array, ""]],
) -> tuple[Float[Array, "C F"], Cache]:
    """The next chunk of the log-mel of one sentence, which sees its tokens, all chunks before it, and no later ones
    but for the `look_ahead` of the condition.

    Args:
      cache: of `no_chunk`, or from the chunk before.
      ids: tokens from `start - look_ahead` on, `look_ahead` more than the chunk has on each side.
      start: number of the chunk's first token.
      token_len: tokens that there are.
      prompt: log-mel of the chunk as far as it was heard, and how many tokens of the sentence were.
    """
    variables, fm, per = {"params": params["fm"]}, system.fm, system.frames_per_token
    ahead, copies = fm.config.look_ahead, 2 if guidance else 1
    size, each = ids.shape[0] - 2 * ahead, fm.positions_per_token
    room = cache.key.shape[-2] // each
    place = start - ahead + jnp.arange(ids.shape[0])
    there = ((place >= 0) & (place < token_len))[None]
    q = _codebook(system, params)[ids][None] * there[..., None]
    cond = fm.apply(variables, q, there, method=FlowModel.condition)[:, ahead * each : (ahead + size) * each]
    seen = (jnp.arange(room) < jnp.minimum(start + size, token_len))[None]
    mask, heard = there[:, ahead : ahead + size], prompt[0][None]
    heard_mask = (start * per + jnp.arange(size * per) < prompt[1] * per)[None]
    copy = lambda x: jnp.tile(x, (copies,) + (1,) * (x.ndim - 1))  # noqa: E731
    fixed = (*map(copy, (cond, normalize(heard, system.mel), heard_mask, speaker[None])), jnp.arange(copies) < 1)
    ends = copy(mask), copy(seen)

    def field(x: Float[Array, "1 C F"], t: Float[Array, ""], kept: Cache) -> tuple[Float[Array, "1 C F"], Cache]:
        given = (copy(x), jnp.full(copies, t), *fixed, *ends, kept, start)
        velocity, kept = fm.apply(variables, *given, method=FlowModel.next_chunk)
        return _guided(velocity, guidance), kept

    noise = streams.draw("flow_noise", (room * per, system.mel.n_mels))
    noise = jax.lax.dynamic_slice_in_dim(noise, start * per, size * per, axis=1)
    made, cache = ode.euler_with(field, noise, ode.cosine_times(steps), cache)
    return _said(system, made, mask, heard, heard_mask)[0], cache


def _read(
    system: System, params: Params, codebook: Float[Array, "V Dq"], ids: Int[Array, "B T"], token_len: Int[Array, " B"]
) -> Float[Array, "B N V"]:
    mask = length_mask(token_len, ids.shape[1])
    return system.rm.apply({"params": params["rm"]}, codebook[ids] * mask[..., None], mask)["asr"]


@functools.partial(jax.jit, static_argnums=0)
def recognize(system: System, params: Params, ids: Int[Array, "B T"], token_len: Int[Array, " B"]) -> Int[Array, "B N"]:
    """The reward model's best character of each CTC frame, ctc_upsample frames a token."""
    return jnp.argmax(_read(system, params, _codebook(system, params), ids, token_len), axis=-1)
