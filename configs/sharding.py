"""Where things lie: logical axis names -> mesh axes ("data", "fsdp", "tensor"), and sizes of the mesh by preset.

Every logical name that a model uses must be here ('' = replicated); start-up fails and names one that is not.
"""

from ml_collections import ConfigDict

RULES = {
    # parameters
    "embed": "fsdp",  # model width
    "embed_out": "",
    "mlp": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "vocab": "",  # 29 characters, 3^8 codes: numbers that no mesh axis divides
    "layers": "",
    "norm": "",
    "q": "",  # width of the shared representation
    "code": "",
    "control": "",
    "mel": "",
    "conv_in": "",
    "speaker": "",
    "classes": "",
    "time_embed": "",
    # activations
    "batch": ("data", "fsdp"),
    "time": "",
    "embed_act": "",
    "vocab_act": "tensor",
}

SHAPES = {  # (data, fsdp, tensor); -1 = what is left, 0 = TPU slices
    "single": (1, 1, 1),
    "dp": (-1, 1, 1),
    "fsdp": (1, -1, 1),
    "fsdp_tp": (1, -1, 2),
    "multislice": (0, -1, 1),  # parameters whole in each slice: only gradients cross the slow network
}


def mesh(preset: str) -> ConfigDict:
    """The `mesh` section of a config."""
    if preset not in SHAPES:
        raise ValueError(f"unknown mesh preset {preset!r}: choose one of {', '.join(SHAPES)}")
    return ConfigDict({"shape": SHAPES[preset], "rules": dict(RULES)})
