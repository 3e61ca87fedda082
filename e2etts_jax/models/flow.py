"""Flow-matching acoustic model: a DiT that turns noise into mel, conditioned on `q` (or `h_LM`), prompt and speaker.

Path `y = (1 - (1-s) t) z + t x`, target `x - (1-s) z` (PAPER, CosyVoice 3); t = 0 noise, t = 1 mel.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import layers
from e2etts_jax.models.attention import Attention, Cache
from e2etts_jax.models.kernels import Chunks

SIGMA = 1e-6
PREDICTS = ("velocity", "preconditioned")
TIMES = ("uniform", "cosine")


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Size and conditioning.

    Attributes:
      predict: what the network puts out: the `velocity`, or (`preconditioned`, after Karras et al. 2022) what is left
        of it once the best linear guess from the noisy mel is taken out, at unit variance: the clean mel at t = 0,
        which is nearly a function of the tokens, and minus the noise at t = 1.
      times: how `t` is drawn in training: `uniform`, or `cosine`, as often as the solver steps there (CosyVoice;
        `ode.cosine_times`): more near the noise, where the tokens decide.
      patch: mel frames a DiT position holds; 1 as in CosyVoice 3, more for CPUs (divides frames per token).
      look_ahead: tokens on each side that condition a token's frames.
      drop: probability that condition, speaker and prompt are dropped together (classifier-free guidance).
      prompt_share, prompt_max: share of rows with a clean mel prefix, and its largest fraction of the clip.
      speaker: dims of the speaker vector.
      cond_hidden: width of `h_LM` if it may be the condition, else 0.
    """

    layers: int = 6
    width: int = 256
    heads: int = 4
    ff: int = 1024
    predict: str = "preconditioned"
    times: str = "cosine"
    patch: int = 2
    look_ahead: int = 3
    drop: float = 0.2
    prompt_share: float = 0.5
    prompt_max: float = 0.3
    speaker: int = 256
    cond_hidden: int = 0
    attention: str = "xla"
    remat: str = "none"
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"DiT width {self.width} is not a multiple of its {self.heads} heads")
        if self.predict not in PREDICTS:
            raise ValueError(f"fm.predict={self.predict!r} is not one of {', '.join(PREDICTS)}")
        if self.times not in TIMES:
            raise ValueError(f"fm.times={self.times!r} is not one of {', '.join(TIMES)}")


