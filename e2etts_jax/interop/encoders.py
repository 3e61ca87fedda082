"""A speech encoder of transformers as a warm start of our tokenizer's Conformer.

Three families: `wav2vec2-conformer` and `wav2vec2-bert`, whose blocks are Conformers as ours, and Whisper's plain
Transformer. None computes the same function as ours, because each tells positions in its own way; what does is said in
the report, and everything else is a start to train from. Front ends stay fresh: theirs halve the rate less often, or
read waveforms.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from e2etts_jax.interop.folder import Folder
from e2etts_jax.interop.report import AS_IS, Report
from e2etts_jax.models.tokenizer import TokenizerConfig

Leaves = dict[str, np.ndarray]  # "ff_in/up/kernel" -> values of one layer
Read = Callable[[str], np.ndarray]  # a tensor of one layer, by its name in the layer

GELU = 1.702  # gelu(x) is swish(1.702 x) / 1.702 to within 0.021
SWISH = ("swish", "silu")


@dataclasses.dataclass(frozen=True)
class Family:
    """How one `model_type` is read.

    Attributes:
      sizes: our field -> their key.
      act: key of the activation, and its default.
      layer: makes our leaves of one layer; True = their activation is GELU.
      remarks: beginning of a leaf -> how it was taken; the longest that fits counts.
      probe: a tensor that every layer has.
      front: why the convolutions in front stay fresh.
    """

    sizes: Mapping[str, str]
    act: tuple[str, str]
    layer: Callable[[Read, bool], Leaves]
    remarks: Mapping[str, str]
    probe: str
    front: str


def tokenizer_params(
    folder: Folder, config: TokenizerConfig, n_mels: int, fresh: Mapping[str, Any]
) -> tuple[dict[str, Any], Report]:
    """Parameters of the group `tokenizer`: blocks from the first layers of the encoder, the rest from `fresh`.

    Args:
      folder: of the encoder, alone or inside a larger model.
      n_mels: of what the tokenizer hears.
      fresh: first parameters of the group.

    Raises:
      ValueError: an encoder that is not of a known family, or another size than model.tokenizer.
      KeyError: a tensor that is missing.
    """
    kind = folder.config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"{folder.path} holds a model of type {kind!r}; encoders are read of {', '.join(FAMILIES)}")
    family, where = FAMILIES[kind], str(folder.path)
    _check(folder.config, family, config, where)
    prefix = _prefix(folder, family, where)
    act = folder.config.get(*family.act)
    if act not in (*SWISH, "gelu"):
        raise ValueError(f"{where} has the activation {act!r}; ours is swish, and only gelu can be made nearly that")
    gelu = act == "gelu"
    layers = [family.layer(_layer(folder, prefix, i), gelu) for i in range(config.layers)]
    leaves = {f"encoder/blocks/{name}": np.stack([layer[name] for layer in layers]) for name in layers[0]}
    flat = traverse_util.flatten_dict(fresh, sep="/")
    taken, lost = {}, {}
    for name, values in leaves.items():
        if values.shape == flat[name].shape:
            taken[name] = _remark(family, name.removeprefix("encoder/blocks/"), gelu)
        else:
            lost[name] = f"{values.shape[1:]} there, {flat[name].shape[1:]} here"
    if kind == "whisper":
        for name, (values, remark) in _whisper_front(folder, prefix, n_mels).items():
            if name in flat and values.shape == flat[name].shape:
                leaves[name], taken[name] = values, remark
    why = {name: lost.get(name, _why_fresh(name, family)) for name in flat if name not in taken}
    result = {name: leaves[name] if name in taken else values for name, values in flat.items()}
    for branch in ("ff_in", "conv"):
        name = f"encoder/blocks/{branch}/down/kernel"
        if name not in taken:
            result[name], why[name] = np.zeros_like(flat[name]), "zero: this branch adds nothing at first"
    unused = {name: _why_unused(name, prefix, config.layers) for name in folder if name not in folder.used}
    theirs = folder.config[family.sizes["layers"]]
    source = f"{where} ({kind}, {config.layers} of {theirs} layers)"
    return traverse_util.unflatten_dict(result, sep="/"), Report(source, taken, why, unused)


def _check(theirs: Mapping[str, Any], family: Family, ours: TokenizerConfig, where: str) -> None:
    found = {field: theirs.get(key) for field, key in family.sizes.items()}
    different = {
        field: value
        for field, value in found.items()
        if (value is None or value < ours.layers if field == "layers" else value != getattr(ours, field))
    }
    if different:
        told = ", ".join(f"{field} {value} there, {getattr(ours, field)} here" for field, value in different.items())
        flags = " ".join(f"--config.model.tokenizer.{field}={value}" for field, value in different.items())
        raise ValueError(f"{where} is of another size than model.tokenizer ({told}): {flags}")


def _prefix(folder: Folder, family: Family, where: str) -> str:
    """What stands before `layers.0`: the encoder may be a part of a model."""
    end = f"encoder.layers.0.{family.probe}"
    found = [name for name in folder if name == end or name.endswith(f".{end}")]
    if not found:
        raise ValueError(f"{where} has no tensor {end}: it is not the encoder that its config.json tells of")
    return found[0].removesuffix(f"layers.0.{family.probe}")


def _layer(folder: Folder, prefix: str, i: int) -> Read:
    return lambda name: folder[f"{prefix}layers.{i}.{name}"]


def _remark(family: Family, name: str, gelu: bool) -> str:
    fitting = [start for start in family.remarks if name.startswith(start)]
    if fitting:
        return family.remarks[max(fitting, key=len)]
    if gelu and name.startswith(("ff_in/", "ff_out/")) and "norm" not in name:
        return "scaled so that swish does nearly what GELU does there"
    return AS_IS


def _why_fresh(name: str, family: Family) -> str:
    if name.startswith("subsample"):
        return family.front
    return "no such part there" if name.startswith("encoder") else "FSQ, which theirs has not"


def _why_unused(name: str, prefix: str, layers: int) -> str:
    number = name.removeprefix(f"{prefix}layers.").split(".")[0]
    if name.startswith(f"{prefix}layers.") and number.isdecimal() and int(number) >= layers:
        return "a deeper layer than the tokenizer has"
    return "no part of its shape here" if name.startswith(prefix) else "outside the encoder"


# --- layers -----------------------------------------------------------------------------------------------------------


def _norm(read: Read, ours: str, theirs: str) -> Leaves:
    return {f"{ours}/scale": read(f"{theirs}.weight"), f"{ours}/bias": read(f"{theirs}.bias")}


def _linear(read: Read, ours: str, theirs: str, bias: bool = True) -> Leaves:
    """[out, in] there, [in, out] here; a convolution over one frame is one too. Without a bias there: zero."""
    kernel = read(f"{theirs}.weight")
    kernel = kernel.reshape(kernel.shape[0], kernel.shape[1])
    shift = read(f"{theirs}.bias") if bias else np.zeros(len(kernel), np.float32)
    return {f"{ours}/kernel": kernel.T, f"{ours}/bias": shift}


def _feed_forward(read: Read, ours: str, names: tuple[str, str, str], gelu: bool, whole: bool = False) -> Leaves:
    """Norm, up, down. `whole`: theirs is added as it is, where ours is added by half."""
    inner = GELU if gelu else 1.0
    leaves = {
        **_norm(read, f"{ours}/norm", names[0]),
        **_linear(read, f"{ours}/up", names[1]),
        **_linear(read, f"{ours}/down", names[2]),
    }
    twice = 2.0 if whole else 1.0
    factors = {"up/kernel": inner, "up/bias": inner, "down/kernel": twice / inner, "down/bias": twice}
    return {n: (v * np.float32(factors.get(n.removeprefix(f"{ours}/"), 1.0))) for n, v in leaves.items()}


def _attention(read: Read, names: tuple[str, str, str, str], key_bias: bool = True) -> Leaves:
    leaves: Leaves = {}
    for ours, theirs in zip(("query", "key", "value", "out"), names, strict=True):
        leaves |= _linear(read, f"attention/{ours}", f"self_attn.{theirs}", bias=key_bias or ours != "key")
    return leaves


def _conformer(read: Read, gelu: bool) -> Leaves:
    """What the two Conformers share: all but the depthwise convolution and the norm behind it."""
    return {
        **_feed_forward(read, "ff_in", ("ffn1_layer_norm", "ffn1.intermediate_dense", "ffn1.output_dense"), gelu),
        **_norm(read, "attention_norm", "self_attn_layer_norm"),
        **_attention(read, ("linear_q", "linear_k", "linear_v", "linear_out")),
        **_norm(read, "conv/norm", "conv_module.layer_norm"),
        **_linear(read, "conv/up", "conv_module.pointwise_conv1", bias=False),
        **_linear(read, "conv/down", "conv_module.pointwise_conv2", bias=False),
        **_feed_forward(read, "ff_out", ("ffn2_layer_norm", "ffn2.intermediate_dense", "ffn2.output_dense"), gelu),
        **_norm(read, "norm", "final_layer_norm"),
    }


def _batch_norm_conformer(read: Read, gelu: bool) -> Leaves:
    """BatchNorm's running statistics go where our LayerNorm, over channels, leaves them nearly alone."""
    kernel = read("conv_module.depthwise_conv.weight")[:, 0].T
    mean, variance = (read(f"conv_module.batch_norm.running_{name}") for name in ("mean", "var"))
    scale, bias = read("conv_module.batch_norm.weight"), read("conv_module.batch_norm.bias")
    deviation = np.sqrt(variance + np.float32(1e-5))
    return {
        **_conformer(read, gelu),
        "conv/depthwise/kernel": kernel / deviation,
        "conv/conv_norm/scale": scale,
        "conv/conv_norm/bias": bias - scale * mean / deviation,
    }


