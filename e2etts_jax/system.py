"""The four models of one configuration, and their first parameters."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from e2etts_jax import losses
from e2etts_jax.features import MelConfig, log_mel, normalize
from e2etts_jax.forward import forward
from e2etts_jax.models import kernels, statistics
from e2etts_jax.models.flow import FlowConfig, FlowModel
from e2etts_jax.models.llm import LLM, LLMConfig
from e2etts_jax.models.reward import RewardConfig, RewardModel
from e2etts_jax.models.tokenizer import Tokenizer, TokenizerConfig
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import GROUPS, Batch, Metrics, Outputs, Params, config_of

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def compute_dtype(name: str) -> Any:
    """Resolves `auto`: bf16 where the hardware multiplies it fast (TPU, GPU, CPUs with AMX or AVX-512 BF16), else fp32.

    Raises:
      ValueError: neither `auto` nor a dtype of `DTYPES`.
    """
    if name == "auto":
        if jax.default_backend() != "cpu":
            return jnp.bfloat16
        try:
            with open("/proc/cpuinfo") as info:
                flags = info.read()
            return jnp.bfloat16 if "amx_bf16" in flags or "avx512_bf16" in flags else jnp.float32
        except OSError:
            return jnp.float32
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


@dataclasses.dataclass(frozen=True)
class System:
    """Modules and the shapes they agree on. Holds no parameters; hashable, so it can be closed over or static.

    Attributes:
      mel: what the FM predicts and the vocoder reads. front_end: what the tokenizer hears.
      samples_per_token: waveform samples of one speech token.
    """

    groups: ClassVar[tuple[str, ...]] = GROUPS
    plan_type: ClassVar[type] = Plan

    tokenizer: Tokenizer
    llm: LLM
    fm: FlowModel
    rm: RewardModel
    mel: MelConfig
    front_end: MelConfig
    samples_per_token: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], text_vocab: int, rm_vocab: int | None = None) -> "System":
        """Builds the modules of a config (see configs/base.py).

        Args:
          text_vocab: text ids that the LLM reads.
          rm_vocab: text ids that the RM writes, by default the same: `data.text.Texts.sizes` has both.

        Raises:
          ValueError: fields that contradict each other, named.
        """
        rate, per_token = config["audio"]["sample_rate"], config["audio"]["samples_per_token"]
        mel = config_of(MelConfig, {"sample_rate": rate, **config["mel"]})
        front_end = config_of(MelConfig, {"sample_rate": rate, **config["tokenizer_mel"]})
        kernel = kernels.choose(config["attention"])
        model = {name: {**part, "attention": kernel} for name, part in config["model"].items()}
        tokenizer = config_of(TokenizerConfig, model["tokenizer"])
        if per_token % mel.hop:
            raise ValueError(f"audio.samples_per_token {per_token} is not a multiple of mel.hop {mel.hop}")
        if per_token != front_end.hop * 2**tokenizer.halvings:
            raise ValueError(
                f"the tokenizer makes a token of {front_end.hop} x 2^{tokenizer.halvings} samples, "
                f"but audio.samples_per_token is {per_token}"
            )
        dtype = compute_dtype(config["dtype"])
        return cls(
            tokenizer=Tokenizer(tokenizer, dtype),
            llm=LLM(config_of(LLMConfig, model["llm"]), text_vocab, tokenizer.vocab, dtype),
            fm=FlowModel(config_of(FlowConfig, model["fm"]), mel.n_mels, per_token // mel.hop, dtype),
            rm=RewardModel(config_of(RewardConfig, model["rm"]), rm_vocab or text_vocab, dtype),
            mel=mel,
            front_end=front_end,
            samples_per_token=per_token,
        )

    @property
    def frames_per_token(self) -> int:
        return self.samples_per_token // self.mel.hop

    @property
    def vocab(self) -> int:
        return self.tokenizer.config.vocab

    @property
    def dtype(self) -> Any:
        return self.tokenizer.dtype

    def terms(self) -> dict[str, losses.Term]:
        return losses.terms(self.rm.config.tasks, speaker=self.rm.config.speaker > 0)

    def forward(
        self,
        params: Params,
        batch: Batch,
        streams: Streams,
        plan: Plan,
        needs: tuple[str, ...],
        step: Int[Array, ""] | int,
        total: int,
    ) -> Outputs:
        return forward(self, params, batch, streams, plan, needs, step, total)

    def counts(self, out: Outputs) -> Metrics:
        return {"usage": statistics.batch_histogram(out["tokens"].ids, out["mask"], self.vocab)}

    def describe(self, counts: Metrics) -> Metrics:
        return statistics.usage_metrics(counts["usage"])

    def mels(
        self, wav: Float[Array, "B W"], wav_len: Int[Array, " B"]
    ) -> tuple[Float[Array, "B Mt Ft"], Float[Array, "B M F"]]:
        """The tokenizer's mel and the mel that the FM predicts, normalised; computed once where they are the same."""
        target = log_mel(wav, self.mel, wav_len)
        heard = target if self.front_end == self.mel else log_mel(wav, self.front_end, wav_len)
        return normalize(heard, self.front_end), normalize(target, self.mel)

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters of the four groups, boxed with their logical axis names (`nn.unbox` strips them)."""
        keys = dict(zip(GROUPS, jax.random.split(key, len(GROUPS)), strict=True))
        size, per_token = 2, self.frames_per_token
        c = self.tokenizer.config
        heard = jnp.zeros((1, size * 2**c.halvings, self.front_end.n_mels))
        mask, mel_mask = jnp.ones((1, size), bool), jnp.ones((1, size * per_token), bool)
        q, ids = jnp.zeros((1, size, c.q_width)), jnp.zeros((1, size), jnp.int32)
        codebook = jnp.zeros((c.vocab, c.q_width))
        one = jnp.ones(1, jnp.int32)
        mel = jnp.zeros((1, size * per_token, self.mel.n_mels))
        hidden = jnp.zeros((1, size, self.llm.config.width)) if self.fm.config.cond_hidden else None
        speaker = jnp.zeros((1, self.fm.config.speaker))
        arguments: dict[str, tuple] = {
            "tokenizer": (heard, jnp.ones(heard.shape[:2], bool)),
            "llm": (ids, one, q, ids, one, codebook),
            "fm": (mel, jnp.zeros(1), q, mel, mel_mask, speaker, one > 0, mask, hidden),
            "rm": (q, mask),
        }
        return {g: getattr(self, g).init(keys[g], *arguments[g])["params"] for g in GROUPS}

    @functools.cache  # noqa: B019, a system is small and lives as long as the program
    def abstract(self) -> Params:
        """Shapes and dtypes of `init`, boxed, without computing anything."""
        return jax.eval_shape(self.init, jax.eval_shape(lambda: jax.random.key(0)))

    def unboxed(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters as plain arrays."""
        return nn.unbox(self.init(key))
