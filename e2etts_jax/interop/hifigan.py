"""HiFi-GAN's generator as published: its config.json, its weights with their norms apart, into `models.vocoder`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.features import MelConfig
from e2etts_jax.interop import torch_file
from e2etts_jax.interop.folder import read_json
from e2etts_jax.models import vocoder
from e2etts_jax.models.vocoder import VocoderConfig

MEL = {  # our field -> their key
    "sample_rate": "sampling_rate",
    "n_fft": "n_fft",
    "win": "win_size",
    "hop": "hop_size",
    "n_mels": "num_mels",
    "fmin": "fmin",
    "fmax": "fmax",
}


def read(weights: str | Path, config: str | Path | None = None) -> tuple[VocoderConfig, MelConfig, dict[str, Any]]:
    """The generator of a checkpoint.

    Args:
      weights: the file, such as `generator_v1` or `g_02500000`.
      config: its config.json, by default the one beside it.

    Returns:
      shape, the mel that it reads (of scale 'ln'), parameters of a `Vocoder`.

    Raises:
      FileNotFoundError, ValueError: a file that is missing or another thing, or a generator that ours can't be.
    """
    weights = Path(weights).expanduser()
    file = Path(config).expanduser() if config else weights.parent / "config.json"
    their = read_json(file)
    tensors = torch_file.read(weights)
    try:
        if their["resblock"] != "1":
            raise ValueError(f"{file}: residual blocks {their['resblock']!r}, ours are '1' (HiFi-GAN V1 and V2)")
        dilations = {tuple(row) for row in their["resblock_dilation_sizes"]}
        if len(dilations) != 1:
            raise ValueError(f"{file}: dilations {sorted(dilations)} differ between residual blocks")
        shape = VocoderConfig(
            width=their["upsample_initial_channel"],
            rates=tuple(their["upsample_rates"]),
            kernels=tuple(their["upsample_kernel_sizes"]),
            res_kernels=tuple(their["resblock_kernel_sizes"]),
            dilations=dilations.pop(),
        )
        mel = MelConfig(**{ours: their[key] for ours, key in MEL.items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is not HiFi-GAN's config.json: {error}") from None
    if shape.hop != mel.hop:
        raise ValueError(f"{file}: upsample_rates make {shape.hop} samples a frame, hop_size is {mel.hop}")
    try:
        made = params(shape, tensors)
        vocoder.check(shape, mel.n_mels, made)
    except KeyError as error:
        raise ValueError(f"{weights} has no weight {error}: not the generator that {file} describes") from None
    except ValueError as error:
        raise ValueError(f"{weights} is not the generator that {file} describes: {error}") from None
    return shape, mel, made


def params(config: VocoderConfig, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of a `Vocoder` from the names of the published code, `generator.` in front or not."""
    names = {name.removeprefix("generator."): tensor for name, tensor in tensors.items()}

    def kernel(name: str) -> np.ndarray:
        """[C_out, C_in, k] as they multiply: weight normalisation divides by the norm over all but the first axis."""
        if f"{name}.weight" in names:
            return np.asarray(names[f"{name}.weight"], np.float32)
        gain, direction = (np.asarray(names[f"{name}.weight_{part}"], np.float64) for part in "gv")
        return (gain * direction / np.linalg.norm(direction, axis=(1, 2), keepdims=True)).astype(np.float32)

    def conv(name: str, transposed: bool = False) -> dict[str, np.ndarray]:
        value = kernel(name)  # transposed, they have [C_in, C_out, k], and turn it round
        value = value.transpose(2, 0, 1)[::-1] if transposed else value.transpose(2, 1, 0)
        return {"kernel": np.ascontiguousarray(value), "bias": np.asarray(names[f"{name}.bias"], np.float32)}

    made: dict[str, Any] = {"first": conv("conv_pre"), "last": conv("conv_post")}
    for i in range(len(config.rates)):
        made[f"up_{i}"] = conv(f"ups.{i}", transposed=True)
        for j in range(len(config.res_kernels)):
            block = f"resblocks.{i * len(config.res_kernels) + j}"
            made[f"block_{i}_{j}"] = {
                f"{ours}_{n}": conv(f"{block}.{theirs}.{n}")
                for ours, theirs in (("dilated", "convs1"), ("plain", "convs2"))
                for n in range(len(config.dilations))
            }
    return made
