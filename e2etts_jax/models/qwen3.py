"""Decoder in the shape of Qwen3: pre-RMSNorm, q/k-norm, rotary positions, grouped queries, SwiGLU."""

import dataclasses

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import layers
from e2etts_jax.models.attention import Attention, Cache
from e2etts_jax.types import Params


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Size of the stack; the defaults are those of `:tiny`."""

    layers: int = 6
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ff: int = 768
    rope_theta: float = 1e6
    rms_eps: float = 1e-6
    attention: str = "xla"
    remat: str = "none"
    unroll: int = 1


class SwiGLU(nn.Module):
    width: int
    ff: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        gate = layers.dense(self.ff, ("embed", "mlp"), dtype=self.dtype, bias=False, name="gate")(x)
        up = layers.dense(self.ff, ("embed", "mlp"), dtype=self.dtype, bias=False, name="up")(x)
        hidden = layers.constrain(jax.nn.silu(gate) * up, "batch", "time", "mlp")
        return layers.dense(self.width, ("mlp", "embed"), dtype=self.dtype, bias=False, name="down")(hidden)


class DecoderBlock(nn.Module):
    """One layer."""

    config: DecoderConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        cache: Cache | None,
        positions: Int[Array, "B L"],
        mask: Bool[Array, "B #L N"],  # noqa: F821
        index: Int[Array, ""] | int,
    ) -> tuple[Float[Array, "B L D"], Cache | None]:
        c = self.config
        attention = Attention(
            c.heads,
            c.kv_heads,
            c.head_dim,
            self.dtype,
            theta=c.rope_theta,
            qk_norm=True,
            eps=c.rms_eps,
            causal=True,
            kernel=c.attention,
            name="attention",
        )
        normed = layers.RMSNorm(self.dtype, c.rms_eps, name="attention_norm")(x)
        out, cache = attention(normed, positions, mask, cache, index)
        x = x + out
        normed = layers.RMSNorm(self.dtype, c.rms_eps, name="mlp_norm")(x)
        x = x + SwiGLU(c.width, c.ff, self.dtype, name="mlp")(normed)
        return layers.constrain(x, "batch", "time", "embed_act"), cache


class Decoder(nn.Module):
    """The stack and its final norm: embeddings in, hidden states out."""

    config: DecoderConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        positions: Int[Array, "B L"],
        mask: Bool[Array, "B #L N"],  # noqa: F821
        caches: tuple[Cache, ...] | None = None,
        index: Int[Array, ""] | int = 0,
    ) -> tuple[Float[Array, "B L D"], tuple[Cache, ...] | None]:
        """`mask` (beside causality) spans the N slots of the layers' caches, or N = L without.

        With caches, one a layer, the parameters are those of `apart`: a scan over the layers would copy all weights and
        caches at every token.
        """
        c, made = self.config, []
        if caches is None:
            blocks = layers.stack(DecoderBlock, c, broadcast=3, carry_cache=True)(c, self.dtype, name="blocks")
            x, _ = blocks(x, None, positions, mask, index)
        for i, cache in enumerate(caches or ()):
            x, kept = DecoderBlock(c, self.dtype, name=f"block_{i}")(x, cache, positions, mask, index)
            made.append(kept)
        return layers.RMSNorm(self.dtype, c.rms_eps, name="norm")(x), tuple(made) or None


def apart(params: Params, count: int, dtype: DTypeLike) -> Params:
    """The parameters of a stack as decoding reads them: layer by layer, and `by_rows`."""
    blocks, kept = params["blocks"], {name: value for name, value in params.items() if name != "blocks"}
    for i in range(count):
        kept[f"block_{i}"] = layers.by_rows(jax.tree.map(lambda x: x[i], blocks), dtype)  # noqa: B023
    return kept
