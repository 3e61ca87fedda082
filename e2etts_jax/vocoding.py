"""The second system that the loop trains: a vocoder and the critics it has to persuade (HiFi-GAN, arXiv 2010.05646).

Both move in one step. Which term moves whom is a matter of where gradients stop: `critic` sees what the vocoder made
as data, the other terms see the critics' parameters as constants. The forward pass of the vocoder is shared by all
terms, those of the critics on recorded and on generated sound by those that look at the same sound.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from e2etts_jax.features import MelConfig, log_mel, waveform
from e2etts_jax.losses import Term
from e2etts_jax.models.critics import Critics, CriticsConfig, Judgement
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig
from e2etts_jax.rng import Streams
from e2etts_jax.system import compute_dtype
from e2etts_jax.types import Batch, Metrics, Outputs, Params, Sum, config_of


@dataclasses.dataclass(frozen=True)
class VocoderPlan:
    """What of a clip a step trains on.

    Attributes:
      segment: mel frames of the window that is drawn from each clip. A shorter clip is followed by silence.
    """

    segment: int = 32

    def __post_init__(self) -> None:
        if self.segment < 1:
            raise ValueError(f"plan.segment is a number of mel frames, got {self.segment}")

    def for_validation(self) -> "VocoderPlan":
        return self


@flax.struct.dataclass
class Segment:
    """A window of each clip: its log-mel and its samples, which begin on a frame."""

    mel: Float[Array, "B M F"]
    wav: Float[Array, "B W"]


@flax.struct.dataclass
class Pair:
    """The same thing made of the recorded and of the generated sound."""

    real: Any
    made: Any


def draw_segment(batch: Batch, streams: Streams, mel: MelConfig, frames: int) -> Segment:
    """A random window of `frames` frames in each clip, from its first frame where the clip is shorter.

    The mel is a part of the whole clip's: its outer frames see the sound beyond the window, as in use.
    """
    hop, beyond = mel.hop, -(-mel.pad // mel.hop)
    room = jnp.maximum(batch.wav_len // hop - frames, 0)
    unit = streams.draw("segment", (), jax.random.uniform)
    start = jnp.minimum((unit * (room + 1)).astype(jnp.int32), room)
    around = jnp.pad(waveform(batch.wav), ((0, 0), (beyond * hop, beyond * hop)))
    take = lambda row, at: jax.lax.dynamic_slice_in_dim(row, at * hop, (frames + 2 * beyond) * hop)  # noqa: E731
    wav = jax.vmap(take)(around, start)
    seen = log_mel(wav, mel)[:, beyond : beyond + frames]
    return Segment(seen, wav[:, beyond * hop : (beyond + frames) * hop])


class Wiring:
    """One forward pass; what several outputs need is made once."""

    def __init__(self, system: "VocoderSystem", params: Params, batch: Batch, streams: Streams, plan: VocoderPlan):
        self.system, self.params, self.batch, self.streams, self.plan = system, params, batch, streams, plan

    @functools.cached_property
    def sound(self) -> Pair:
        """Samples [B, W]."""
        mel = self.system.mel
        frames = min(self.plan.segment, self.batch.wav.shape[1] // mel.hop)
        segment = draw_segment(self.batch, self.streams, mel, frames)
        return Pair(segment.wav, self.system.vocoder.apply({"params": self.params["vocoder"]}, segment.mel))

    @functools.cached_property
    def mels(self) -> Pair:
        """Log-mels [B, M, F] of the segments, of which all up to the Nyquist frequency counts (HiFi-GAN)."""
        whole = dataclasses.replace(self.system.mel, fmax=self.system.mel.sample_rate / 2)
        return Pair(log_mel(self.sound.real, whole), log_mel(self.sound.made, whole))

    def judge(self, params: Any, wav: Float[Array, "B W"]) -> list[Judgement]:
        return self.system.critics.apply({"params": params}, wav)

    @functools.cached_property
    def verdicts(self) -> Pair:
        """Judgements from which the critics learn; the vocoder does not hear of them."""
        critics, made = self.params["critics"], jax.lax.stop_gradient(self.sound.made)
        return Pair(self.judge(critics, self.sound.real), self.judge(critics, made))

    @functools.cached_property
    def impressions(self) -> Pair:
        """The same judgements, from which the vocoder learns, and the critics do not."""
        critics = jax.lax.stop_gradient(self.params["critics"])
        return Pair(jax.lax.stop_gradient(self.verdicts.real), self.judge(critics, self.sound.made))


@dataclasses.dataclass(frozen=True)
class VocoderSystem:
    """The modules and the mel that they turn into sound. Holds no parameters; hashable.

    Attributes:
      samples_per_token: a batch is a whole number of these wide; the vocoder itself knows no tokens.
    """

    groups: ClassVar[tuple[str, ...]] = ("vocoder", "critics")
    plan_type: ClassVar[type] = VocoderPlan

    vocoder: Vocoder
    critics: Critics
    mel: MelConfig
    samples_per_token: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "VocoderSystem":
        """Builds the modules of a config (see configs/vocoder.py).

        Raises:
          ValueError: fields that contradict each other, named.
        """
        rate, per_token = config["audio"]["sample_rate"], config["audio"]["samples_per_token"]
        mel = config_of(MelConfig, {"sample_rate": rate, **config["mel"]})
        shape = config_of(VocoderConfig, config["model"]["vocoder"])
        critics = config_of(CriticsConfig, config["model"]["critics"])
        if shape.hop != mel.hop:
            raise ValueError(
                f"model.vocoder.rates {shape.rates} make {shape.hop} samples of a mel frame, but mel.hop is {mel.hop}"
            )
        if mel.scale != "ln":
            raise ValueError(f"mel.scale is {mel.scale!r}, but a vocoder reads mels of scale 'ln'")
        if per_token % mel.hop:
            raise ValueError(f"audio.samples_per_token {per_token} is not a multiple of mel.hop {mel.hop}")
        dtype = compute_dtype(config["dtype"])
        return cls(Vocoder(shape, dtype), Critics(critics, dtype), mel, per_token)

    @property
    def dtype(self) -> Any:
        return self.vocoder.dtype

    def terms(self) -> dict[str, Term]:
        return TERMS

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters of both groups, boxed with their logical axis names.

        Kernels are normal with a variance of 1 / inputs, as the modules have them, but cut from one draw: a hundred
        draws keep the compiler of a CPU busy for two minutes.
        """
        given = {"vocoder": jnp.zeros((1, 1, self.mel.n_mels)), "critics": jnp.zeros((1, self.mel.hop))}
        shapes = {g: jax.eval_shape(getattr(self, g).init, key, x)["params"] for g, x in given.items()}
        leaves, tree = jax.tree.flatten(shapes)
        ends = np.cumsum([x.size for x in leaves])
        noise = jax.random.normal(key, (int(ends[-1]),))

        def cut(end: int, like: jax.ShapeDtypeStruct) -> jax.Array:
            inputs = like.size // like.shape[-1]
            whole = noise[end - like.size : end].reshape(like.shape)
            return whole / np.float32(np.sqrt(inputs)) if like.ndim > 1 else jnp.zeros_like(whole)

        return jax.tree.unflatten(tree, [cut(int(end), x) for end, x in zip(ends, leaves, strict=True)])

    @functools.cache  # noqa: B019, a system is small and lives as long as the program
    def abstract(self) -> Params:
        """Shapes and dtypes of `init`, boxed, without computing anything."""
        return jax.eval_shape(self.init, jax.eval_shape(lambda: jax.random.key(0)))

    def unboxed(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters as plain arrays."""
        return nn.unbox(self.init(key))

    def forward(
        self,
        params: Params,
        batch: Batch,
        streams: Streams,
        plan: VocoderPlan,
        needs: tuple[str, ...],
        step: Int[Array, ""] | int = 0,
        total: int = 1,
    ) -> Outputs:
        """Runs what `needs` asks for: names out of `mels verdicts impressions`, each a `Pair`."""
        wiring = Wiring(self, params, batch, streams, plan)
        return Outputs({name: getattr(wiring, name) for name in needs})

    def counts(self, out: Outputs) -> Metrics:
        return {}

    def describe(self, counts: Metrics) -> Metrics:
        return {}


# --- terms ------------------------------------------------------------------------------------------------------------


def _rows(value: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Mean of each row, fp32."""
    return jnp.mean(value.astype(jnp.float32), axis=tuple(range(1, value.ndim)))


def _sum(rows: list[Float[Array, " B"]], batch: Batch) -> Sum:
    """The rows' sum over critics or layers; rows without a clip count in neither."""
    mask = batch.wav_len > 0
    return Sum(jnp.sum(jnp.where(mask, sum(rows[1:], rows[0]), 0.0)), jnp.sum(mask.astype(jnp.float32)))


def mel(out: Outputs, batch: Batch) -> Sum:
    """L1 between the log-mels of generated and recorded sound, natural logarithm (HiFi-GAN's weight: 45)."""
    return _sum([_rows(jnp.abs(out["mels"].made - out["mels"].real))], batch)


def adversarial(out: Outputs, batch: Batch) -> Sum:
    """Squared distance of the critics' scores of generated sound from 1, summed over critics (least squares)."""
    return _sum([_rows(jnp.square(1.0 - judged[-1])) for judged in out["impressions"].made], batch)


def features(out: Outputs, batch: Batch) -> Sum:
    """L1 between the critics' activations on generated and recorded sound, summed over layers (weight: 2)."""
    pairs = zip(out["impressions"].real, out["impressions"].made, strict=True)
    layers = [_rows(jnp.abs(made - real)) for judged in pairs for real, made in zip(*judged, strict=True)]
    return _sum(layers, batch)


def critic(out: Outputs, batch: Batch) -> Sum:
    """Squared distance of the scores from 1 on recorded and from 0 on generated sound, summed over critics."""
    real = [_rows(jnp.square(1.0 - judged[-1])) for judged in out["verdicts"].real]
    return _sum(real + [_rows(jnp.square(judged[-1])) for judged in out["verdicts"].made], batch)


def _reach(group: str) -> Any:
    return lambda plan: frozenset({group})


TERMS = {
    "mel": Term(mel, ("mels",), _reach("vocoder")),
    "adversarial": Term(adversarial, ("impressions",), _reach("vocoder")),
    "features": Term(features, ("impressions",), _reach("vocoder")),
    "critic": Term(critic, ("verdicts",), _reach("critics")),
}
