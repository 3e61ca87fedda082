"""Every loss term of the system: `(Outputs, Batch) -> Sum(num, den)`, in one dict. Nothing else computes a loss.

A term divides by its own count over the whole batch; counts do not depend on parameters, so gradients of parts of a
batch add up exactly.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from e2etts_jax.stages import Plan
from e2etts_jax.types import Batch, Outputs, Sum, length_mask


@dataclasses.dataclass(frozen=True)
class Term:
    """A loss term.

    Attributes:
      fn: computes it.
      needs: the outputs it reads, by the names that `forward.forward` lists.
      groups: plan -> groups that its gradient reaches.
    """

    fn: Callable[[Outputs, Batch], Sum]
    needs: tuple[str, ...]
    groups: Callable[[Plan], frozenset[str]]


def _sum(value: Float[Array, "*b"], mask: Bool[Array, "*b"]) -> Sum:
    # `where`, not a product: what lies under the mask may be inf
    return Sum(jnp.sum(jnp.where(mask, value, 0.0)), jnp.sum(mask.astype(jnp.float32)))


def lm_ce(out: Outputs, batch: Batch) -> Sum:
    """Next-token cross-entropy over speech tokens and the end, nats a token (PAPER: L_LM)."""
    return _sum(out["lm"].loss, out["lm"].mask)


def lm_z(out: Outputs, batch: Batch) -> Sum:
    """Squared log of the LLM's softmax denominator: keeps logits from drifting (z-loss, PaLM; usual weight 1e-4)."""
    return _sum(jnp.square(out["lm"].log_z), out["lm"].mask)


def kl_ref(out: Outputs, batch: Batch) -> Sum:
    """KL(LLM || reference LLM) over the vocabulary at every step (DiffRO), nats a token."""
    return _sum(out["kl"], out["lm"].mask)


def flow_match(out: Outputs, batch: Batch) -> Sum:
    """Squared error of the velocity, mean over bins, over frames outside the prompt (PAPER: L_FM)."""
    flow = out["flow"]
    return _sum(jnp.mean(jnp.square(flow.velocity - flow.target), axis=-1), flow.mask)


def recon_mel(out: Outputs, batch: Batch) -> Sum:
    """L1 between the mel that the unrolled solver reaches and the recorded one (normalised mel units)."""
    recon = out["recon"]
    return _sum(jnp.mean(jnp.abs(recon.mel - recon.target), axis=-1), recon.mask)


def ctc(
    logits: Float[Array, "B N V"], frames: Int[Array, " B"], text: Int[Array, "B S"], text_len: Int[Array, " B"]
) -> Float[Array, " B"]:
    """CTC loss of each row, nats; text id 0 is the blank. Huge where a text needs more frames than there are."""
    late, unused = ~length_mask(frames, logits.shape[1]), ~length_mask(text_len, text.shape[1])
    return optax.losses.ctc_loss(logits, late.astype(jnp.float32), text, unused.astype(jnp.float32), blank_id=0)


def _read(rm: Any, batch: Batch) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
    """CTC loss of each row, nats, and which rows have as many frames as their text needs: else no model could read."""
    text, text_len = batch.written
    valid = length_mask(text_len, text.shape[1])
    repeats = jnp.sum((text[:, 1:] == text[:, :-1]) & valid[:, 1:], axis=1)
    enough = rm.frames >= text_len + repeats
    return ctc(rm.heads["asr"], rm.frames, text, text_len), enough


def rm_ctc(out: Outputs, batch: Batch) -> Sum:
    """Recognition loss of the RM on what the plan gives it, nats a character (PAPER: L_ASR; -log P_ASR of DiffRO).

    Characters are the text ids that it is to write. A recording too short for its text counts in neither sum.
    """
    losses, enough = _read(out["rm"], batch)
    counted, written = enough & (batch.wav_len > 0), batch.written[1]
    return Sum(jnp.sum(jnp.where(counted, losses, 0.0)), jnp.sum(jnp.where(counted, written, 0)).astype(jnp.float32))


