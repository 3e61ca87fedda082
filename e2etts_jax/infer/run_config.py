"""The configuration of a trained run: read, completed where an older version wrote it, its decoding changed."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float
from ml_collections import ConfigDict

from e2etts_jax.data.datasets.asterisk_en import prompts

ONE_VOICE = ("asterisk_en", "numbers")  # data sets of the embedded recordings, which are of one speaker
SAMPLING = ("temperature", "top_p", "top_k", "repetition", "min_ratio", "max_ratio")
DECODING = (*SAMPLING, "candidates", "max_tokens", "ode_steps", "guidance")  # fields of config.infer
OLDER = (  # what configs lacked
    ("infer", "vocoder", "auto"),
    ("infer", "speaker_model", "voicefilter"),
    ("infer", "chunk", 24),
    ("data", "max_rm_text", 0),
)

logger = logging.getLogger(__name__)


def as_config(config: Any) -> ConfigDict:
    """A ConfigDict of a nested mapping; lists, which JSON has in place of tuples, become tuples."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: tuples(inner) for name, inner in value.items()}
        return tuple(tuples(inner) for inner in value) if isinstance(value, list | tuple) else value

    return config if isinstance(config, ConfigDict) else ConfigDict(tuples(config))


def read(path: epath.Path) -> ConfigDict:
    """The config of a run.

    Raises:
      ValueError: it is not readable, or lacks what this version needs.
    """
    try:
        config = as_config(json.loads(path.read_text()))
        if not isinstance(config, ConfigDict):
            raise ValueError("it holds no keys")
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not readable ({error}): restore it, or train again in another workdir") from None
    return completed(config, path)


def completed(config: ConfigDict, path: epath.Path) -> ConfigDict:
    """A config with the defaults of what older ones lack. Raises ValueError where there are none."""
    parts = ("run", "stages", "audio", "mel", "model", "text", "data", "infer")
    missing = [name for name in parts if name not in config]
    for part, field, value in OLDER:
        if part in config and field not in config[part]:
            config[part][field] = value
    missing += [f"infer.{name}" for name in DECODING if "infer" in config and name not in config.infer]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it was made by another version; use that one, or train again"
        )
    return config


def set_decoding(infer: ConfigDict, pairs: Sequence[str]) -> None:
    """Applies `key=value` pairs to `config.infer`; a value has the type of what it replaces."""
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found or key not in infer:
            raise ValueError(f"--infer={pair} is not key=value; the keys are {', '.join(infer)}")
        try:
            infer[key] = type(infer[key])(value)
        except ValueError:
            raise ValueError(f"--infer={pair}: {key} wants a number such as {infer[key]}") from None
    for key in ("candidates", "max_tokens", "ode_steps", "chunk"):
        if infer[key] < 1:
            raise ValueError(f"infer.{key}={infer[key]}: at least 1 is needed")


def own_voice(config: ConfigDict) -> Float[np.ndarray, " E"]:
    """The x-vector of a data set of one voice, else zeros: no speaker."""
    if config.data.dataset in ONE_VOICE:
        return prompts.speaker_vector()
    logger.warning("data set %r has no voice of its own: speaking without a speaker vector", config.data.dataset)
    return np.zeros(config.model.fm.speaker, np.float32)
