"""Both ways against transformers itself, where an environment has it beside ours (the stored numbers: test_llm.py)."""

import json
from pathlib import Path

import export_model
import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax.interop import llm_export
from e2etts_jax.interop.folder import Folder
from e2etts_jax.interop.llm_import import Rows, llm_params
from e2etts_jax.models.llm import LLM, LLMConfig
from e2etts_jax.weights import export_weights

torch = pytest.importorskip("torch", reason="the golden numbers are of it; here it is optional")
transformers = pytest.importorskip("transformers", reason="the golden numbers are of it; here it is optional")

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("tied", [True, False])
def test_their_model_here(tied: bool, tmp_path: Path) -> None:
    """Random weights, saved in shards by transformers, word by word the same logits (over their output rows)."""
    torch.manual_seed(1)
    sizes = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    theirs = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            **sizes,
            vocab_size=100,
            head_dim=32,
            intermediate_size=96,
            tie_word_embeddings=tied,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            initializer_range=0.1,
        )
    ).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="100KB")
    folder = Folder(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    config = LLMConfig(layers=3, width=64, heads=4, kv_heads=2, head_dim=32, ff=96, rope_theta=1e6)
    llm = LLM(config, 101, 81)
    params, _ = llm_params(folder, llm, Rows(100), jnp.ones((81, 16)), 0)
    words = np.random.default_rng(0).integers(0, 100, (2, 40))
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(words)).logits.numpy()
    size = words.shape[1]
    positions = jnp.broadcast_to(jnp.arange(size), words.shape)
    mask = jnp.broadcast_to(jnp.tril(jnp.ones((size, size), bool)), (2, size, size))
    x = jnp.take(params["text_embed"], words + 1, axis=0)
    hidden, _ = llm.apply({"params": params}, x, positions, mask, method=lambda m, *args: m.decoder(*args))
    rows = params["text_embed"][1:] if tied else folder["lm_head.weight"]
    difference = float(np.abs(np.asarray(hidden) @ rows.T - wanted).max())
    print(
        f"their model here, tied={tied}: largest difference {difference:.2e} of logits up to {np.abs(wanted).max():.1f}"
    )
    assert difference < 1e-4


@pytest.mark.parametrize("adapter", ["mlp", "table"])
def test_our_model_there(adapter: str, tmp_path: Path) -> None:
    params, llm = export_model.save_run(tmp_path / "run", adapter), export_model.model(adapter)
    export_weights(str(tmp_path / "run"), None, tmp_path / "out", "float32")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(theirs) is transformers.Qwen3ForCausalLM and not any(info.values()), info
    ids = llm_export.Ids(llm.text_vocab, llm.vocab)
    control = json.loads((tmp_path / "out" / "e2etts.json").read_text())["ids"]["control"]
    differences, greedy = [], []
    ours = export_model.logits(llm, params)
    for text, codes, wanted in zip(export_model.PROMPTS, export_model.TOKENS, ours, strict=True):
        prefix = [control["sos"], *text, control["task"]]
        with torch.no_grad():
            made = theirs(torch.tensor([prefix + [ids.speech + code for code in codes]])).logits[0, len(prefix) - 1 :]
            drawn = theirs.generate(torch.tensor([prefix]), do_sample=False)[0, len(prefix) :].tolist()
        found = torch.cat([made[:, ids.speech :], made[:, ids.end, None]], 1).numpy()
        differences.append(float(np.abs(found - wanted).max()))
        greedy.append([i - ids.speech for i in drawn if i != ids.end])
    print(f"our model there, {adapter}: largest difference {max(differences):.2e}; {sum(map(len, greedy))} greedy ids")
    assert max(differences) < 1e-4
    assert greedy == export_model.greedy(llm, params)
