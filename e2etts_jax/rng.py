"""Named random streams: one run key, folded with the step, then with a stable name, then with the row.

A new stream reshuffles no other; a row's noise depends on its place in the batch alone, so it is the same under any
number of microbatches or devices.
"""

import zlib
from collections.abc import Callable

import flax.struct
import jax
from jaxtyping import Array, Int, PRNGKeyArray


@flax.struct.dataclass
class Streams:
    """The random streams of one step on the rows `row`."""

    key: PRNGKeyArray
    row: Int[Array, " B"]

    def rows(self, name: str) -> PRNGKeyArray:
        """One key a row, [B]."""
        stream = jax.random.fold_in(self.key, zlib.crc32(name.encode()))
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(stream, self.row)

    def draw(self, name: str, shape: tuple[int, ...], kind: Callable[..., Array] = jax.random.normal) -> Array:
        """Independent draws [B, *shape] of `kind` (`jax.random.normal`, `uniform`, `gumbel`).

        Longer shapes extend the leading axis without changing the draws before it.
        """
        return jax.vmap(lambda key: kind(key, shape))(self.rows(name))

    def choose(self, name: str, options: tuple[int, ...]) -> Int[Array, ""]:
        """One of the options for all rows of the step."""
        key = jax.random.fold_in(self.key, zlib.crc32(name.encode()))
        return jax.random.choice(key, jax.numpy.array(options))
