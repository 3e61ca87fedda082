"""Language model over speech tokens: text in, a distribution over the FSQ codebook out.

Sequence (CosyVoice 3): `[sos] text [task] speech ... [eos]`. Input embedding of a speech token and output
distribution share one table, made from the tokenizer's codebook by a light adapter: `E = adapter(codebook)`,
`logits = h E^T / sqrt(D)` (PAPER: output = similarity of `h_LM` with all codebook entries).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.models import layers
from e2etts_jax.models.attention import Cache
from e2etts_jax.models.qwen3 import Decoder, DecoderConfig

ADAPTERS = ("linear", "mlp", "table")
SOS, TASK, EOS, FILL = range(4)  # rows of the control table; FILL is reserved for interleaved streaming


@dataclasses.dataclass(frozen=True)
class LLMConfig(DecoderConfig):
    """The decoder's size, and how the codebook is tied.

    Attributes:
      adapter: `linear` (rank 8 logits: cannot prefer a middle level), `mlp`, or `table` (own rows, not tied).
      embed_std: scale of the text and control embeddings at the start.
    """

    adapter: str = "mlp"
    adapter_width: int = 512
    embed_std: float = 1.0

    def __post_init__(self) -> None:
        if self.adapter not in ADAPTERS:
            raise ValueError(f"unknown LLM adapter {self.adapter!r}: choose one of {', '.join(ADAPTERS)}")


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

    def table(self, codebook: Float[Array, "V Dq"]) -> Float[Array, "V1 D"]:
        """Output rows: every code, then end of speech."""
        codes = self.speech(codebook, jnp.arange(self.vocab))
        return jnp.concatenate([codes, self.control[EOS][None].astype(self.dtype)])

    def logits(self, hidden: Float[Array, "B L D"], table: Float[Array, "V1 D"]) -> Float[Array, "B L V1"]:
        """Similarity with every row, scaled so that the loss starts near log V; fp32."""
        scores = layers.similarity(hidden * self.config.width**-0.5, table)
        return layers.constrain(scores, "batch", "time", "vocab_act")

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

    def __call__(
        self,
        text: Int[Array, "B S"],
        text_len: Int[Array, " B"],
        q: Float[Array, "B T Dq"],
        ids: Int[Array, "B T"],
        token_len: Int[Array, " B"],
        codebook: Float[Array, "V Dq"],
    ) -> tuple[Float[Array, "B T1 V1"], Float[Array, "B T1 D"]]:
        """Teacher-forced pass. Position t of the T+1 outputs predicts token t; position `token_len` predicts the end.

        Returns:
          logits [B, T+1, V+1] (fp32) and hidden states [B, T+1, D].
        """
        x, positions, mask = self.prefix(text, text_len)
        start, size = x.shape[1], ids.shape[1]
        steps = jnp.arange(size)[None, :]
        x = jnp.concatenate([x, self.speech(q, ids)], axis=1)
        positions = jnp.concatenate([positions, text_len[:, None] + 2 + steps], axis=1)
        mask = jnp.concatenate([mask, steps < token_len[:, None]], axis=1)
        hidden, _ = self.decoder(x, positions, mask[:, None, :])
        hidden = hidden[:, start - 1 :]
        return self.logits(hidden, self.table(codebook)), hidden

    def prefill(
        self, text: Int[Array, "B S"], text_len: Int[Array, " B"], slots: int
    ) -> tuple[Float[Array, "B D"], Cache, Bool[Array, "B N"]]:
        """Runs the prefix into a fresh cache with room for `slots` speech tokens.

        Returns:
          the hidden state that predicts the first token, the cache, and which of its slots hold the prefix.
        """
        x, positions, mask = self.prefix(text, text_len)
        batch, start, c = x.shape[0], x.shape[1], self.config
        shape = (c.layers, batch, start + slots, c.kv_heads, c.head_dim)
        cache = Cache(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        seen = jnp.pad(mask, ((0, 0), (0, slots)))
        hidden, cache = self.decoder(x, positions, seen[:, None, :], cache, 0)
        return hidden[:, -1], cache, seen

    def step(
        self,
        q: Float[Array, "B Dq"],
        ids: Int[Array, " B"],
        position: Int[Array, " B"],
        seen: Bool[Array, "B N"],
        cache: Cache,
        index: Int[Array, ""],
    ) -> tuple[Float[Array, "B D"], Cache]:
        """One decoding step: feeds a token at cache slot `index`; `seen` includes that slot."""
        x = self.speech(q, ids)[:, None]
        hidden, cache = self.decoder(x, position[:, None], seen[:, None, :], cache, index)
        return hidden[:, 0], cache
