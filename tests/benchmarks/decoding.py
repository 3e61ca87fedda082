"""Tokens a second of batched decoding: our compiled loop beside `generate` of transformers, for the same LLM here.

    python tests/benchmarks/decoding.py --torch_python=PYTHON [--size=small] [--rows=16] [--tokens=256] [--out=FILE]

The LLM of configs/joint.py at the size, with random weights, exported as anyone would export it; PYTHON is one that has
torch and transformers. Both draw as many tokens from prompts of the same length, in float32, on all cores, with top-k
25 and top-p 0.8, and greedily; neither may stop early. Medians of three runs after a first one that is not counted.
"""

import tempfile
from pathlib import Path

import beside
import jax
import jax.numpy as jnp
import numpy as np

from e2etts_jax.checkpoint import Checkpointer
from e2etts_jax.models.generate import Sampling, generate
from e2etts_jax.weights import export_weights

TEXT = 64  # ids of each text
THEIRS = """
import json, statistics, sys, time, torch, transformers
folder, rows, tokens, text, runs = sys.argv[1], *map(int, sys.argv[2:])
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
ids = torch.randint(1, 20, (rows, text + 2))
fixed = {"min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}
ways = {"sampled": {"do_sample": True, "top_k": 25, "top_p": 0.8, "temperature": 1.0}, "greedy": {"do_sample": False}}
made = {}
for way, options in ways.items():
    times = []
    for run in range(runs + 1):
        begun = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), **fixed, **options)
        assert out.shape[1] == text + 2 + tokens
        times.append(time.perf_counter() - begun)
    made[way] = rows * tokens / statistics.median(times[1:])
made["versions"] = f"torch {torch.__version__}, transformers {transformers.__version__}"
print(json.dumps(made))
"""


def main() -> None:
    options = beside.options(__doc__, rows=16, tokens=256)
    config, system, params = beside.models(options.size)
    codebook = beside.codebook(system, params)
    text = jnp.asarray(np.random.default_rng(0).integers(1, 20, (options.rows, TEXT)), jnp.int32)
    length, keys = jnp.full(options.rows, TEXT), jax.random.split(jax.random.key(1), options.rows)
    must = {"min_ratio": 1e3, "max_ratio": 1e3, "repetition": 1.0}
    ours = {}
    for way, sampling in (("sampled", Sampling(**must)), ("greedy", Sampling(temperature=0.0, **must))):
        run = jax.jit(
            lambda p, s=sampling: generate(system.llm, p, text, length, codebook, keys, options.tokens, s)  # noqa: B023
        )
        seconds, (_, count) = beside.median(lambda: run(params["llm"]))  # noqa: B023
        assert (np.asarray(count) == options.tokens).all()
        ours[way] = options.rows * options.tokens / seconds
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        workdir.mkdir()
        (workdir / "config.json").write_text(config.to_json())
        saver = Checkpointer(str(workdir / "checkpoints" / "tune"), keep=1)
        saver.save(1, {name: params[name] for name in ("tokenizer", "llm")}, {})
        saver.close()
        export_weights(str(workdir), "tune", Path(folder) / "out", "float32")
        numbers = (options.rows, options.tokens, TEXT, beside.RUNS)
        theirs = beside.theirs(options.torch_python, THEIRS, Path(folder) / "out", *numbers)
    size = sum(x.size for x in jax.tree.leaves(params["llm"]))
    result = {"size": options.size, "parameters": size, "rows": options.rows, "tokens": options.tokens}
    result |= {"jax": jax.__version__, "versions": theirs.pop("versions")}
    for way, speed in ours.items():
        result[way] = {
            "ours": round(speed, 1),
            "transformers": round(theirs[way], 1),
            "ratio": round(speed / theirs[way], 2),
        }
        print(f"{way}: {speed:.0f} tokens/s here, {theirs[way]:.0f} there: {speed / theirs[way]:.2f} times")
    beside.keep(options.out, result)


if __name__ == "__main__":
    main()