def time_embedding(t: Float[Array, " B"], dims: int = 256) -> Float[Array, "B dims"]:
    """Sinusoids of 1000 t, fp32."""
    frequency = jnp.exp(-np.log(10000.0) * jnp.arange(dims // 2, dtype=jnp.float32) / (dims // 2))
    angle = 1000.0 * t.astype(jnp.float32)[:, None] * frequency[None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class DiTBlock(nn.Module):
    """Attention and feed-forward, each scaled, shifted and gated by the time embedding (adaLN-zero, Peebles & Xie)."""

    config: FlowConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        cache: Cache | None,
        time: Float[Array, "B D"],
        mask: Bool[Array, "B N"],
        chunks: Chunks | None,
        at: Int[Array, ""] | int,
    ) -> tuple[Float[Array, "B L D"], Cache | None]:
        c = self.config
        zeros = nn.initializers.zeros_init()
        parts = layers.dense(6 * c.width, ("embed", "mlp"), dtype=self.dtype, init=zeros, name="modulation")(time)
        # whole on every device: when a sharded axis was split, XLA mixed up rows on a (2, 2, 2) mesh
        parts = layers.constrain(parts[:, None, :], "batch", "time", "embed_act")
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = jnp.split(parts, 6, axis=-1)
        positions = jnp.broadcast_to(at + jnp.arange(x.shape[1])[None], x.shape[:2])
        head_dim = c.width // c.heads
        normed = layers.layer_norm(self.dtype, affine=False)(x) * (1 + scale_a) + shift_a
        attention = Attention(c.heads, c.heads, head_dim, self.dtype, bias=True, kernel=c.attention, name="attention")
        heard, cache = attention(normed, positions, mask[:, None, :], cache, at, chunks)
        x = x + gate_a * heard
        normed = layers.layer_norm(self.dtype, affine=False)(x) * (1 + scale_f) + shift_f
        hidden = jax.nn.gelu(layers.dense(c.ff, ("embed", "mlp"), dtype=self.dtype, name="up")(normed))
        hidden = layers.constrain(hidden, "batch", "time", "mlp")
        x = x + gate_f * layers.dense(c.width, ("mlp", "embed"), dtype=self.dtype, name="down")(hidden)
        return layers.constrain(x, "batch", "time", "embed_act"), cache


class FlowModel(nn.Module):
    """Velocity field.

    Attributes:
      mels: mel bins F.
      frames_per_token: mel frames of one token.
    """

    config: FlowConfig
    mels: int
    frames_per_token: int
    dtype: DTypeLike = jnp.float32

    @property
    def positions_per_token(self) -> int:
        """Positions of the DiT."""
        return self.frames_per_token // self.config.patch

    def setup(self) -> None:
        c = self.config
        if self.frames_per_token % c.patch:
            raise ValueError(f"fm.patch {c.patch} does not divide the {self.frames_per_token} mel frames of a token")
        self.cond_q = layers.dense(c.width, ("q", "embed"), dtype=self.dtype)
        if c.cond_hidden:
            self.cond_h = layers.dense(c.width, ("q", "embed"), dtype=self.dtype)
        self.context = layers.DepthwiseConv(2 * c.look_ahead + 1, self.dtype)
        self.spread = layers.dense(self.positions_per_token * c.width, ("embed", "mlp"), dtype=self.dtype)
        self.speaker = layers.dense(c.width, ("speaker", "embed"), dtype=self.dtype)
        self.mel_in = layers.dense(c.width, ("mel", "embed"), dtype=self.dtype)
        self.time_in = layers.dense(c.width, ("time_embed", "embed"), dtype=self.dtype)
        self.time_out = layers.dense(c.width, ("embed", "embed_out"), dtype=self.dtype)
        self.blocks = layers.stack(DiTBlock, c, broadcast=4, carry_cache=True)(c, self.dtype)
        zeros = nn.initializers.zeros_init()
        self.final_modulation = layers.dense(2 * c.width, ("embed", "mlp"), dtype=self.dtype, init=zeros)
        self.final_norm = layers.layer_norm(self.dtype, affine=False)
        self.mel_out = layers.dense(c.patch * self.mels, ("embed", "mel"), dtype=jnp.float32, init=zeros)

    def condition(
        self, cond: Float[Array, "B T Dc"], mask: Bool[Array, "B T"], *, hidden: bool = False
    ) -> Float[Array, "B L D"]:
        """Token condition at the rate of DiT positions: local context, then each token spread over its positions.

        Args:
          cond: `q`, or `h_LM` with `hidden=True`.
        """
        if hidden and not self.config.cond_hidden:
            raise ValueError("the FM has no input for h_LM: set model.fm.cond_hidden to the LLM's width")
        gate = mask[..., None].astype(self.dtype)
        x = (self.cond_h if hidden else self.cond_q)(cond.astype(self.dtype)) * gate
        x = self.spread(x + self.context(x)) * gate
        # whole on every device, as in DiTBlock: with a position for each token, XLA mixed up rows on a (2, 2, 2) mesh
        return layers.constrain(x.reshape(x.shape[0], -1, self.config.width), "batch", "time", "embed_act")

    def velocity(
        self,
        noisy: Float[Array, "B M F"],
        t: Float[Array, " B"],
        cond: Float[Array, "B L D"],
        prompt: Float[Array, "B M F"],
        prompt_mask: Bool[Array, "B M"],
        speaker: Float[Array, "B E"],
        keep: Bool[Array, " B"],
        mask: Bool[Array, "B T"],
        chunks: Chunks | None = None,
    ) -> Float[Array, "B M F"]:
        """Predicted `dx/dt`, fp32.

        Args:
          noisy: point on the path at time `t`.
          cond: from `condition`.
          prompt: clean mel, read where `prompt_mask`.
          speaker: x-vector, zeros if unknown.
          keep: False drops condition, prompt and speaker together.
          mask: valid tokens.
          chunks: of tokens, in which frames attend as when streaming; None = all to all.
        """
        return self.next_chunk(noisy, t, cond, prompt, prompt_mask, speaker, keep, mask, mask, None, 0, chunks)[0]

    def next_chunk(
        self,
        noisy: Float[Array, "B M F"],
        t: Float[Array, " B"],
        cond: Float[Array, "B L D"],
        prompt: Float[Array, "B M F"],
        prompt_mask: Bool[Array, "B M"],
        speaker: Float[Array, "B E"],
        keep: Bool[Array, " B"],
        mask: Bool[Array, "B T"],
        seen: Bool[Array, "B N"],
        cache: Cache | None,
        at: Int[Array, ""] | int,
        chunks: Chunks | None = None,
    ) -> tuple[Float[Array, "B M F"], Any]:
        """`velocity` of one chunk, whose first token is number `at`, after those that are in the cache.

        Args:
          seen: valid tokens up to the end of the chunk, of the N for which the cache has room.
          cache: from `empty`, then from the call before at the same `t`; None = this is all.
        """
        c, per_token = self.config, self.positions_per_token
        if chunks is not None:
            chunks = Chunks(chunks.size * per_token, tuple(size * per_token for size in chunks.sizes))
        batch, frames = noisy.shape[:2]
        kept = keep[:, None, None].astype(self.dtype)
        given = prompt_mask[..., None].astype(self.dtype)
        valid = jnp.repeat(mask, self.frames_per_token, axis=1)[..., None].astype(self.dtype)
        prompt = jnp.concatenate([prompt.astype(self.dtype) * given, given], axis=-1) * kept
        x = jnp.concatenate([noisy.astype(self.dtype), prompt], axis=-1) * valid
        x = self.mel_in(x.reshape(batch, frames // c.patch, -1))
        x = x + (cond + self.speaker(speaker.astype(self.dtype))[:, None, :]) * kept
        time = self.time_out(jax.nn.silu(self.time_in(time_embedding(t).astype(self.dtype))))
        time = jax.nn.silu(time)
        x, cache = self.blocks(x, cache, time, jnp.repeat(seen, per_token, axis=1), chunks, at * per_token)
        parts = layers.constrain(self.final_modulation(time)[:, None, :], "batch", "time", "embed_act")
        shift, scale = jnp.split(parts, 2, axis=-1)
        x = self.mel_out(self.final_norm(x) * (1 + scale) + shift).reshape(batch, frames, self.mels)
        if c.predict == "velocity":
            return x, cache
        t = t.astype(jnp.float32)[:, None, None]
        power = t**2 + (1.0 - t) ** 2  # variance of the noisy mel, for mels of unit variance
        return (2.0 * t - 1.0) / power * noisy.astype(jnp.float32) + x * jax.lax.rsqrt(power), cache

    def empty(self, rows: int, tokens: int) -> Cache:
        """A cache for so many tokens."""
        c = self.config
        shape = (c.layers, rows, c.heads, tokens * self.positions_per_token, c.width // c.heads)
        return Cache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))

    def __call__(self, noisy, t, tokens, prompt, prompt_mask, speaker, keep, mask, hidden=None):
        """Touches every parameter once, for initialisation."""
        cond = self.condition(tokens, mask)
        if hidden is not None:
            cond = cond + self.condition(hidden, mask, hidden=True)
        return self.velocity(noisy, t, cond, prompt, prompt_mask, speaker, keep, mask)


def path(x: Float[Array, "B M F"], z: Float[Array, "B M F"], t: Float[Array, " B"]) -> tuple[jax.Array, jax.Array]:
    """Point on the straight path from noise `z` to data `x` at `t`, and the velocity there."""
    t = t[:, None, None]
    return (1.0 - (1.0 - SIGMA) * t) * z + t * x, x - (1.0 - SIGMA) * z
