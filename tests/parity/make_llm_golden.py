"""Writes llm_golden.npz: a whole small random Qwen3 of transformers, and what transformers makes of our export.

Two environments, because torch stays out of ours (transformers 5.24.0, torch 2.14.1 made the stored one):

    .venv/bin/python tests/parity/export_model.py /tmp/exported
    /tmp/tv/bin/python tests/parity/make_llm_golden.py /tmp/exported
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [11, 10, 2, 7]]  # as in export_model.py
TOKENS = [[5, 80, 0, 33, 7], [12, 44], [1, 2, 3]]

torch.manual_seed(0)
stored: dict[str, np.ndarray] = {"versions": np.array([transformers.__version__, torch.__version__])}

# --- theirs: words in, logits out, tied as in Qwen3-0.6B ---
model = Qwen3ForCausalLM(
    Qwen3Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
).eval()
with torch.no_grad():
    for weight in model.parameters():  # no weight may be special: norms are not one
        weight.normal_(1.0, 0.3) if weight.ndim == 1 else weight.normal_(0.0, weight.shape[1] ** -0.5)
    words = torch.randint(0, 40, (2, 11))
    stored["theirs/words"], stored["theirs/logits"] = words.numpy(), model(words).logits.numpy()
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)  # what is read is what transformers writes
    stored["theirs/config"] = np.array((Path(folder) / "config.json").read_text())
    for name, tensor in load_file(Path(folder) / "model.safetensors").items():
        stored[f"theirs/weights/{name}"] = tensor

# --- ours ---
exported = Path(sys.argv[1])
model, info = AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
wrong = {name: found for name, found in info.items() if found}
assert type(model) is Qwen3ForCausalLM and not wrong, wrong
ids = json.loads((exported / "e2etts.json").read_text())["ids"]
first, sos, task, eos = ids["speech"][0], *(ids["control"][name] for name in ("sos", "task", "eos"))
for name, tensor in load_file(exported / "model.safetensors").items():
    stored[f"ours/weights/{name}"] = tensor
for name in ("config", "generation_config", "e2etts"):
    stored[f"ours/{name}"] = np.array((exported / f"{name}.json").read_text())
for i, (text, tokens) in enumerate(zip(PROMPTS, TOKENS, strict=True)):
    prefix = [sos, *text, task]
    with torch.no_grad():
        logits = model(torch.tensor([prefix + [first + code for code in tokens]])).logits[0, len(prefix) - 1 :]
        made = model.generate(torch.tensor([prefix]), do_sample=False)[0, len(prefix) :]
    stored[f"ours/logits/{i}"] = torch.cat([logits[:, first:], logits[:, eos, None]], 1).numpy()
    stored[f"ours/greedy/{i}"] = made.numpy()
    print(made.tolist())
np.savez_compressed(Path(__file__).with_name("llm_golden.npz"), **stored)
