"""A small random run, the same on every machine, and what is asked of its LLM here and in transformers.

.venv/bin/python tests/parity/export_model.py /tmp/exported   # writes the folder that make_llm_golden.py reads
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from e2etts_jax.checkpoint import Checkpointer
from e2etts_jax.models.generate import Sampling, generate
from e2etts_jax.models.llm import LLM, LLMConfig
from e2etts_jax.models.tokenizer import Tokenizer, TokenizerConfig
from e2etts_jax.weights import export_weights

TOKENIZER: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "ff": 16, "kernel": 3, "dims": 4, "q_width": 16}
SIZE: dict[str, Any] = {
    "layers": 2,
    "width": 48,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 16,
    "ff": 64,
    "rope_theta": 1e4,
}
TEXT = {"tokenizer": "characters", "alphabet": " abcdefghij", "vocabulary": "", "languages": [], "reading": False}
INFER = {"temperature": 0.5, "top_p": 0.8, "top_k": 25, "max_tokens": 24}
STAGE, SEED, TEXT_VOCAB = "tune", 44, 12  # a seed with an early end and many codes
PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [11, 10, 2, 7]]  # text ids
TOKENS = [[5, 80, 0, 33, 7], [12, 44], [1, 2, 3]]  # codes to follow them

tokenizer = Tokenizer(TokenizerConfig(**TOKENIZER))


def model(adapter: str = "mlp") -> LLM:
    return LLM(LLMConfig(**SIZE, adapter=adapter, adapter_width=24), TEXT_VOCAB, tokenizer.config.vocab)


def params(llm: LLM) -> dict[str, Any]:
    """Both groups by numpy's generator: matrices that keep the scale, nothing zero or one."""
    c, rng = tokenizer.config, np.random.default_rng(SEED)
    ids, one, q = jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32), jnp.zeros((1, 2, c.q_width))
    mel = jnp.zeros((1, 8, 16))
    key = jax.random.key(0)
    shapes = {
        "tokenizer": jax.eval_shape(lambda: tokenizer.init(key, mel, jnp.ones((1, 8), bool))),
        "llm": jax.eval_shape(lambda: llm.init(key, ids, one, q, ids, one, jnp.zeros((c.vocab, c.q_width)))),
    }

    def value(shape: tuple[int, ...]) -> jax.Array:
        scale = shape[-2] ** -0.5 if len(shape) > 1 and shape[-2] not in (4, TEXT_VOCAB) else 1.0
        return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

    return jax.tree.map(lambda leaf: value(leaf.shape), {g: nn.unbox(s)["params"] for g, s in shapes.items()})


def save_run(workdir: Path, adapter: str = "mlp") -> dict[str, Any]:
    """Writes a workdir with a config and a checkpoint, as far as an export reads them; returns the parameters."""
    made = params(model(adapter))
    llm = {**SIZE, "adapter": adapter, "adapter_width": 24}
    audio = {"sample_rate": 22050, "samples_per_token": 1024}
    models = {"tokenizer": TOKENIZER, "llm": llm}
    config = {"run": ["joint", STAGE, "chain"], "model": models, "infer": INFER, "text": TEXT, "audio": audio}
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config))
    saver = Checkpointer(str(workdir / "checkpoints" / STAGE), keep=1)
    saver.save(1, made, {})
    saver.close()
    return made


def codebook(params: dict[str, Any]) -> jax.Array:
    return tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)


def _padded(rows: list[list[int]]) -> tuple[jax.Array, jax.Array]:
    size = max(map(len, rows))
    filled = [row + [0] * (size - len(row)) for row in rows]
    return jnp.asarray(filled, jnp.int32), jnp.asarray([len(row) for row in rows], jnp.int32)


def logits(llm: LLM, params: dict[str, Any]) -> list[np.ndarray]:
    """Ours of every prompt followed by its codes, [T+1, V+1] each; the rows are padded to one batch."""
    (text, text_len), (ids, token_len), table = _padded(PROMPTS), _padded(TOKENS), codebook(params)
    made, _ = jax.jit(llm.apply)({"params": params["llm"]}, text, text_len, table[ids], ids, token_len, table)
    return [np.asarray(row[: n + 1]) for row, n in zip(made, token_len, strict=True)]


def greedy(llm: LLM, params: dict[str, Any]) -> list[list[int]]:
    """Ours of every prompt: codes, without the end."""
    text, text_len = _padded(PROMPTS)
    sampling = Sampling(temperature=0.0, max_ratio=100.0)
    keys = jax.random.split(jax.random.key(0), len(PROMPTS))
    ids, count = generate(llm, params["llm"], text, text_len, codebook(params), keys, INFER["max_tokens"], sampling)
    return [row[:n].tolist() for row, n in zip(np.asarray(ids), np.asarray(count), strict=True)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        print(greedy(model(), save_run(run)))
        print(export_weights(str(run), None, Path(sys.argv[1]), "float32"))
