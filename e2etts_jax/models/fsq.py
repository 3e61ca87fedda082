"""Finite scalar quantisation: every dimension rounded to one of a few levels; no codebook to learn, none to collapse.

Source: Mentzer et al. 2023 (arXiv 2309.15505); bounding and ids as in the S3 tokenizer family:
`h = round(0.999 tanh(z))`, `id = sum_j (h_j + 1) 3^j`, 8 dims x 3 levels = 6561 codes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def _check(levels: int) -> int:
    if levels < 3 or levels % 2 == 0:
        raise ValueError(f"FSQ needs an odd number of levels, 3 or more (got {levels}): zero must be a level")
    return (levels - 1) // 2


def grid(dims: int, levels: int = 3) -> np.ndarray:
    """All codes in id order, float32 [levels^dims, dims], values in [-half, half] / half."""
    half = _check(levels)
    ids = np.arange(levels**dims)
    digits = ids[:, None] // levels ** np.arange(dims)[None, :] % levels
    return ((digits - half) / half).astype(np.float32)


def bound(z: Float[Array, "*b Q"], levels: int = 3) -> Float[Array, "*b Q"]:
    """The continuous code before rounding, in (-1, 1)."""
    _check(levels)
    return 0.999 * jnp.tanh(z.astype(jnp.float32))


def quantize(z: Float[Array, "*b Q"], levels: int = 3) -> Float[Array, "*b Q"]:
    """Rounded code with the straight-through gradient: forward the level, backward the gradient of `bound`."""
    half = _check(levels)
    soft = bound(z, levels)
    hard = jnp.round(soft * half) / half
    return soft + jax.lax.stop_gradient(hard - soft)


def ids(codes: Float[Array, "*b Q"], levels: int = 3) -> Int[Array, "*b"]:
    """Token id of each code. Raises nothing: a continuous code gets the id of its nearest level."""
    half = _check(levels)
    digits = jnp.round(jax.lax.stop_gradient(codes) * half).astype(jnp.int32) + half
    return digits @ levels ** jnp.arange(codes.shape[-1])