def rm_ctc_sampled(out: Outputs, batch: Batch) -> Sum:
    """The same on sequences the LLM sampled freely; CTC needs no alignment with the recording.

    A sequence too short for its text was not said, and is charged as if each character were guessed: log V nats.
    """
    losses, enough = _read(out["rm_sampled"], batch)
    asked, written = batch.wav_len > 0, batch.written[1]
    guessed = written * jnp.log(out["rm_sampled"].heads["asr"].shape[-1])
    return Sum(
        jnp.sum(jnp.where(asked, jnp.where(enough, losses, guessed), 0.0)),
        jnp.sum(jnp.where(asked, written, 0)).astype(jnp.float32),
    )


def rm_spk(out: Outputs, batch: Batch) -> Sum:
    """1 - cosine between the speaker head and the x-vector, over rows that have one (PAPER: L_SPK)."""
    head, target = out["rm"].heads["spk"], batch.speaker
    squares = jnp.sum(jnp.square(head), axis=-1) * jnp.sum(jnp.square(target), axis=-1)
    cosine = jnp.sum(head * target, axis=-1) * jax.lax.rsqrt(squares + 1e-12)  # finite gradient at a zero head
    return _sum(1.0 - cosine, batch.speaker_mask & (batch.wav_len > 0))


def rm_task(name: str) -> Callable[[Outputs, Batch], Sum]:
    """Cross-entropy of a labelled task over rows that carry the label (PAPER: L_SER for emotion)."""

    def fn(out: Outputs, batch: Batch) -> Sum:
        labels = batch.labels.get(name)
        if labels is None:
            return Sum(jnp.float32(0), jnp.float32(0))
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(out["rm"].heads[name], jnp.maximum(labels, 0))
        return _sum(losses, (labels >= 0) & (batch.wav_len > 0))

    return fn


def _lm_groups(plan: Plan) -> frozenset[str]:
    return frozenset({"llm"} | ({"tokenizer"} if plan.lm_into_tokenizer else set()))


def _through(way: str, plan: Plan) -> frozenset[str]:
    """Groups that made what travels along `way`. Drawn tokens become `q` through the tokenizer's codebook."""
    return {
        "codes": frozenset({"tokenizer"}),
        "codes_detached": frozenset(),
        "llm_gumbel": frozenset({"llm", "tokenizer"}),
        "llm_hidden": _lm_groups(plan),
    }[way]


def _fm_groups(plan: Plan) -> frozenset[str]:
    return _through(plan.tokens_to_fm, plan) | {"fm"}


def _rm_groups(plan: Plan) -> frozenset[str]:
    return _through(plan.tokens_to_rm, plan) | {"rm"}


def terms(tasks: tuple[tuple[str, int], ...] = (), speaker: bool = True) -> dict[str, Term]:
    """All terms of a reward model with these heads; one `rm_<task>` for each labelled task."""
    return {
        "lm_ce": Term(lm_ce, ("lm",), _lm_groups),
        "lm_z": Term(lm_z, ("lm",), _lm_groups),
        "kl_ref": Term(kl_ref, ("lm", "lm_ref", "kl"), _lm_groups),
        "flow_match": Term(flow_match, ("flow",), _fm_groups),
        "recon_mel": Term(recon_mel, ("recon",), _fm_groups),
        "rm_ctc": Term(rm_ctc, ("rm",), _rm_groups),
        **({"rm_spk": Term(rm_spk, ("rm",), _rm_groups)} if speaker else {}),
        "rm_ctc_sampled": Term(rm_ctc_sampled, ("rm_sampled",), lambda plan: frozenset({"rm", "llm"})),
        **{f"rm_{name}": Term(rm_task(name), ("rm",), _rm_groups) for name, _ in tasks},
    }
