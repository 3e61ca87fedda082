"""Reward model: the second half of the recogniser's Conformer, reading `q`, with a head per thing to recognise."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from e2etts_jax.models import layers
from e2etts_jax.models.conformer import Conformer, ConformerConfig


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Size and heads.

    Attributes:
      ctc_upsample: CTC frames per token; fast speech has more characters than a 21.5 Hz token stream has frames.
      speaker: dims of the x-vector that the speaker head predicts (0 = no head).
      tasks: ((name, classes), ...), one cross-entropy head each, for labels the corpus carries.
    """

    layers: int = 3
    width: int = 192
    heads: int = 3
    ff: int = 768
    kernel: int = 15
    ctc_upsample: int = 2
    speaker: int = 256
    tasks: tuple[tuple[str, int], ...] = ()
    attention: str = "xla"
    remat: str = "none"
    unroll: int = 1

    @property
    def conformer(self) -> ConformerConfig:
        return ConformerConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(ConformerConfig)})


class RewardModel(nn.Module):
    """Heads by name: `asr` [B, T*ctc_upsample, V], `spk` [B, E], and each task [B, classes]; all fp32."""

    config: RewardConfig
    text_vocab: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, q: Float[Array, "B T Dq"], mask: Bool[Array, "B T"]) -> dict[str, Float[Array, "B ..."]]:
        c = self.config
        x = layers.dense(c.width, ("q", "embed"), dtype=self.dtype, name="input")(q)
        x = x * mask[..., None].astype(self.dtype)
        x = Conformer(c.conformer, self.dtype, name="encoder")(x, mask)
        frames = layers.dense(c.ctc_upsample * self.text_vocab, ("embed", "vocab"), dtype=self.dtype, name="asr")(x)
        batch, size = mask.shape
        heads = {"asr": frames.reshape(batch, size * c.ctc_upsample, self.text_vocab).astype(jnp.float32)}
        pooled = layers.masked_mean(x, mask)
        if c.speaker:
            heads["spk"] = layers.dense(c.speaker, ("embed", "speaker"), dtype=jnp.float32, name="spk")(pooled)
        for name, classes in c.tasks:
            head = layers.dense(classes, ("embed", "classes"), dtype=jnp.float32, name=f"task_{name}")
            heads[name] = head(pooled)
        return heads
