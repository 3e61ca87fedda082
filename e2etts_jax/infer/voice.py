"""A trained run as one small file that speaks: config, the four models and a vocoder in int8, and what it can say.

A zip of `config.json`, `weights.safetensors` and, where there is one, `CARD.md`. A matrix is stored as int8 with an
fp32 scale for each column, the rest as fp32; the zip's compression takes another fifth.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from e2etts_jax.bucket import write
from e2etts_jax.features import MelConfig
from e2etts_jax.models.vocoder import VocoderConfig, check
from e2etts_jax.types import Params, config_of

CONFIG, WEIGHTS, CARD = "config.json", "weights.safetensors", "CARD.md"
INCLUDED = "included"  # value of infer.vocoder: the file's own
SMALL = 4096  # numbers up to which an array is kept as it is
SCALE = ":scale"
DAMAGED = (zipfile.BadZipFile, zlib.error, SafetensorError, KeyError, ValueError, TypeError, AttributeError)


@dataclasses.dataclass(frozen=True, eq=False)
class Voice:
    """What the file holds.

    Attributes:
      config: the run's, as config.json has it.
      stage: that the parameters come from.
      params: the four groups. speaker: vector of the voice.
      vocoder: shape, mel and parameters.
      words: that it has learnt, empty if it should be able to say any.
      card: what it can and can't say, for people.
    """

    config: dict[str, Any]
    stage: str
    params: Params
    speaker: Float[np.ndarray, " E"]
    vocoder: tuple[VocoderConfig, MelConfig, Any]
    words: frozenset[str] = frozenset()
    card: str = ""


def save(path: str | Path, voice: Voice) -> None:
    """Writes the file whole or not at all."""
    shape, mel, generator = voice.vocoder
    about = {
        "config": {**voice.config, "infer": {**voice.config["infer"], "vocoder": INCLUDED}},
        "stage": voice.stage,
        "vocoder": dataclasses.asdict(shape),
        "mel": dataclasses.asdict(mel),
        "words": sorted(voice.words),
    }
    tree = {**voice.params, "vocoder": generator, "speaker": np.asarray(voice.speaker, np.float32)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr(CONFIG, json.dumps(about, indent=1))
        file.writestr(WEIGHTS, serialize(quantized(traverse_util.flatten_dict(tree, sep="/"))))
        if voice.card:
            file.writestr(CARD, voice.card)
    place = epath.Path(path).expanduser()
    place.parent.mkdir(parents=True, exist_ok=True)
    write(place, made.getvalue())


def load(path: str | Path) -> Voice:
    """What `save` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is none, or a damaged one.
    """
    place = epath.Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"no voice {path}: give a file of e2etts_jax.export_voice")
    try:
        with zipfile.ZipFile(io.BytesIO(place.read_bytes())) as file:
            about = json.loads(file.read(CONFIG))
            tree = traverse_util.unflatten_dict(dequantized(parse(file.read(WEIGHTS))), sep="/")
            card = file.read(CARD).decode() if CARD in file.namelist() else ""
        shape, mel = config_of(VocoderConfig, about["vocoder"]), config_of(MelConfig, about["mel"])
        generator, speaker = tree.pop("vocoder"), tree.pop("speaker")
        check(shape, mel.n_mels, generator)
        return Voice(
            about["config"], about["stage"], tree, speaker, (shape, mel, generator), frozenset(about["words"]), card
        )
    except DAMAGED as error:
        raise ValueError(f"{path} is no voice that e2etts_jax.export_voice wrote: {error}") from None


def packaged() -> Path:
    """The voice that comes with the package.

    Raises:
      FileNotFoundError: this installation has none.
    """
    path = Path(__file__).resolve().parent.parent / "voices" / "numbers.zip"
    if not path.is_file():
        raise FileNotFoundError("this installation has no voice of its own: give the --workdir of a training run")
    return path


def quantized(flat: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name: matrices and kernels as int8, with a scale for each column of each layer."""
    made: dict[str, np.ndarray] = {}
    for name, value in flat.items():
        array = np.ascontiguousarray(value, np.float32)
        stacked = "/blocks/" in name  # layers on the first axis
        if array.ndim - stacked < 2 or array.size <= SMALL:
            made[name] = array
            continue
        summed = tuple(range(stacked, array.ndim - 1))
        scale = np.maximum(np.abs(array).max(axis=summed, keepdims=True), 1e-12) / 127
        made[name], made[name + SCALE] = np.round(array / scale).astype(np.int8), scale
    return made


def dequantized(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of `quantized` in fp32."""
    return {
        name: value * flat[name + SCALE] if value.dtype == np.int8 else value
        for name, value in flat.items()
        if not name.endswith(SCALE)
    }
