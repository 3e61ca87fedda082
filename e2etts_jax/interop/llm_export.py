"""Our LLM as a Qwen3ForCausalLM of transformers: one vocabulary of text, control and speech ids.

    0 .. text-1       text ids as our tokenizer makes them (0 = padding)
    text .. text+3    control rows: start, turn to speech, end, fill
    text+4 ..         codes

Input row of a code: `adapter(codebook)`. Output row of a code and of the end: the same times width^-1/2, because our
logits are `h E^T / sqrt(width)`. Other ids have no output here. Qwen3's head has no bias to rule them out, so their
rows are zero, and `generation_config.json` suppresses them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from e2etts_jax.interop import qwen3
from e2etts_jax.models.llm import EOS, FILL, LLM, SOS, TASK

LAYOUT = "e2etts.json"
POSITIONS = 32768  # rotary: a limit on paper only


@dataclasses.dataclass(frozen=True)
class Ids:
    """Where the parts lie in the exported vocabulary.

    Attributes:
      text, codes: how many text ids and codes there are.
    """

    text: int
    codes: int

    @property
    def control(self) -> int:
        return self.text

    @property
    def speech(self) -> int:
        return self.text + 4

    @property
    def size(self) -> int:
        return self.speech + self.codes

    @property
    def end(self) -> int:
        return self.control + EOS

    def as_json(self) -> dict[str, Any]:
        control = {"sos": SOS, "task": TASK, "eos": EOS, "fill": FILL}
        return {
            "text": [0, self.text],
            "control": {name: self.control + row for name, row in control.items()},
            "speech": [self.speech, self.size],
        }


def weights(
    params: Mapping[str, Any], model: LLM, codebook: Float[Array, "V Dq"], dtype: np.dtype
) -> dict[str, np.ndarray]:
    """State dict of a `Qwen3ForCausalLM`.

    Args:
      params: of the group `llm`.
      model: of any compute dtype; the codes' rows are computed in fp32.
      dtype: of the result.
    """
    c, ids = model.config, Ids(model.text_vocab, model.vocab)
    exact = LLM(c, model.text_vocab, model.vocab, jnp.float32)
    with jax.default_matmul_precision("highest"):
        table = np.asarray(exact.apply({"params": params}, codebook, method=LLM.table))
    codes = table[:-1].astype(dtype)
    text, control = np.asarray(params["text_embed"]).astype(dtype), np.asarray(params["control"]).astype(dtype)
    head = np.zeros((ids.size, c.width), dtype)
    head[ids.speech :], head[ids.end] = table[:-1] * c.width**-0.5, table[-1] * c.width**-0.5
    decoder = {name: w.astype(dtype) for name, w in qwen3.decoder_weights(params["decoder"], "model.").items()}
    embedding = np.concatenate([text, control, codes])
    return {"model.embed_tokens.weight": embedding, **decoder, "lm_head.weight": head}


def files(model: LLM, infer: Mapping[str, Any], dtype: str, about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The JSON files beside the weights.

    Args:
      infer: `config.infer`; of it transformers does temperature, top-p, top-k and the limit, not our redrawing of
        repeated tokens, nor the choice among candidates.
      about: what else e2etts.json tells: where the weights come from.
    """
    ids = Ids(model.text_vocab, model.vocab)
    special = {"bos_token_id": ids.control + SOS, "eos_token_id": ids.end, "pad_token_id": 0}
    draws = {"do_sample": infer["temperature"] > 0}
    if draws["do_sample"]:
        draws |= {name: infer[name] for name in ("temperature", "top_p", "top_k")}
    silent = [i for i in range(ids.speech) if i != ids.end]
    return {
        "config.json": {**qwen3.config(model.config, ids.size, POSITIONS), **special, "dtype": dtype},
        "generation_config.json": {
            **special,
            **draws,
            "max_new_tokens": infer["max_tokens"],
            "suppress_tokens": silent,
        },
        LAYOUT: {
            "ids": ids.as_json(),
            "sequence": "[sos] text [task], then generated: speech ... [eos]",
            **about,
        },
    }
