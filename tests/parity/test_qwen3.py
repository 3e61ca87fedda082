"""Our decoder against transformers' Qwen3 with the same random weights; see make_qwen3_golden.py."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.interop.qwen3 import decoder_params
from e2etts_jax.models.attention import Cache
from e2etts_jax.models.llm import LLMConfig
from e2etts_jax.models.qwen3 import Decoder, apart

pytestmark = pytest.mark.parity

CONFIG = LLMConfig(layers=2, width=64, heads=4, kv_heads=2, head_dim=16, ff=96, rope_theta=1e4, rms_eps=1e-6)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("qwen3_golden.npz")) as stored:
        values = dict(stored)
    weights = {name.removeprefix("weights/"): w for name, w in values.items() if name.startswith("weights/")}
    return {**values, "params": decoder_params(weights, CONFIG.layers)}


def attends(mask: np.ndarray) -> np.ndarray:
    """[B, L, L]: the valid past."""
    return mask[:, None, :] & np.tril(np.ones((mask.shape[1],) * 2, bool))


def errors(hidden: Any, golden: dict[str, Any]) -> np.ndarray:
    """Largest difference of each row's valid positions."""
    return np.max(np.abs(np.asarray(hidden) - golden["hidden"]) * golden["mask"][..., None], axis=(1, 2))


def run(golden: dict[str, Any], positions: np.ndarray) -> Any:
    decoder, mask = Decoder(CONFIG, jnp.float32), attends(golden["mask"])
    return jax.jit(decoder.apply)({"params": golden["params"]}, golden["embeddings"], positions, mask)[0]


def test_hidden_states_agree(golden: dict[str, Any]) -> None:
    assert errors(run(golden, golden["positions"]), golden).max() < 1e-4


def test_hidden_states_agree_token_by_token(golden: dict[str, Any]) -> None:
    """The same through the key-value cache, one position a call."""
    mask, step = golden["mask"], jax.jit(Decoder(CONFIG, jnp.float32).apply)
    params = apart(golden["params"], CONFIG.layers, jnp.float32)
    shape = (mask.shape[0], CONFIG.kv_heads, mask.shape[1], CONFIG.head_dim)
    caches, made = (Cache(jnp.zeros(shape), jnp.zeros(shape)),) * CONFIG.layers, []
    for at in range(mask.shape[1]):
        now = slice(at, at + 1)
        inputs = golden["embeddings"][:, now], golden["positions"][:, now], attends(mask)[:, now]
        hidden, caches = step({"params": params}, *inputs, caches, jnp.int32(at))
        made.append(hidden)
    assert errors(jnp.concatenate(made, axis=1), golden).max() < 1e-4


def test_the_golden_rows_tell_position_ids_from_slots(golden: dict[str, Any]) -> None:
    """A decoder that counted slots would fail above: on spread positions, and on padding in the middle."""
    slots = np.broadcast_to(np.arange(golden["mask"].shape[1], dtype=np.int32), golden["mask"].shape)
    whole, end, start, middle = errors(run(golden, slots), golden)
    assert whole > 0.1 and middle > 0.1
    assert end < 1e-4 and start < 1e-4  # rotary positions are relative


def test_a_missing_weight_is_named(golden: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match=r"layers\.0\.input_layernorm\.weight"):
        decoder_params({"norm.weight": np.ones(64)}, 2)
