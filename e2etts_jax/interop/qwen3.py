"""Qwen3 weights as published by transformers, in the layout of `models.qwen3.Decoder`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

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


def decoder_params(weights: Mapping[str, np.ndarray], layers: int) -> dict[str, Any]:
    """Parameters of a `Decoder` of `layers` layers, stacked on a leading axis.

    Args:
      weights: the state dict of `Qwen3Model` (names without `model.`); embeddings are not read.

    Raises:
      KeyError: a weight that is missing.
    """
    params: dict[str, Any] = {"norm": {"scale": weights["norm.weight"]}, "blocks": {}}
    for path, (name, linear) in BLOCK.items():
        stack = np.stack([weights[f"layers.{i}.{name}.weight"] for i in range(layers)])
        node = params["blocks"]
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = np.swapaxes(stack, 1, 2) if linear else stack
    return params
