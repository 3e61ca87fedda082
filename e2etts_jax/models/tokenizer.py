"""Speech tokenizer: log-mel -> two stride-2 convolutions -> Conformer -> 8 numbers -> FSQ -> `q`."""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import fsq, layers
from e2etts_jax.models.conformer import Conformer, ConformerConfig


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The encoder half of the recogniser's Conformer, and the quantiser inside it.

    Attributes:
      halvings: stride-2 convolutions; mel frames per token = 2^halvings.
      dims, levels: FSQ; vocabulary = levels^dims.
      q_width: width of the shared representation `q`.
      standardize: give every dimension zero mean and unit variance over the clip before it is quantised.
    """

    layers: int = 4
    width: int = 192
    heads: int = 3
    ff: int = 768
    kernel: int = 15
    halvings: int = 2
    dims: int = 8
    levels: int = 3
    q_width: int = 64
    standardize: bool = True
    attention: str = "xla"
    remat: str = "none"
    unroll: int = 1

    @property
    def vocab(self) -> int:
        return self.levels**self.dims

    @property
    def conformer(self) -> ConformerConfig:
        return ConformerConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(ConformerConfig)})


@flax.struct.dataclass
class Tokens:
    """What the tokenizer made of a clip.

    Attributes:
      q: the shared representation, differentiable into the tokenizer.
      codes: the FSQ codes behind it, same gradient.
      ids: token ids.
    """

    q: Float[Array, "B T Dq"]
    codes: Float[Array, "B T Q"]
    ids: Int[Array, "B T"]


def standardize(z: Float[Array, "B T Q"], mask: Bool[Array, "B T"]) -> Float[Array, "B T Q"]:
    """Zero mean and unit variance of every dimension over the valid frames of a clip.

    Early losses (CTC's blanks, one speaker) push all frames the same way; without this they drive every code into the
    same saturated corner of the tanh, where its gradient is nearly zero.
    """
    mean = layers.masked_mean(z, mask)[:, None]
    variance = layers.masked_mean(jnp.square(z - mean), mask)[:, None]
    return (z - mean) * jax.lax.rsqrt(variance + 0.01)


class Tokenizer(nn.Module):
    """Log-mel to tokens. `up` is linear, so that a mixture of codes maps to the mixture of their `q`."""

    config: TokenizerConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.subsample = [layers.Subsample(c.width, self.dtype) for _ in range(c.halvings)]
        self.encoder = Conformer(c.conformer, self.dtype)
        # standardisation takes any bias away again: its gradient would be rounding noise, which Adam makes into steps
        self.down = layers.dense(c.dims, ("embed", "code"), dtype=jnp.float32, bias=not c.standardize)
        # without a bias the code of eight zeros is q = 0, where the norms of all that read q have gradients of 1000
        off_zero = nn.initializers.normal(0.5)
        self.up = layers.dense(c.q_width, ("code", "q"), dtype=jnp.float32, bias_init=off_zero)

    def __call__(self, mel: Float[Array, "B M F"], mel_mask: Bool[Array, "B M"], *, quantize: bool = True) -> Tokens:
        """Encodes; with `quantize=False` (warm-up) `q` is made from the bounded code before rounding."""
        x = mel.astype(self.dtype) * mel_mask[..., None].astype(self.dtype)
        mask = mel_mask
        for half in self.subsample:
            x, mask = half(x, mask), mask[:, 0::2]
        z = self.down(self.encoder(x, mask))
        if self.config.standardize:
            z = standardize(z, mask)
        make = fsq.quantize if quantize else fsq.bound
        codes = make(z, self.config.levels) * mask[..., None].astype(jnp.float32)
        return Tokens(self.up(codes) * mask[..., None].astype(jnp.float32), codes, fsq.ids(codes, self.config.levels))

    def codebook(self) -> Float[Array, "V Dq"]:
        """`q` of every code, in id order."""
        return self.up(jnp.asarray(fsq.grid(self.config.dims, self.config.levels)))
