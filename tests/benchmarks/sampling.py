"""Seconds of the FM's sampler: ours beside the same DiT in PyTorch, on the same weights, noise and machine.

    python tests/benchmarks/sampling.py --torch_python=PYTHON [--size=small] [--rows=4] [--tokens=96] [--out=FILE]

Random weights of configs/joint.py at the size, float32, all cores, ten Euler steps with guidance (both halves as one
batch). The mels must agree, or there is no result. Medians of three runs after a first one that is not counted.
"""

import json
import tempfile
from pathlib import Path

import beside
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from e2etts_jax.infer import programs
from e2etts_jax.rng import Streams

STEPS, GUIDANCE = 10, 0.7
THEIRS = """
import json, statistics, sys, time
import numpy as np, torch, torch.nn.functional as F

folder, steps, guidance, runs = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
about = json.load(open(folder + "/about.json"))
w = {name: torch.from_numpy(array) for name, array in np.load(folder + "/weights.npz").items()}
given = {name: torch.from_numpy(array) for name, array in np.load(folder + "/given.npz").items()}
width, heads, patch, look = (about[name] for name in ("width", "heads", "patch", "look_ahead"))
dense = lambda x, name, at=None: F.linear(
    x, *(w[f"{name}/{part}"] if at is None else w[f"{name}/{part}"][at] for part in ("weight", "bias")))

def rotary(x):  # B H L K
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * 1e4 ** (-torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

def block(x, time, i):
    s_a, c_a, g_a, s_f, c_f, g_f = dense(time, "blocks/modulation", i)[:, None].chunk(6, -1)
    h = F.layer_norm(x, (width,), eps=1e-6) * (1 + c_a) + s_a
    split = lambda name: dense(h, "blocks/attention/" + name, i).unflatten(-1, (heads, -1)).transpose(1, 2)
    h = F.scaled_dot_product_attention(rotary(split("query")), rotary(split("key")), split("value"))
    x = x + g_a * dense(h.transpose(1, 2).flatten(-2), "blocks/attention/out", i)
    h = F.layer_norm(x, (width,), eps=1e-6) * (1 + c_f) + s_f
    return x + g_f * dense(F.gelu(dense(h, "blocks/up", i), approximate="tanh"), "blocks/down", i)

def condition(q):
    x = dense(q, "cond_q")
    x = x + F.conv1d(x.transpose(1, 2), w["context/kernel"], padding=look, groups=width).transpose(1, 2)
    return dense(x, "spread").reshape(q.shape[0], -1, width)

def velocity(x, t, cond, speaker, keep):
    rows, frames, mels = x.shape
    kept = keep[:, None, None]
    h = torch.cat([x, torch.zeros(rows, frames, mels + 1)], -1)
    h = dense(h.reshape(rows, frames // patch, -1), "mel_in")
    h = h + (cond + dense(speaker, "speaker")[:, None]) * kept
    angle = 1000 * t * torch.exp(-np.log(1e4) * torch.arange(128) / 128)
    time = torch.cat([angle.cos(), angle.sin()])[None].expand(rows, -1)
    time = F.silu(dense(F.silu(dense(time, "time_in")), "time_out"))
    for i in range(about["layers"]):
        h = block(h, time, i)
    shift, scale = dense(time, "final_modulation")[:, None].chunk(2, -1)
    h = dense(F.layer_norm(h, (width,), eps=1e-6) * (1 + scale) + shift, "mel_out").reshape(rows, frames, mels)
    if about["predict"] == "velocity":
        return h
    power = t**2 + (1 - t) ** 2
    return (2 * t - 1) / power * x + h / power**0.5

@torch.inference_mode()
def sample():
    x, q = given["noise"], given["q"]
    rows = x.shape[0]
    cond, keep = condition(q).tile(2, 1, 1), torch.arange(2 * rows) < rows
    speaker = given["speaker"].expand(2 * rows, -1)
    times = 1 - torch.cos(np.pi / 2 * torch.linspace(0, 1, steps + 1))
    for t, after in zip(times, times[1:]):
        v = velocity(x.tile(2, 1, 1), t, cond, speaker, keep.float())
        x = x + (after - t) * ((1 + guidance) * v[:rows] - guidance * v[rows:])
    return x * about["std"] + about["mean"]

took = []
for run in range(runs + 1):
    begun = time.perf_counter()
    mel = sample()
    took.append(time.perf_counter() - begun)
np.save(folder + "/theirs.npy", mel.numpy())
print(json.dumps({"seconds": statistics.median(took[1:]), "versions": f"torch {torch.__version__}"}))
"""


def for_torch(params: dict) -> dict[str, np.ndarray]:
    """Parameters by name, in PyTorch's order of axes."""
    made = {}
    for name, value in traverse_util.flatten_dict(params, sep="/").items():
        array = np.asarray(value)
        if name == "context/kernel":
            made[name] = array.T[:, None]
        elif name.endswith("/kernel"):
            made[name.replace("/kernel", "/weight")] = array.swapaxes(-1, -2)
        else:
            made[name] = array
    return {name: np.ascontiguousarray(array) for name, array in made.items()}


def main() -> None:
    options = beside.options(__doc__, rows=4, tokens=96)
    config, system, fresh = beside.models(options.size)
    rng, fm = np.random.default_rng(0), system.fm.config
    # the output layers begin at zero: as if trained, so that something is compared
    params = jax.tree.map(lambda x: x + 0.02 * rng.standard_normal(x.shape, np.float32), fresh)
    ids = jnp.asarray(rng.integers(0, system.vocab, (options.rows, options.tokens)), jnp.int32)
    length, speaker = jnp.full(options.rows, options.tokens), rng.standard_normal(fm.speaker).astype(np.float32)
    streams = Streams(jax.random.key(1), jnp.arange(options.rows))
    given = (system, STEPS, GUIDANCE, params, ids, length, speaker, streams)
    ours, mel = beside.median(lambda: programs.flow(*given))
    about = {name: getattr(fm, name) for name in ("width", "heads", "patch", "look_ahead", "layers", "predict")}
    about |= {"mean": system.mel.mean, "std": system.mel.std}
    noise = streams.draw("flow_noise", (options.tokens * system.frames_per_token, system.mel.n_mels))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "about.json").write_text(json.dumps(about))
        np.savez(Path(folder) / "weights.npz", **for_torch(params["fm"]))
        q = beside.codebook(system, params)[ids]
        np.savez(Path(folder) / "given.npz", noise=noise, q=q, speaker=speaker)
        theirs = beside.theirs(options.torch_python, THEIRS, folder, STEPS, GUIDANCE, beside.RUNS)
        other = np.maximum(np.load(Path(folder) / "theirs.npy"), np.log(system.mel.floor))
    apart = float(np.abs(np.asarray(mel) - other).max())
    if apart > 0.01:
        raise SystemExit(f"the mels differ by {apart}: no comparison")
    seconds = options.rows * options.tokens * system.samples_per_token / config.audio.sample_rate
    result = {"size": options.size, "parameters": sum(x.size for x in jax.tree.leaves(params["fm"]))}
    result |= {"rows": options.rows, "tokens": options.tokens, "steps": STEPS, "guidance": GUIDANCE}
    result |= {"jax": jax.__version__, "versions": theirs["versions"], "mels_differ_by": apart}
    result |= {"ours": round(ours, 3), "pytorch": round(theirs["seconds"], 3)}
    result |= {"ratio": round(theirs["seconds"] / ours, 2), "s_per_audio_s": round(ours / seconds, 3)}
    print(json.dumps(result))
    beside.keep(options.out, result)


if __name__ == "__main__":
    main()
