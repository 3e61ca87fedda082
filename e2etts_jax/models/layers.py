"""Small parts shared by the models. Every parameter carries logical axis names; `sharding.py` maps them to the mesh."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from e2etts_jax.types import Params

Initializer = Callable[..., jax.Array]
lecun = nn.initializers.lecun_normal()
zeros = nn.initializers.zeros_init()


def _settle(g: jax.Array) -> jax.Array:
    """On a CPU, keeps a cotangent from being recomputed inside the transposing copies that feed matrix products.

    And keeps a product as it is written: transposed, bf16 x bf16 = fp32 is not implemented there.

    Measured on an AMX CPU: a SwiGLU backward pass in bf16 takes 36 ms of processor time with it and 284 ms without,
    in fp32 118 and 190 ms. Accelerators fuse well by themselves and get the identity.
    """
    return jax.lax.platform_dependent(g, cpu=jax.lax.optimization_barrier, default=lambda x: x)


@jax.custom_vjp
def matmul(x: Float[Array, "B T D"], kernel: Float[Array, "D F"]) -> Float[Array, "B T F"]:
    """`x @ kernel` in the dtype of `x`; the kernel's gradient is accumulated in the kernel's dtype (fp32)."""
    return jnp.einsum("btd,df->btf", x, kernel.astype(x.dtype))


def _matmul_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return matmul(x, kernel), (x, kernel)


def _matmul_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    g = _settle(g)
    # the order of the result's axes matters: the reverse order runs 8 times slower on an AMX CPU
    to_kernel = jnp.einsum("btd,btf->df", x, g, preferred_element_type=kernel.dtype)
    return jnp.einsum("btf,df->btd", g, kernel.astype(g.dtype)), _settle(to_kernel).astype(kernel.dtype)


matmul.defvjp(_matmul_forward, _matmul_backward)


@jax.custom_vjp
def similarity(x: Float[Array, "B T D"], rows: Float[Array, "V D"]) -> Float[Array, "B T V"]:
    """`x rows^T`, products in the dtype of the inputs, sums and result in fp32; the same for both gradients."""
    if x.shape[1] == 1:  # decoding: few rows of activations, as in `by_rows`
        return jnp.moveaxis(jnp.einsum("vd,btd->vbt", rows, x, preferred_element_type=jnp.float32), 0, -1)
    return jnp.einsum("btd,vd->btv", x, rows, preferred_element_type=jnp.float32)


def _similarity_forward(x: jax.Array, rows: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return similarity(x, rows), (x, rows)


def _similarity_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, rows = saved
    g = _settle(g.astype(x.dtype))
    to_rows = jnp.einsum("btv,btd->vd", g, x, preferred_element_type=jnp.float32)
    return jnp.einsum("btv,vd->btd", g, rows), _settle(to_rows).astype(rows.dtype)


similarity.defvjp(_similarity_forward, _similarity_backward)


class Dense(nn.Module):
    """Linear layer on the last axis; parameters in fp32, the product in `dtype`.

    Given `rows` [F, D] instead of its kernel [D, F] (`by_rows`), it computes the same.
    """

    features: int
    axes: tuple[str, str]
    dtype: DTypeLike
    bias: bool = True
    init: Initializer = lecun
    bias_init: Initializer = zeros

    @nn.compact
    def __call__(self, x: Float[Array, "*b D"]) -> Float[Array, "*b F"]:
        lead = x.shape[:-1]
        flat = x.astype(self.dtype).reshape((-1, *x.shape[-2:]) if x.ndim > 1 else (1, 1, -1))
        if self.has_variable("params", "rows"):
            out = jnp.moveaxis(jnp.einsum("fd,btd->fbt", self.get_variable("params", "rows"), flat), 0, -1)
        else:
            kernel_init = nn.with_logical_partitioning(self.init, self.axes)
            kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
            out = checkpoint_name(matmul(flat, kernel), "linear")
        out = out.reshape(*lead, self.features)
        if self.bias:
            bias_init = nn.with_logical_partitioning(self.bias_init, (self.axes[1],))
            bias = self.param("bias", bias_init, (self.features,)).astype(self.dtype)
            out = out + bias.reshape((1,) * (out.ndim - 1) + (-1,))
        return out


def dense(
    features: int,
    axes: tuple[str, str],
    *,
    dtype: DTypeLike,
    name: str | None = None,
    bias: bool = True,
    init: Initializer = lecun,
    bias_init: Initializer = zeros,
) -> Dense:
    """Linear layer whose kernel has logical axes `(in, out)`."""
    return Dense(features, axes, dtype, bias, init, bias_init, name=name)


def by_rows(params: Params, dtype: DTypeLike) -> Params:
    """Parameters whose kernels are stored transposed, and in the dtype of the products: for decoding.

    There a product has few rows of activations and reads a whole kernel. A CPU then does best with the kernel as the
    left side, whose rows it reads in order; as the right side it would be repacked each time. Measured on two AVX2
    cores, 16 rows, 512 x 1536: 76 GFLOP/s instead of 53, 1536 x 512: 99 instead of 36.
    """
    if not isinstance(params, Mapping):
        return params
    made = {name: by_rows(value, dtype) for name, value in params.items() if name != "kernel"}
    return made | ({"rows": params["kernel"].astype(dtype).T} if "kernel" in params else {})


class RMSNorm(nn.Module):
    """`x / rms(x) * scale` in fp32, result in `dtype` (Qwen3's)."""

    dtype: DTypeLike
    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*b D"]) -> Float[Array, "*b D"]:
        init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",))
        scale = self.param("scale", init, (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.eps)
        return (x * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(self.dtype)


def convolution(
    features: int,
    kernel: tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    dilation: int = 1,
    spread: int = 1,
    padding: int | None = None,
    dtype: DTypeLike,
    name: str,
) -> nn.Conv:
    """A convolution over the axes between batch and channels, of odd kernels, as long as its input at stride 1.

    Small enough to lie whole on every device.

    Args:
      spread: factor by which zeros between its samples lengthen the input. padding: on both sides, where it is not
        that of an odd kernel.
    """
    sides = [(size - 1) // 2 * dilation if padding is None else padding for size in kernel]
    return nn.Conv(
        features,
        kernel,
        strides=stride,
        padding=[(side, side) for side in sides],
        input_dilation=spread,
        kernel_dilation=dilation,
        kernel_init=nn.with_logical_partitioning(lecun, (*(None for _ in kernel), "conv_in", "embed_out")),
        bias_init=nn.with_logical_partitioning(zeros, ("embed_out",)),
        dtype=dtype,
        name=name,
    )


def layer_norm(dtype: DTypeLike, *, affine: bool = True, name: str | None = None) -> nn.LayerNorm:
    """LayerNorm with statistics in fp32."""
    return nn.LayerNorm(
        epsilon=1e-6,
        dtype=dtype,
        use_scale=affine,
        use_bias=affine,
        name=name,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",)),
    )


def constrain(x: Float[Array, "..."], *axes: str | None) -> Float[Array, "..."]:
    """Sharding constraint by logical axis names; nothing on a mesh of one."""
    return nn.with_logical_constraint(x, axes)


class DepthwiseConv(nn.Module):
    """Depthwise convolution over time, `same` zero padding.

    Written as a sum of shifted products: one fused loop on every backend, where a grouped convolution is a
    slow path on CPUs.
    """

    kernel: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        init = nn.with_logical_partitioning(nn.initializers.variance_scaling(1.0, "fan_in", "normal"), (None, "embed"))
        weight = self.param("kernel", init, (self.kernel, x.shape[-1])).astype(self.dtype)
        left = (self.kernel - 1) // 2
        size = x.shape[1]
        x = jnp.pad(x, ((0, 0), (left, self.kernel - 1 - left), (0, 0)))
        out = jnp.zeros_like(x[:, :size])
        for offset in range(self.kernel):
            out = out + x[:, offset : offset + size] * weight[offset][None, None, :]
        return out


class Subsample(nn.Module):
    """Halves the time rate with a kernel-3 stride-2 convolution, written as one matrix product, then GELU.

    Output frame t sees input frames 2t-1, 2t, 2t+1. `x` must be zero where `mask` is False and have even length.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B M F"], mask: Bool[Array, "B M"]) -> Float[Array, "B M2 D"]:
        if x.shape[1] % 2:
            raise ValueError(f"cannot halve {x.shape[1]} frames: pad audio to a whole number of tokens")
        even, odd = x[:, 0::2], x[:, 1::2]
        before = jnp.pad(odd, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        window = jnp.concatenate([before, even, odd], axis=-1)
        out = dense(self.features, ("conv_in", "embed"), dtype=self.dtype, name="conv")(window)
        return jax.nn.gelu(out) * mask[:, 0::2, None].astype(self.dtype)


def masked_mean(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """Mean over valid frames, fp32; zeros for a row without any."""
    weight = mask.astype(jnp.float32)[..., None]
    return jnp.sum(x.astype(jnp.float32) * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1.0)


# What a layer keeps for its backward pass beside its input; the rest is computed again.
REMAT: dict[str, Callable[..., bool] | None] = {
    "none": None,  # everything
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names("attention"),  # kernels.KEPT
    # by name: products inside a custom gradient are hidden from the policies that look for them
    "linear": jax.checkpoint_policies.save_only_these_names("attention", "linear"),
}


def stack(block: type[nn.Module], config: Any, broadcast: int = 1, carry_cache: bool = False) -> type[nn.Module]:
    """`nn.scan` of a block over its layers, rematerialised as the config says.

    Args:
      block: a module `(carry, [cache,] *broadcast) -> (carry, out)`.
      config: has `layers`, `remat` and `unroll`.
      broadcast: number of arguments every layer gets as they are.
      carry_cache: the first argument after the carry is per layer (a leading axis of `layers`).

    Raises:
      ValueError: a policy that REMAT lacks.
    """
    if config.remat not in REMAT:
        raise ValueError(f"remat {config.remat!r} is not one of {', '.join(REMAT)}")
    if config.remat != "none":
        block = nn.remat(block, prevent_cse=False, policy=REMAT[config.remat])
    return nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=((0,) if carry_cache else ()) + (nn.broadcast,) * broadcast,
        length=config.layers,
        unroll=min(config.unroll, config.layers),
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
