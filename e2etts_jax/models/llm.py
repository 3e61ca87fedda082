"""Language model over speech tokens: text in, a distribution over the FSQ codebook out.

Sequence (CosyVoice 3): `[sos] text [task] speech ... [eos]`. Input embedding of a speech token and output
distribution share one table, made from the tokenizer's codebook by a light adapter: `E = adapter(codebook)`,
`logits = h E^T / sqrt(D)` (PAPER: output = similarity of `h_LM` with all codebook entries).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import layers, qwen3
from e2etts_jax.models.attention import Cache
from e2etts_jax.models.qwen3 import Decoder, DecoderConfig
from e2etts_jax.types import Params

ADAPTERS = ("linear", "mlp", "table")
SOS, TASK, EOS, FILL = range(4)  # rows of the control table; FILL is reserved for interleaved streaming


@dataclasses.dataclass(frozen=True)
class LLMConfig(DecoderConfig):
    """The decoder's size, and how the codebook is tied.

    Attributes:
      adapter: `linear` (rank 8 logits: cannot prefer a middle level), `mlp`, or `table` (own rows, not tied).
      embed_std: scale of the text and control embeddings at the start.
      chunk: positions whose logits exist at one time (`by_chunk`), 0 = all.
    """

    adapter: str = "mlp"
    adapter_width: int = 512
    embed_std: float = 1.0
    chunk: int = 0

    def __post_init__(self) -> None:
        if self.adapter not in ADAPTERS:
            raise ValueError(f"unknown LLM adapter {self.adapter!r}: choose one of {', '.join(ADAPTERS)}")


def speech_logits(hidden: Float[Array, "B L D"], table: Float[Array, "V1 D"]) -> Float[Array, "B L V1"]:
    """Similarity with every row, scaled so that the loss starts near log V; fp32."""
    scores = layers.similarity(hidden * hidden.shape[-1] ** -0.5, table)
    return layers.constrain(scores, "batch", "time", "vocab_act")


def by_chunk(fn: Callable[..., Any], chunk: int, *arrays: Float[Array, "B T ..."]) -> Any:
    """`fn(*arrays)` along the time axis, `chunk` positions at a time (0 = all at once), computed again for gradients.

    What `fn` makes on its way, such as logits [B, T, V], never exists for more than a chunk.

    Args:
      fn: arrays [B, c, ...] -> tree of arrays [B, c, ...], every position for itself.
    """
    size = arrays[0].shape[1]
    if not chunk or size <= chunk:
        return fn(*arrays)
    count = -(-size // chunk)

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (0, count * chunk - size)) + ((0, 0),) * (x.ndim - 2))
        return padded.reshape(x.shape[0], count, chunk, *x.shape[2:]).swapaxes(0, 1)

    def join(x: jax.Array) -> jax.Array:
        return x.swapaxes(0, 1).reshape(x.shape[1], count * chunk, *x.shape[3:])[:, :size]

    parts = jax.lax.map(lambda xs: jax.checkpoint(fn)(*xs), tuple(cut(x) for x in arrays))
    return jax.tree.map(join, parts)


class SpeechTable(nn.Module):
    """Embeds codes, and whole codebooks, into the LLM's width."""

    config: LLMConfig
    vocab: int
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        if c.adapter == "table":
            init = nn.with_logical_partitioning(nn.initializers.normal(c.embed_std), ("vocab", "embed"))
            self.rows = self.param("rows", init, (self.vocab, c.width))
            return
        if c.adapter == "mlp":
            self.hidden = layers.dense(c.adapter_width, ("q", "mlp"), dtype=self.dtype)
        self.out = layers.dense(c.width, ("mlp" if c.adapter == "mlp" else "q", "embed"), dtype=self.dtype)

    def __call__(self, q: Float[Array, "*b Dq"], ids: Int[Array, "*b"]) -> Float[Array, "*b D"]:
        """Embedding of tokens: from `q` (gradient reaches the tokenizer), or by `ids` for a `table`."""
        if self.config.adapter == "table":
            return jnp.take(self.rows, ids, axis=0).astype(self.dtype)
        x = q.astype(self.dtype)
        return self.out(jax.nn.gelu(self.hidden(x)) if self.config.adapter == "mlp" else x)