def _causal_conformer(read: Read, gelu: bool) -> Leaves:
    """Theirs ends at the frame, ours has it in the middle: the newest taps, and zeros for what lies ahead."""
    kernel = read("conv_module.depthwise_conv.weight")[:, 0].T
    ahead = len(kernel) - 1 - (len(kernel) - 1) // 2
    centred = np.concatenate([kernel[ahead:], np.zeros_like(kernel[:ahead])])
    return {
        **_conformer(read, gelu),
        "conv/depthwise/kernel": centred,
        **_norm(read, "conv/conv_norm", "conv_module.depthwise_layer_norm"),
    }


def _transformer(read: Read, gelu: bool) -> Leaves:
    """Whisper: its feed-forward is our second; it has no first, no convolution, and no norm behind a block."""
    return {
        **_norm(read, "attention_norm", "self_attn_layer_norm"),
        **_attention(read, ("q_proj", "k_proj", "v_proj", "out_proj"), key_bias=False),
        **_feed_forward(read, "ff_out", ("final_layer_norm", "fc1", "fc2"), gelu, whole=True),
    }


def _whisper_front(folder: Folder, prefix: str, n_mels: int) -> dict[str, tuple[np.ndarray, str]]:
    """Kernel-3 convolutions: our second is their second; our first takes every other frame of what theirs does."""

    def convolution(name: str) -> tuple[np.ndarray, np.ndarray]:
        kernel = folder[f"{prefix}{name}.weight"]  # [out, in, 3]
        return kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]), folder[f"{prefix}{name}.bias"]

    found = {"subsample_1": (*convolution("conv2"), AS_IS)}
    if folder.config.get("num_mel_bins") == n_mels:
        found["subsample_0"] = (*convolution("conv1"), "as a start: it halves the rate here, and not there")
    return {
        f"{name}/conv/{leaf}": (values, remark)
        for name, (kernel, bias, remark) in found.items()
        for leaf, values in (("kernel", kernel), ("bias", bias))
    }


