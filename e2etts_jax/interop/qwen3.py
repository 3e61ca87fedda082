"""Qwen3 as published by transformers, and the layout of `models.qwen3.Decoder`: names, sizes, weights both ways."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from e2etts_jax.models.qwen3 import DecoderConfig

# our place in a block -> their name in a layer, and whether it is a linear layer, [out, in] there and [in, out] here
BLOCK = {
    ("attention_norm", "scale"): ("input_layernorm", False),
    ("attention", "query", "kernel"): ("self_attn.q_proj", True),
    ("attention", "key", "kernel"): ("self_attn.k_proj", True),
    ("attention", "value", "kernel"): ("self_attn.v_proj", True),
    ("attention", "out", "kernel"): ("self_attn.o_proj", True),
    ("attention", "query_norm", "scale"): ("self_attn.q_norm", False),
    ("attention", "key_norm", "scale"): ("self_attn.k_norm", False),
    ("mlp_norm", "scale"): ("post_attention_layernorm", False),
    ("mlp", "gate", "kernel"): ("mlp.gate_proj", True),
    ("mlp", "up", "kernel"): ("mlp.up_proj", True),
    ("mlp", "down", "kernel"): ("mlp.down_proj", True),
}

# our field -> their key
SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ff": "intermediate_size",
    "rms_eps": "rms_norm_eps",
}
# what our decoder can't be told to be otherwise; absent means this
FIXED = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}


def decoder_params(weights: Mapping[str, np.ndarray], layers: int, prefix: str = "") -> dict[str, Any]:
    """Parameters of a `Decoder` of `layers` layers, stacked on a leading axis.

    Args:
      weights: the state dict of `Qwen3Model`, each name behind `prefix`; embeddings are not read.

    Raises:
      KeyError: a weight that is missing.
    """
    params: dict[str, Any] = {"norm": {"scale": weights[f"{prefix}norm.weight"]}, "blocks": {}}
    for path, (name, linear) in BLOCK.items():
        stack = np.stack([weights[f"{prefix}layers.{i}.{name}.weight"] for i in range(layers)])
        node = params["blocks"]
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = np.swapaxes(stack, 1, 2) if linear else stack
    return params


def decoder_weights(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """The inverse of `decoder_params`."""
    weights = {f"{prefix}norm.weight": np.asarray(params["norm"]["scale"])}
    for path, (name, linear) in BLOCK.items():
        node = params["blocks"]
        for part in path:
            node = node[part]
        for i, layer in enumerate(np.asarray(node)):
            weights[f"{prefix}layers.{i}.{name}.weight"] = layer.T if linear else layer
    return weights


def check(theirs: Mapping[str, Any], ours: DecoderConfig, where: str) -> None:
    """Refuses a config.json of another architecture, or of another size than `model.llm`.

    Raises:
      ValueError: everything that differs, and the flags that change what can be changed.
    """
    if theirs.get("model_type") != "qwen3":
        raise ValueError(f"{where} holds a model of type {theirs.get('model_type')!r}: the LLM's decoder is a qwen3")
    rope = {**(theirs.get("rope_scaling") or {}), **(theirs.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    odd = [f"{key} {theirs[key]!r}" for key, value in FIXED.items() if theirs.get(key, value) != value]
    odd += [f"rope type {kind!r}"] if kind != "default" else []
    if odd:
        raise ValueError(f"{where} is a qwen3 that our decoder can't be: {', '.join(odd)}")
    found = {field: theirs.get(key) for field, key in SIZES.items()}
    found["rope_theta"] = rope.get("rope_theta", theirs.get("rope_theta"))
    different = {field: value for field, value in found.items() if value != getattr(ours, field)}
    if different:
        told = ", ".join(f"{field} {value} there, {getattr(ours, field)} here" for field, value in different.items())
        flags = " ".join(f"--config.model.llm.{field}={value}" for field, value in different.items())
        raise ValueError(f"{where} is of another size than model.llm ({told}): {flags}")


def config(ours: DecoderConfig, vocab: int, positions: int) -> dict[str, Any]:
    """A config.json for `vocab` ids with separate input and output rows."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **{key: getattr(ours, field) for field, key in SIZES.items()},
        **FIXED,
        "rope_theta": ours.rope_theta,  # of transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": ours.rope_theta},  # of transformers 5
        "tie_word_embeddings": False,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "use_cache": True,
    }