class LLM(nn.Module):
    """The decoder with its text, control and speech embeddings.

    Attributes:
      text_vocab: text ids, 0 = padding.
      vocab: speech codes; the output has one more entry, `vocab` itself = end of speech.
    """

    config: LLMConfig
    text_vocab: int
    vocab: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config

        def rows(name: str, count: int, axis: str) -> jax.Array:
            init = nn.with_logical_partitioning(nn.initializers.normal(c.embed_std), (axis, "embed"))
            return self.param(name, init, (count, c.width))

        self.text_embed = rows("text_embed", self.text_vocab, "vocab")
        self.control = rows("control", 4, "control")
        self.speech = SpeechTable(c, self.vocab, self.dtype)
        self.decoder = Decoder(c, self.dtype)

    @nn.nowrap
    def apart(self, params: Params) -> Params:
        """The parameters that `prefill` and `step` read: layer by layer (`qwen3.apart`)."""
        return {**params, "decoder": qwen3.apart(params["decoder"], self.config.layers, self.dtype)}

    def table(self, codebook: Float[Array, "V Dq"]) -> Float[Array, "V1 D"]:
        """Output rows: every code, then end of speech."""
        codes = self.speech(codebook, jnp.arange(self.vocab))
        rows = jnp.concatenate([codes, self.control[EOS][None].astype(self.dtype)])
        return layers.constrain(rows, "vocab", "embed_act")  # gathered here, not once per chunk of logits

    def logits(self, hidden: Float[Array, "B L D"], table: Float[Array, "V1 D"]) -> Float[Array, "B L V1"]:
        return speech_logits(hidden, table)

    def prefix(self, text: Int[Array, "B S"], text_len: Int[Array, " B"]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`[sos] text [task]`: embeddings [B, S+2, D], positions and mask [B, S+2]; padding lies before the task."""
        batch, size = text.shape
        ends = jnp.broadcast_to(self.control[None, None], (batch, 1, *self.control.shape)).astype(self.dtype)
        words = jnp.take(self.text_embed, text, axis=0).astype(self.dtype)
        x = jnp.concatenate([ends[:, :, SOS], words, ends[:, :, TASK]], axis=1)
        slot = jnp.arange(size + 2)[None, :]
        last = slot == size + 1
        positions = jnp.where(last, text_len[:, None] + 1, slot)
        return x, positions, last | (slot <= text_len[:, None])

    def read(
        self,
        text: Int[Array, "B S"],
        text_len: Int[Array, " B"],
        q: Float[Array, "B T Dq"],
        ids: Int[Array, "B T"],
        token_len: Int[Array, " B"],
    ) -> Float[Array, "B T1 D"]:
        """Teacher-forced pass: hidden states of T+1 positions; t predicts token t, and `token_len` the end."""
        x, positions, mask = self.prefix(text, text_len)
        start, size = x.shape[1], ids.shape[1]
        steps = jnp.arange(size)[None, :]
        x = jnp.concatenate([x, self.speech(q, ids)], axis=1)
        positions = jnp.concatenate([positions, text_len[:, None] + 2 + steps], axis=1)
        mask = jnp.concatenate([mask, steps < token_len[:, None]], axis=1)
        hidden, _ = self.decoder(x, positions, mask[:, None, :])
        return hidden[:, start - 1 :]

    def __call__(
        self,
        text: Int[Array, "B S"],
        text_len: Int[Array, " B"],
        q: Float[Array, "B T Dq"],
        ids: Int[Array, "B T"],
        token_len: Int[Array, " B"],
        codebook: Float[Array, "V Dq"],
    ) -> tuple[Float[Array, "B T1 V1"], Float[Array, "B T1 D"]]:
        """Logits [B, T+1, V+1] (fp32) and hidden states [B, T+1, D] of `read`, all positions at once."""
        hidden = self.read(text, text_len, q, ids, token_len)
        return self.logits(hidden, self.table(codebook)), hidden

    def prefill(
        self,
        text: Int[Array, "B S"],
        text_len: Int[Array, " B"],
        slots: int,
        said: tuple[Float[Array, "B P Dq"], Int[Array, "B P"], Int[Array, " B"]] | None = None,
    ) -> tuple[Float[Array, "B D"], tuple[Cache, ...], Bool[Array, "B N"]]:
        """Runs the prefix into fresh caches with room for `slots` more speech tokens. Parameters: of `apart`.

        Args:
          said: speech behind the text that is there already, as `q`, ids and count.

        Returns:
          the hidden state that predicts the first token, a cache a layer, and which of its slots hold the prefix.
        """
        x, positions, mask = self.prefix(text, text_len)
        if said is not None:
            q, ids, count = said
            steps = jnp.arange(ids.shape[1])[None, :]
            x = jnp.concatenate([x, self.speech(q, ids)], axis=1)
            positions = jnp.concatenate([positions, text_len[:, None] + 2 + steps], axis=1)
            mask = jnp.concatenate([mask, steps < count[:, None]], axis=1)
        batch, start, c = x.shape[0], x.shape[1], self.config
        shape = (batch, c.kv_heads, start + slots, c.head_dim)
        empty = Cache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        seen = jnp.pad(mask, ((0, 0), (0, slots)))
        hidden, caches = self.decoder(x, positions, seen[:, None, :], (empty,) * c.layers, 0)
        if said is None:
            return hidden[:, -1], caches, seen
        last = start - 1 - ids.shape[1] + count
        return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0], caches, seen

    def step(
        self,
        row: Float[Array, "B D"],
        position: Int[Array, " B"],
        seen: Bool[Array, "B N"],
        caches: tuple[Cache, ...],
        index: Int[Array, ""],
    ) -> tuple[Float[Array, "B D"], tuple[Cache, ...]]:
        """One decoding step: feeds a token, its row of the `table`, at slot `index`; `seen` includes that slot.

        Parameters: of `apart`.
        """
        hidden, caches = self.decoder(row[:, None], position[:, None], seen[:, None, :], caches, index)
        return hidden[:, 0], caches
