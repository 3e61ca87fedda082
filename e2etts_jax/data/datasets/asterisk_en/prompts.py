"""Access to the embedded recordings: 551 prompts of one voice, Ogg Opus in one archive."""

import functools
import json
import zipfile
from importlib import resources

import numpy as np

from e2etts_jax.data import audio

SAMPLE_RATE = 16_000
SPEAKER = "allison"
SPEAKER_DIM = 256
_HERE = resources.files("e2etts_jax.data.datasets.asterisk_en")


@functools.cache
def metadata() -> dict[str, dict]:
    """By key: `text` (the words, lower case), `transcript` (as published), `seconds`."""
    lines = _HERE.joinpath("metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry.pop("key"): entry for entry in map(json.loads, lines)}


@functools.cache
def _archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(_HERE.joinpath("prompts.zip").open("rb"))


def read(key: str) -> np.ndarray:
    """f32[W] at 16 kHz of one prompt.

    Raises:
      KeyError: there is no prompt of that key.
    """
    if key not in metadata():
        raise KeyError(f"no embedded prompt {key!r}; keys are those of metadata.jsonl")
    wav, rate = audio.decode(_archive().read(f"{key}.opus"))
    assert rate == SAMPLE_RATE, (key, rate)
    return wav


@functools.cache
def speaker_vector() -> np.ndarray:
    """f32[256], unit norm: the voice of the prompts."""
    with _HERE.joinpath("speaker.npy").open("rb") as file:
        return np.load(file).astype(np.float32)
