"""Conformer blocks (Gulati et al. 2020): half feed-forward, attention, convolution, half feed-forward.

LayerNorm stands where the paper has BatchNorm, so that a clip's features depend on no other clip and not on padding.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from e2etts_jax.models import layers
from e2etts_jax.models.attention import Attention
from e2etts_jax.models.layers import stack


@dataclasses.dataclass(frozen=True)
class ConformerConfig:
    """Size of a stack of Conformer blocks."""

    layers: int = 4
    width: int = 192
    heads: int = 3
    ff: int = 768
    kernel: int = 15
    attention: str = "xla"
    remat: str = "none"
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"Conformer width {self.width} is not a multiple of its {self.heads} heads")


class ConvModule(nn.Module):
    config: ConformerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        width = self.config.width
        x = layers.layer_norm(self.dtype, name="norm")(x)
        x = nn.glu(layers.dense(2 * width, ("embed", "mlp"), dtype=self.dtype, name="up")(x))
        x = x * mask[..., None].astype(self.dtype)  # the convolution must not read padding
        x = layers.DepthwiseConv(self.config.kernel, self.dtype, name="depthwise")(x)
        x = nn.swish(layers.layer_norm(self.dtype, name="conv_norm")(x))
        return layers.dense(width, ("mlp", "embed"), dtype=self.dtype, name="down")(x)


class FeedForward(nn.Module):
    config: ConformerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        x = layers.layer_norm(self.dtype, name="norm")(x)
        x = nn.swish(layers.dense(self.config.ff, ("embed", "mlp"), dtype=self.dtype, name="up")(x))
        x = layers.constrain(x, "batch", "time", "mlp")
        return layers.dense(self.config.width, ("mlp", "embed"), dtype=self.dtype, name="down")(x)


class ConformerBlock(nn.Module):
    config: ConformerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> tuple[Float[Array, "B T D"], None]:
        c = self.config
        positions = jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape[:2])
        x = x + 0.5 * FeedForward(c, self.dtype, name="ff_in")(x)
        head_dim = c.width // c.heads
        attention = Attention(c.heads, c.heads, head_dim, self.dtype, bias=True, kernel=c.attention, name="attention")
        x = x + attention(layers.layer_norm(self.dtype, name="attention_norm")(x), positions, mask[:, None, :])[0]
        x = x + ConvModule(c, self.dtype, name="conv")(x, mask)
        x = x + 0.5 * FeedForward(c, self.dtype, name="ff_out")(x)
        x = layers.layer_norm(self.dtype, name="norm")(x)
        return layers.constrain(x, "batch", "time", "embed_act"), None


class Conformer(nn.Module):
    """A stack of blocks, scanned: parameters have a leading `layers` axis and the program holds one block."""

    config: ConformerConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B T D"]:
        return stack(ConformerBlock, self.config)(self.config, self.dtype, name="blocks")(x, mask)[0]
