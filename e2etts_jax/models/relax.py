"""Relaxed sampling of tokens, so that gradients of what is done with a token reach the logits it was drawn from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gumbel_softmax(
    logits: Float[Array, "*b V"], noise: Float[Array, "*b V"], temperature: Float[Array, ""] | float, *, hard: bool
) -> Float[Array, "*b V"]:
    """Gumbel-softmax sample (Jang et al. 2017, arXiv 1611.01144) in fp32.

    Args:
      logits: unnormalised log probabilities.
      noise: standard Gumbel noise of the same shape; zeros give the plain (or straight-through argmax) softmax.
      temperature: > 0; small = near one-hot, large gradients.
      hard: straight-through: forward the one-hot of the arg-max, backward the soft sample.
    """
    soft = jax.nn.softmax((logits.astype(jnp.float32) + noise) / temperature, axis=-1)
    if not hard:
        return soft
    one_hot = jax.nn.one_hot(jnp.argmax(soft, axis=-1), logits.shape[-1], dtype=soft.dtype)
    return soft + jax.lax.stop_gradient(one_hot - soft)
