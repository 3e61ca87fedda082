"""The wiring: the one place where the four models meet.

`forward` makes the outputs that the stage's loss terms ask for, and only those. Gradients between models flow along
the ways that the plan opens (PAPER, stages 1 to 3) and no others.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax import augment
from e2etts_jax.features import waveform
from e2etts_jax.models import ode, relax
from e2etts_jax.models.flow import FlowModel, path
from e2etts_jax.models.generate import Sampling, generate
from e2etts_jax.models.kernels import Chunks
from e2etts_jax.models.llm import LLM, by_chunk, speech_logits
from e2etts_jax.models.tokenizer import Tokenizer, Tokens
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import Batch, Outputs, Params, length_mask

if TYPE_CHECKING:  # the System calls `forward`
    from e2etts_jax.system import System

ON_POLICY = Sampling(temperature=1.0, top_p=1.0, top_k=0, repetition=1.0)
REFERENCE = "llm_ref"  # the frozen LLM of `kl_ref`, beside the groups in `params`


@flax.struct.dataclass
class LmOut:
    """T+1 predictions: T tokens, then the end. `targets` and `mask` are those of the recorded tokens.

    `loss` is the cross-entropy of each target in nats, `log_z` the logarithm of the softmax's denominator. The logits
    themselves are `hidden` against the rows of `table`: `Wiring.over_logits`.
    """

    hidden: Float[Array, "B T1 D"]
    table: Float[Array, "V1 D"]
    targets: Int[Array, "B T1"]
    mask: Bool[Array, "B T1"]
    loss: Float[Array, "B T1"]
    log_z: Float[Array, "B T1"]


@flax.struct.dataclass
class FlowOut:
    velocity: Float[Array, "B M F"]
    target: Float[Array, "B M F"]
    mask: Bool[Array, "B M"]


@flax.struct.dataclass
class ReconOut:
    mel: Float[Array, "B M F"]
    target: Float[Array, "B M F"]
    mask: Bool[Array, "B M"]


@flax.struct.dataclass
class RmOut:
    """Head outputs, and how many CTC frames of each row are valid."""

    heads: dict[str, Float[Array, "B ..."]]
    frames: Int[Array, " B"]


@flax.struct.dataclass
class Crop:
    """A window of each row for the FM: condition source, mel, speaker and prompt."""

    cond: Float[Array, "B C Dc"]
    mel: Float[Array, "B M F"]
    mask: Bool[Array, "B C"]
    prompt_mask: Bool[Array, "B M"]
    loss_mask: Bool[Array, "B M"]
    noise: Float[Array, "B M F"]


def scale_gradient(x: Array, factor: float) -> Array:
    """`x` forward, `factor` times the gradient backward."""
    return x if factor == 1.0 else factor * x + jax.lax.stop_gradient((1.0 - factor) * x)


class Wiring:
    """One forward pass; each output is made on first use and kept, so that terms share what they share."""

    def __init__(
        self, system: "System", params: Params, batch: Batch, streams: Streams, plan: Plan, step: Array, total: int
    ):
        self.system, self.params, self.batch, self.streams, self.plan = system, params, batch, streams, plan
        self.step, self.total = step, total
        self.token_len = batch.token_len(system.samples_per_token)
        self.size = batch.wav.shape[1] // system.samples_per_token
        self.mask = length_mask(self.token_len, self.size)
        self.heard, self.mel = system.mels(batch.wav, batch.wav_len)
        self.codebook = system.tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)
        self.tokens = self.tokenize(self.heard, self.mask)
        self._made: dict[str, Any] = {}

    def made(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = getattr(self, name)()
        return self._made[name]

    def tokenize(self, heard: Float[Array, "B M F"], mask: Bool[Array, "B T"]) -> Tokens:
        mel_mask = jnp.repeat(mask, heard.shape[1] // self.size, axis=1)
        variables, model = {"params": self.params["tokenizer"]}, self.system.tokenizer
        tokens = model.apply(variables, heard, mel_mask)
        if not self.plan.continuous_steps:
            return tokens
        warm = model.apply(variables, heard, mel_mask, quantize=False)
        return jax.tree.map(lambda a, b: jnp.where(self.step < self.plan.continuous_steps, a, b), warm, tokens)

    # --- LLM ---------------------------------------------------------------------------------------------------------

    def over_logits(self, fn: Callable[..., Any], lm: tuple[Array, Array], *arrays: Array) -> Any:
        """`fn(logits, *arrays)` of every position, without more logits at one time than `llm.chunk` positions have.

        Args:
          fn: logits f32[B, c, V+1] and chunks of `arrays` -> tree of [B, c, ...].
          lm: hidden states [B, T, D] and table [V+1, D].
        """
        hidden, table = lm
        chunk = self.system.llm.config.chunk
        return by_chunk(lambda h, *rest: fn(speech_logits(h, table), *rest), chunk, hidden, *arrays)

    def read(
        self, group: str, q: Float[Array, "B T Dq"], ids: Int[Array, "B T"], codebook: Float[Array, "V Dq"]
    ) -> LmOut:
        """Teacher-forced pass of the LLM `group` over a history."""
        b, llm, variables = self.batch, self.system.llm, {"params": self.params[group]}
        hidden = llm.apply(variables, b.text, b.text_len, q, ids, self.token_len, method=LLM.read)
        table = llm.apply(variables, codebook, method=LLM.table)
        at_end = jnp.arange(self.size + 1)[None, :] == self.token_len[:, None]
        targets = jnp.where(at_end, self.system.vocab, jnp.pad(ids, ((0, 0), (0, 1))))
        mask = length_mask(jnp.where(self.token_len > 0, self.token_len + 1, 0), self.size + 1)

        def scores(logits: Array, targets: Array) -> tuple[Array, Array]:
            log_z = jax.nn.logsumexp(logits, axis=-1)
            return log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0], log_z

        return LmOut(hidden, table, targets, mask, *self.over_logits(scores, (hidden, table), targets))

    def lm(self) -> LmOut:
        factor = self.plan.lm_into_tokenizer
        q, codebook = scale_gradient(self.tokens.q, factor), scale_gradient(self.codebook, factor)
        return self.read("llm", q, self.tokens.ids, codebook)

    def lm_ref(self) -> LmOut:
        stop = jax.lax.stop_gradient
        return stop(self.read(REFERENCE, stop(self.tokens.q), self.tokens.ids, stop(self.codebook)))

    def kl(self) -> Float[Array, "B T1"]:
        """KL(LLM || reference LLM) over the vocabulary at every step, nats."""
        lm, ref = self.made("lm"), self.made("lm_ref")

        def divergence(logits: Array, theirs: Array) -> Array:
            log_p = jax.nn.log_softmax(logits)
            log_ref = jax.nn.log_softmax(speech_logits(theirs, ref.table))
            return jnp.sum(jnp.exp(log_p) * (log_p - log_ref), axis=-1)

        return self.over_logits(divergence, (lm.hidden, lm.table), ref.hidden)

    def temperature(self) -> Array:
        first, last = self.plan.gumbel_temperature
        return first + (last - first) * jnp.minimum(self.step / max(self.total - 1, 1), 1.0)

    def gumbel(self) -> Float[Array, "B T Dq"]:
        """Tokens drawn from the LLM given the *recorded* history, relaxed (DiffRO): aligned in time with the mel."""
        lm, vocab, keys = self.made("lm"), self.system.vocab, self.streams.rows("gumbel")
        places = jnp.broadcast_to(jnp.arange(self.size)[None], self.mask.shape)

        def drawn(logits: Array, places: Array) -> Array:
            draw = lambda key, place: jax.random.gumbel(jax.random.fold_in(key, place), (vocab,))  # noqa: E731
            noise = jax.vmap(jax.vmap(draw, (None, 0)))(keys, places)
            choice = relax.gumbel_softmax(logits[..., :vocab], noise, self.temperature(), hard=self.plan.gumbel_hard)
            return choice @ self.codebook

        return self.over_logits(drawn, (lm.hidden[:, : self.size], lm.table), places) * self.mask[..., None]

    def source(self, way: str) -> Float[Array, "B T Dc"]:
        """What travels to the FM or RM along `way`."""
        if way == "llm_gumbel":
            return self.made("gumbel")
        if way == "llm_hidden":
            return self.made("lm").hidden[:, : self.size]
        return self.tokens.q if way == "codes" else jax.lax.stop_gradient(self.tokens.q)

    # --- FM ----------------------------------------------------------------------------------------------------------

    def crop(self) -> Crop:
        """The window each row trains the FM on, and its clean prompt prefix."""
        fm, per_token = self.system.fm.config, self.system.frames_per_token
        cond = self.source(self.plan.tokens_to_fm)
        window = min(self.plan.fm_crop_tokens or self.size, self.size)
        room = jnp.maximum(self.token_len - window, 0)
        unit = self.streams.draw("crop", (), jax.random.uniform)
        start = jnp.minimum((unit * (room + 1)).astype(jnp.int32), room)

        def cut(x: Array, rate: int) -> Array:
            take = lambda row, at: jax.lax.dynamic_slice_in_dim(row, at * rate, window * rate)  # noqa: E731
            return jax.vmap(take)(x, start)

        mask = cut(self.mask, 1)
        length = jnp.sum(mask, axis=1) * per_token
        share = self.streams.draw("prompt_length", (), jax.random.uniform) * fm.prompt_max
        prompted = self.streams.draw("prompt", (), jax.random.uniform) < fm.prompt_share
        prompt_len = jnp.where(prompted, jnp.floor(share * length), 0).astype(jnp.int32)
        # of a zero-shot pair the prompt is what the window still shows of it
        paired = (self.batch.prompt_len // self.system.samples_per_token - start) * per_token
        prompt_len = jnp.where((paired > 0) & (paired < length), paired, prompt_len)
        frames = window * per_token
        prompt_mask = length_mask(prompt_len, frames)
        return Crop(
            cond=cut(cond, 1),
            mel=cut(self.mel, per_token),
            mask=mask,
            prompt_mask=prompt_mask,
            loss_mask=jnp.repeat(mask, per_token, axis=1) & ~prompt_mask,
            noise=self.streams.draw("flow_noise", (frames, self.system.mel.n_mels)),
        )

    def field(self, keep: Bool[Array, " B"], crop: Crop | None = None) -> ode.Field:
        """The velocity field of the crop, by default that which the FM trains on, `(x, t [B]) -> dx/dt`."""
        c: Crop = crop or self.made("crop")
        variables, fm = {"params": self.params["fm"]}, self.system.fm
        hidden = self.plan.tokens_to_fm == "llm_hidden"
        cond = fm.apply(variables, c.cond, c.mask, hidden=hidden, method=FlowModel.condition)
        speaker = self.batch.speaker * self.batch.speaker_mask[:, None]
        sizes = self.plan.fm_chunks
        chunks = Chunks(self.streams.choose("fm_chunk", sizes), sizes) if any(sizes) else None
        return lambda x, t: fm.apply(
            variables, x, t, cond, c.mel, c.prompt_mask, speaker, keep, c.mask, chunks, method=FlowModel.velocity
        )

    def flow(self) -> FlowOut:
        c: Crop = self.made("crop")
        t = self.streams.draw("flow_time", (), jax.random.uniform)
        if self.system.fm.config.times == "cosine":
            t = 1.0 - jnp.cos(jnp.pi / 2 * t)
        keep = self.streams.draw("guidance_drop", (), jax.random.uniform) >= self.system.fm.config.drop
        point, target = path(c.mel, c.noise, t)
        return FlowOut(self.field(keep)(point, t), target, c.loss_mask)

    def recon(self) -> ReconOut:
        """Unrolls the solver from noise to mel; the gradient runs back through every step."""
        c: Crop = self.made("crop")
        field = self.field(jnp.ones_like(self.token_len, bool))
        rows = jnp.ones(c.mel.shape[0])
        times = ode.cosine_times(self.plan.fm_unroll_steps)
        remat = self.plan.fm_unroll_steps > 1  # a single step has nothing to save
        return ReconOut(ode.euler(lambda x, t: field(x, t * rows), c.noise, times, remat=remat), c.mel, c.loss_mask)

    # --- RM ----------------------------------------------------------------------------------------------------------

    def recognise(self, q: Float[Array, "B T Dq"], mask: Bool[Array, "B T"], length: Int[Array, " B"]) -> RmOut:
        heads = self.system.rm.apply({"params": self.params["rm"]}, q, mask)
        return RmOut(heads, length * self.system.rm.config.ctc_upsample)

    def rm(self) -> RmOut:
        p = self.plan
        if not p.rm_noise_db and not p.rm_speed:
            return self.recognise(self.source(p.tokens_to_rm), self.mask, self.token_len)
        wav, wav_len = self.augmented()
        length = -(-wav_len // self.system.samples_per_token)
        mask = length_mask(length, self.size)
        q = self.tokenize(self.system.mels(wav, wav_len)[0], mask).q
        return self.recognise(q if p.tokens_to_rm == "codes" else jax.lax.stop_gradient(q), mask, length)

    def augmented(self) -> tuple[Float[Array, "B W"], Int[Array, " B"]]:
        """The recording at a random speed, with white noise on half the rows (PAPER, stage 2: RM)."""
        p, uniform = self.plan, jax.random.uniform
        wav, wav_len = waveform(self.batch.wav), self.batch.wav_len
        if p.rm_speed:
            choice = (self.streams.draw("speed", (), uniform) * len(p.rm_speed)).astype(jnp.int32)
            wav, wav_len = augment.speed(wav, wav_len, p.rm_speed, choice)
        if p.rm_noise_db:
            low, high = p.rm_noise_db
            decibels = low + (high - low) * self.streams.draw("noise_db", (), uniform)
            decibels = jnp.where(self.streams.draw("noisy", (), uniform) < 0.5, decibels, jnp.inf)
            wav = augment.white_noise(wav, wav_len, decibels, self.streams.draw("noise", wav.shape[1:]))
        return wav, wav_len

    def rm_sampled(self) -> RmOut:
        """The RM on what the LLM says when left alone.

        The tokens are drawn freely, without gradient; then one parallel pass over that history gives every token a
        straight-through softmax, so that the reward reaches the LLM at each step, given the history.
        """
        s, b, stop = self.system, self.batch, jax.lax.stop_gradient
        codebook = stop(self.codebook)
        frozen = stop(self.params["llm"])
        keys = self.streams.rows("sample")
        ids, length = generate(s.llm, frozen, b.text, b.text_len, codebook, keys, self.size, ON_POLICY)
        mask = length_mask(length, self.size)
        variables = {"params": self.params["llm"]}
        hidden = s.llm.apply(variables, b.text, b.text_len, codebook[ids], ids, length, method=LLM.read)
        table = s.llm.apply(variables, codebook, method=LLM.table)

        def expected(logits: Array) -> Array:
            return jax.nn.softmax(logits[..., : s.vocab] / self.temperature(), axis=-1) @ codebook

        mixed = self.over_logits(expected, (hidden[:, : self.size], table))
        q = (mixed + stop(codebook[ids] - mixed)) * mask[..., None]
        return self.recognise(q, mask, length)


def forward(
    system: "System",
    params: Params,
    batch: Batch,
    streams: Streams,
    plan: Plan,
    needs: tuple[str, ...],
    step: Int[Array, ""] | int = 0,
    total: int = 1,
) -> Outputs:
    """Runs what `needs` asks for.

    Args:
      params: the four groups, and `llm_ref` if the reference LLM is asked for.
      streams: randomness of this step, for the batch's rows.
      needs: names out of `lm lm_ref kl flow recon rm rm_sampled`.
      step, total: place in the stage, for schedules.

    Returns:
      the outputs by name; `tokens` is `Tokens`, `mask` the valid tokens [B, T].
    """
    wiring = Wiring(system, params, batch, streams, plan, jnp.asarray(step), total)
    return Outputs({name: wiring.made(name) for name in needs}, tokens=wiring.tokens, mask=wiring.mask)
