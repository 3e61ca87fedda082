"""Multi-head attention with rotary positions, grouped queries and an optional key-value cache.

The projections are 2-D kernels: `nn.DenseGeneral` with several feature dims fails under a mesh with logical
partitioning, and 2-D kernels are what fused kernels and checkpoints of other projects use.
"""

import functools

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import kernels, layers


@flax.struct.dataclass
class Cache:
    """Keys and values seen so far; `N` slots are preallocated so that decoding compiles once.

    The slots of a head lie together: a step of decoding reads all of them, and on a CPU twice as fast so.
    """

    key: Float[Array, "B G N K"]
    value: Float[Array, "B G N K"]


def rotary(x: Float[Array, "B T H K"], positions: Int[Array, "B T"], theta: float) -> Float[Array, "B T H K"]:
    """Rotary position embedding (Su et al. 2021), half-split layout as in Qwen and Llama, angles in fp32."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions.astype(jnp.float32)[:, :, None, None] * frequency[None, None, None, :]
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class Attention(nn.Module):
    """Self-attention over `x`.

    Attributes:
      heads, kv_heads, head_dim: query heads, key-value heads (divides heads), width of one head.
      qk_norm: RMS-normalise queries and keys per head before rotation (Qwen3).
      theta: rotary base.
      bias: biases on the four projections.
      causal: a query sees no later place than its own.
      kernel: one of `kernels.NAMES`.
    """

    heads: int
    kv_heads: int
    head_dim: int
    dtype: DTypeLike
    theta: float = 1e4
    qk_norm: bool = False
    bias: bool = False
    eps: float = 1e-6
    causal: bool = False
    kernel: str = "xla"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        mask: Bool[Array, "B #T N"],  # noqa: F821
        cache: Cache | None = None,
        index: Int[Array, ""] | int = 0,
        chunks: kernels.Chunks | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Attends where `mask` is True; with a cache, writes keys from slot `index` on and attends over all N slots.

        Args:
          chunks: without a cache, attend in chunks.
        """
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} query heads do not group over {self.kv_heads} key-value heads")
        batch, size, width = x.shape

        def project(count: int, name: str, axis: str) -> jax.Array:
            flat = layers.dense(count * self.head_dim, ("embed", axis), dtype=self.dtype, bias=self.bias, name=name)(x)
            return flat.reshape(batch, size, count, self.head_dim)

        query, key = project(self.heads, "query", "heads"), project(self.kv_heads, "key", "kv_heads")
        value = project(self.kv_heads, "value", "kv_heads")
        if self.qk_norm:
            query = layers.RMSNorm(self.dtype, self.eps, name="query_norm")(query)
            key = layers.RMSNorm(self.dtype, self.eps, name="key_norm")(key)
        query, key = rotary(query, positions, self.theta), rotary(key, positions, self.theta)
        if cache is not None:
            write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=index, axis=2)
            cache = Cache(write(cache.key, key.swapaxes(1, 2)), write(cache.value, value.swapaxes(1, 2)))
            # or XLA writes once for the attention and once for the loop, each time into a copy of the whole
            cache = jax.lax.optimization_barrier(cache)
        query = layers.constrain(query, "batch", "time", "heads", None)
        if cache is None:
            out = kernels.attend(query, key, value, mask, causal=self.causal, kernel=self.kernel, chunks=chunks)
        else:
            if self.causal:  # slots behind the last query hold nothing yet
                slots, places = jnp.arange(cache.key.shape[2]), index + jnp.arange(size)
                mask = mask & (slots[None, None, :] <= places[None, :, None])
            out = kernels.attend_to_cache(query, cache.key, cache.value, mask)
        out = out.reshape(batch, size, self.heads * self.head_dim)
        return layers.dense(width, ("heads", "embed"), dtype=self.dtype, bias=self.bias, name="out")(out), cache
