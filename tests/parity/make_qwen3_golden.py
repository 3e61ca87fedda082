"""Writes qwen3_golden.npz: weights, inputs and outputs of a small random Qwen3 of transformers.

Needs torch, which nothing else here does, so it runs in an environment of its own:

    python3.11 -m venv /tmp/tv && /tmp/tv/bin/pip install torch==2.13.0 && /tmp/tv/bin/pip install transformers==5.23.0
    /tmp/tv/bin/python tests/parity/make_qwen3_golden.py
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3Model

LAYERS, WIDTH, LENGTH, THETA = 2, 64, 12, 1e4

torch.manual_seed(0)
config = Qwen3Config(
    vocab_size=8,
    hidden_size=WIDTH,
    intermediate_size=96,
    num_hidden_layers=LAYERS,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    rms_norm_eps=1e-6,
    rope_parameters={"rope_type": "default", "rope_theta": THETA},
    attn_implementation="eager",
)
model = Qwen3Model(config).eval()
with torch.no_grad():
    for weight in model.parameters():  # no weight may be special: norms are not one
        weight.normal_(1.0, 0.3) if weight.ndim == 1 else weight.normal_(0.0, weight.shape[1] ** -0.5)

# A whole row, one padded at the end, one padded at the start, and one padded in the middle, as our LLM pads its text.
mask = np.ones((4, LENGTH), np.int64)
mask[1, 9:] = 0
mask[2, :4] = 0
mask[3, 4:7] = 0
positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
positions[0] = 100 + 3 * positions[0]  # only the position ids can know
embeddings = np.random.default_rng(0).standard_normal((4, LENGTH, WIDTH)).astype(np.float32)
with torch.no_grad():
    hidden = model(
        inputs_embeds=torch.from_numpy(embeddings),
        attention_mask=torch.from_numpy(mask),
        position_ids=torch.from_numpy(positions),
        use_cache=False,
    ).last_hidden_state

weights = {
    f"weights/{name}": w.numpy() for name, w in model.state_dict().items() if not name.startswith("embed_tokens")
}
np.savez_compressed(
    Path(__file__).with_name("qwen3_golden.npz"),
    mask=mask.astype(bool),
    positions=positions.astype(np.int32),
    embeddings=embeddings,
    hidden=hidden.numpy(),
    **weights,
)
