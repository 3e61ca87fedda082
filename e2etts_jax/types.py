"""Shapes, names and the three records that travel through the system.

Legend, used in every public signature:

    B batch   S text tokens   R text tokens of the RM   T speech tokens   M mel frames (a whole number per token)
    F mel bins   W samples   D width   H heads   K head dim   V vocabulary   Q FSQ dims   E speaker-vector dims

Masks are boolean, True = valid, named `*_mask`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int16

GROUPS = ("tokenizer", "llm", "fm", "rm")
Params = Mapping[str, Any]
Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class Batch:
    """One padded batch, the same names as the numpy dict that `data.pipeline` yields.

    A row with `wav_len == 0` is filler: it counts in no loss. `row` is the global row index in the batch;
    it seeds the row's own randomness, so noise does not depend on how the batch is split over
    microbatches or devices. `prompt_len` samples at the start, whole tokens, are another clip of the same voice, the
    prompt of a zero-shot pair (0 = none). `wav` is int16 on its way to the device, or float in [-1, 1]. `text` is what
    the LLM reads, `rm_text` what the RM is to write, None where that is the same.
    """

    wav: Int16[Array, "B W"] | Float[Array, "B W"]
    wav_len: Int[Array, " B"]
    prompt_len: Int[Array, " B"]
    text: Int[Array, "B S"]
    text_len: Int[Array, " B"]
    speaker: Float[Array, "B E"]
    speaker_mask: Bool[Array, " B"]
    labels: dict[str, Int[Array, " B"]]
    row: Int[Array, " B"]
    rm_text: Int[Array, "B R"] | None = None
    rm_text_len: Int[Array, " B"] | None = None

    def token_len(self, samples_per_token: int) -> Int[Array, " B"]:
        """Number of speech tokens each clip fills; the last one may be partly silence."""
        return -(-self.wav_len // samples_per_token)

    @property
    def written(self) -> tuple[Int[Array, "B R"], Int[Array, " B"]]:
        """Text ids that the RM is to write, and how many."""
        if self.rm_text is None or self.rm_text_len is None:
            return self.text, self.text_len
        return self.rm_text, self.rm_text_len


@flax.struct.dataclass
class Sum:
    """A loss term as numerator and denominator, both summed over the batch, so that parts of a batch add up."""

    num: Float[Array, ""]
    den: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, ""]:
        return self.num / jnp.maximum(self.den, 1.0)


class Outputs(dict):
    """What `forward.forward` made, by name. Asking for something nobody made names what is there."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"no model output {name!r} was made under this plan; there is: {sorted(self)}")


def length_mask(lengths: Int[Array, " B"], size: int) -> Bool[Array, "B size"]:
    """True where the position is below the row's length."""
    return jnp.arange(size)[None, :] < lengths[:, None]


def config_of(cls: type, values: Mapping[str, Any]) -> Any:
    """Builds the config dataclass `cls` from a mapping.

    Raises:
      ValueError: a key that `cls` lacks, with the keys it has.
    """
    names = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