WAV2VEC2 = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ff": "intermediate_size",
}
POSITIONS = "as a start: positions enter its attention in another way"
FAMILIES = {
    "wav2vec2-conformer": Family(
        sizes=WAV2VEC2,
        act=("hidden_act", "gelu"),
        layer=_batch_norm_conformer,
        remarks={
            "attention/": POSITIONS,
            "conv/depthwise": "as a start: BatchNorm follows there, whose deviations are folded in",
            "conv/conv_norm": "as a start: BatchNorm there, LayerNorm here",
        },
        probe="ffn1.intermediate_dense.weight",
        front="its front end reads waveforms",
    ),
    "wav2vec2-bert": Family(
        sizes=WAV2VEC2,
        act=("hidden_act", "swish"),
        layer=_causal_conformer,
        remarks={
            "attention/": POSITIONS,
            "conv/depthwise": "as a start: the newest taps of a causal convolution, zeros for what lies ahead",
        },
        probe="ffn1.intermediate_dense.weight",
        front="its front end is a linear map of two stacked frames",
    ),
    "whisper": Family(
        sizes={
            "layers": "encoder_layers",
            "width": "d_model",
            "heads": "encoder_attention_heads",
            "ff": "encoder_ffn_dim",
        },
        act=("activation_function", "gelu"),
        layer=_transformer,
        remarks={"attention/": POSITIONS},
        probe="fc1.weight",
        front="no convolution of this shape there",
    ),
}
