"""Critics of waveforms, which a vocoder has to persuade: of its periods, and of its spectra at several resolutions.

The multi-period discriminator is HiFi-GAN's (arXiv 2010.05646), the multi-resolution one UnivNet's (arXiv 2106.07889);
BigVGAN (arXiv 2206.04658) trains with the same two.
"""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from e2etts_jax.features import MelConfig, magnitudes
from e2etts_jax.models.layers import convolution

Judgement = list[Float[Array, "B ..."]]  # activations of a critic's layers, the last of which are its scores


@dataclasses.dataclass(frozen=True)
class CriticsConfig:
    """The critics; the defaults are the papers'.

    Attributes:
      periods: samples between those that a critic sees side by side; primes, so that they overlap least.
      period_width: channels of such a critic's first layer; they grow to 32 times as many.
      resolutions: (n_fft, hop, win) samples of the spectra that the other critics see.
      resolution_width: channels of all their layers.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_width: int = 32
    resolutions: tuple[tuple[int, int, int], ...] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
    resolution_width: int = 32


class PeriodCritic(nn.Module):
    """Judges a waveform folded into columns of every `period`-th sample, each column by itself."""

    period: int
    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, wav: Float[Array, "B W"]) -> Judgement:
        """Scores [B, about W / (81 period), period, 1]."""
        whole = jnp.pad(wav, ((0, 0), (0, -wav.shape[1] % self.period)), mode="reflect")
        x, made = whole.reshape(len(wav), -1, self.period, 1), []
        for i, (factor, stride) in enumerate(((1, 3), (4, 3), (16, 3), (32, 3), (32, 1))):
            conv = convolution(factor * self.width, (5, 1), stride=(stride, 1), dtype=self.dtype, name=f"conv_{i}")
            x = nn.leaky_relu(conv(x), 0.1)
            made.append(x)
        return [*made, convolution(1, (3, 1), dtype=self.dtype, name="last")(x)]


class ResolutionCritic(nn.Module):
    """Judges the magnitudes of a short-time spectrum, as a picture."""

    resolution: tuple[int, int, int]
    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, wav: Float[Array, "B W"]) -> Judgement:
        """Scores [B, about W / (8 hop), n_fft / 2 + 1, 1]."""
        n_fft, hop, win = self.resolution
        spectrum = MelConfig(n_fft=n_fft, hop=hop, win=win)  # of which only this counts here
        x, made = magnitudes(jnp.pad(wav, ((0, 0), (0, -wav.shape[1] % hop))), spectrum, every=True)[..., None], []
        for i, (kernel, stride) in enumerate(((9, 1), (9, 2), (9, 2), (9, 2), (3, 1))):
            conv = convolution(self.width, (kernel, 3), stride=(stride, 1), dtype=self.dtype, name=f"conv_{i}")
            x = nn.leaky_relu(conv(x), 0.2)
            made.append(x)
        return [*made, convolution(1, (3, 3), dtype=self.dtype, name="last")(x)]


class Critics(nn.Module):
    """All critics of a waveform in [-1, 1]."""

    config: CriticsConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, wav: Float[Array, "B W"]) -> list[Judgement]:
        c = self.config
        periods = [PeriodCritic(p, c.period_width, self.dtype, name=f"period_{p}")(wav) for p in c.periods]
        return periods + [
            ResolutionCritic(size, c.resolution_width, self.dtype, name=f"resolution_{size[0]}")(wav)
            for size in c.resolutions
        ]
