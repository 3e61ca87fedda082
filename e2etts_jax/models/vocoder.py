"""HiFi-GAN's generator: log-mel to waveform (Kong et al. 2020, arXiv 2010.05646; V1 and V2)."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from e2etts_jax.models.layers import convolution

SLOPE = 0.1  # of the leaky ReLUs, but for the last one, which has 0.01


@dataclasses.dataclass(frozen=True)
class VocoderConfig:
    """The generator's shape; the defaults are V1's.

    Attributes:
      width: channels before the first upsampling; every upsampling halves them.
      rates: factors of the upsamplings, whose product is the mel's hop.
      kernels: of the transposed convolutions, at least as long as their factors.
      res_kernels, dilations: of the residual blocks whose mean follows each upsampling.
    """

    width: int = 512
    rates: tuple[int, ...] = (8, 8, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 4, 4)
    res_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.kernels) or any(
            k < u or (k - u) % 2 for u, k in zip(self.rates, self.kernels, strict=False)
        ):
            raise ValueError(
                f"kernels {self.kernels} must be as long as rates {self.rates}, or longer by an even number"
            )
        if self.width % 2 ** len(self.rates):
            raise ValueError(f"width {self.width} can't be halved {len(self.rates)} times")

    @property
    def hop(self) -> int:
        return math.prod(self.rates)

    @property
    def reach(self) -> int:
        """Mel frames on each side that a sample depends on."""
        first, last = -3, self.hop - 1 + 3  # what the last convolution reads for the samples of frame 0
        block = (max(self.res_kernels) - 1) // 2 * sum(dilation + 1 for dilation in self.dilations)
        for rate, kernel in zip(reversed(self.rates), reversed(self.kernels), strict=True):
            first, last = first - block, last + block
            side = (kernel - rate) // 2
            first, last = -((kernel - 1 - side - first) // rate), (last + side) // rate
        return max(-(first - 3), last + 3)


class ResBlock(nn.Module):
    """Pairs of convolutions, the first of each dilated, around which the input runs."""

    kernel: int
    dilations: tuple[int, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N C"]:
        conv = functools.partial(convolution, x.shape[-1], (self.kernel,), dtype=self.dtype)
        for i, dilation in enumerate(self.dilations):
            part = conv(dilation=dilation, name=f"dilated_{i}")(nn.leaky_relu(x, SLOPE))
            x = x + conv(name=f"plain_{i}")(nn.leaky_relu(part, SLOPE))
        return x


def check(config: VocoderConfig, n_mels: int, params: Any) -> None:
    """Raises ValueError, naming the first difference, where `params` are not those of a generator of this shape."""
    mel = jax.ShapeDtypeStruct((1, 1, n_mels), jnp.float32)
    make = lambda key, mel: nn.unbox(Vocoder(config).init(key, mel)["params"])  # noqa: E731
    fresh = jax.eval_shape(make, jax.random.key(0), mel)
    wanted, found = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (fresh, params))
    )
    for name in sorted(wanted | found):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name} has shape {found.get(name)}, a generator of this shape has {wanted.get(name)}")


class Vocoder(nn.Module):
    """The generator. Frame m of the mel is samples `m * hop .. (m + 1) * hop` of the result."""

    config: VocoderConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, log_mel: Float[Array, "B M F"]) -> Float[Array, "B W"]:
        """Waveforms in [-1, 1], W = M * hop, of natural-logarithm mels as `features.log_mel` makes them."""
        c = self.config
        x = convolution(c.width, (7,), dtype=self.dtype, name="first")(log_mel)
        for i, (rate, kernel) in enumerate(zip(c.rates, c.kernels, strict=True)):
            side = kernel - 1 - (kernel - rate) // 2
            x = convolution(  # a transposed convolution, written as the convolution that it is
                c.width // 2 ** (i + 1),
                (kernel,),
                spread=rate,
                padding=side,
                dtype=self.dtype,
                name=f"up_{i}",
            )(nn.leaky_relu(x, SLOPE))
            blocks = [
                ResBlock(size, c.dilations, self.dtype, name=f"block_{i}_{j}")(x)
                for j, size in enumerate(c.res_kernels)
            ]
            x = sum(blocks[1:], blocks[0]) / len(blocks)
        x = convolution(1, (7,), dtype=jnp.float32, name="last")(nn.leaky_relu(x, 0.01))  # sound has more than 8 bits
        return jnp.tanh(x[..., 0])
