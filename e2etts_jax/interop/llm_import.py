"""Our LLM from a Qwen3 of transformers, or from what `llm_export` wrote."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jaxtyping import Array, Float

from e2etts_jax.interop import llm_export, qwen3
from e2etts_jax.interop.folder import Folder, read_json
from e2etts_jax.interop.report import AS_IS, Report
from e2etts_jax.models.llm import LLM, SpeechTable

EMBEDDING, HEAD = "embed_tokens.weight", "lm_head.weight"


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which rows of their embedding are words of ours.

    Attributes:
      count: our ids 1..count are their ids 0..count-1; 0 = another vocabulary, no word is taken.
      note: what to tell of it.
    """

    count: int
    note: str = ""


def llm_params(
    folder: Folder, model: LLM, rows: Rows, codebook: Float[Array, "V Dq"], seed: int
) -> tuple[dict[str, Any], Report]:
    """Parameters of the group `llm`: the decoder and the words are theirs, the rest is fresh, as large as their words.

    A decoder adds to what it reads, so rows of another size than those it has learned from would drown what its first
    layers add, or drown in it.

    Args:
      folder: of a Qwen3, or of our own export (its text and control rows, and the codes' of a `table`, come back).
      codebook: of the tokenizer as it will start, to find the size of what the fresh adapter makes of it.

    Raises:
      ValueError: another architecture or size, too few words, or an export with other ids.
    """
    c = model.config
    own = folder.path / llm_export.LAYOUT
    qwen3.check(folder.config, c, str(folder.path))
    prefix = "model." if f"model.{EMBEDDING}" in folder else ""
    decoder = qwen3.decoder_params(folder, c.layers, prefix)
    embedding = folder[prefix + EMBEDDING]
    rng = np.random.default_rng(seed)
    if own.is_file():
        params, taken, fresh = _own_rows(read_json(own), embedding, model, str(folder.path))
    else:
        params, taken, fresh = _words(embedding, model, rows, rng, str(folder.path))
    if "speech" not in params:
        size = float(np.sqrt(np.mean(np.square(embedding), dtype=np.float64)))
        params["speech"] = _speech(model, codebook, size, seed)
        why = f"the adapter from the codebook, scaled so that codes are as large as words ({size:.3g})"
        fresh |= {f"speech/{name}": why for name in traverse_util.flatten_dict(params["speech"], sep="/")}
    params["decoder"] = decoder
    taken |= {f"decoder/{name}": AS_IS for name in traverse_util.flatten_dict(decoder, sep="/")}
    unused = {name: "" for name in folder if name not in folder.used}
    for name in unused:
        unused[name] = "the LLM has no text output" if name == HEAD else "no such parameter here"
    if own.is_file() and HEAD in unused:
        unused[HEAD] = "it is made of the control rows and the codebook"
    return params, Report(f"{folder.path} (qwen3, {c.layers} layers)", taken, fresh, unused)


def _words(
    embedding: np.ndarray, model: LLM, rows: Rows, rng: np.random.Generator, where: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Text and control rows: the words of a Qwen3, the others drawn as large as they are."""
    if rows.count > len(embedding):
        raise ValueError(
            f"{where} has {len(embedding)} words, text.tokenizer makes {rows.count}: not the model's vocabulary"
        )
    words = embedding[: rows.count] if rows.count else embedding
    size = float(np.sqrt(np.mean(np.square(words), dtype=np.float64)))

    def drawn(count: int) -> np.ndarray:
        return (size * rng.standard_normal((count, embedding.shape[1]))).astype(np.float32)

    text = drawn(model.text_vocab - rows.count)
    text = np.concatenate([text[:1], words[: rows.count], text[1:]])  # padding, words, tags of languages
    fresh = {"control": f"drawn as large as their words ({size:.3g})"}
    if not rows.count:
        return {"text_embed": text, "control": drawn(4)}, {}, {"text_embed": f"{rows.note}; drawn as large", **fresh}
    tags = model.text_vocab - 1 - rows.count
    how = f"rows 1..{rows.count} are their 0..{rows.count - 1} of {len(embedding)}{rows.note}"
    how += f"; padding and {tags} tags are drawn as large" if tags else "; padding is drawn as large"
    return {"text_embed": text, "control": drawn(4)}, {"text_embed": how}, fresh


def _own_rows(
    layout: Mapping[str, Any], embedding: np.ndarray, model: LLM, where: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Text, control and, where they are parameters, code rows of our own export."""
    ids = llm_export.Ids(model.text_vocab, model.vocab)
    if layout.get("ids") != ids.as_json():
        raise ValueError(f"{where} has the ids {layout.get('ids')}, the config has {ids.as_json()}")
    params: dict[str, Any] = {
        "text_embed": embedding[: ids.control],
        "control": embedding[ids.control : ids.speech],
    }
    taken = {"text_embed": AS_IS, "control": AS_IS}
    if model.config.adapter == "table":
        params["speech"], taken["speech/rows"] = {"rows": embedding[ids.speech :]}, AS_IS
    return params, taken, {}


def _speech(model: LLM, codebook: Float[Array, "V Dq"], size: float, seed: int) -> dict[str, Any]:
    """A fresh adapter whose rows have the root mean square `size`."""
    table = SpeechTable(model.config, model.vocab, jnp.float32)
    ids = jnp.arange(model.vocab)
    params = nn.unbox(table.init(jax.random.key(seed), codebook, ids))["params"]
    made = table.apply({"params": params}, codebook, ids)
    factor = size / float(jnp.sqrt(jnp.mean(jnp.square(made))))
    last = "rows" if model.config.adapter == "table" else "out"
    scaled = {**params, last: jax.tree.map(lambda x: x * factor, params[last])}
    return jax.tree.map(np.asarray, scaled)
