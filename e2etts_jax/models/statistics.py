"""What a batch says about the codes: a histogram that adds over microbatches, and figures made from it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def batch_histogram(ids: Int[Array, "B T"], mask: Bool[Array, "B T"], vocab: int) -> Float[Array, " V"]:
    """How often each code occurs among the valid tokens."""
    return jnp.zeros(vocab).at[ids.reshape(-1)].add(mask.reshape(-1).astype(jnp.float32))


def usage_metrics(histogram: Float[Array, " V"]) -> dict[str, Float[Array, ""]]:
    """Distinct codes and plug-in entropy in bits, of one batch and so bounded by its size."""
    share = histogram / jnp.maximum(jnp.sum(histogram), 1.0)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log2(jnp.where(share > 0, share, 1.0)), 0.0))
    return {"tokens/used": jnp.sum(histogram > 0).astype(jnp.float32), "tokens/entropy": entropy}
