"""The inner product of attention: plain XLA, or fused kernels that never write the score matrix to memory.

`xla` runs everywhere and knows every mask. `splash` is Pallas's for TPUs, `cudnn` NVIDIA's for GPUs since Ampere.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask
from jaxtyping import Array, Bool, Float, Int

NAMES = ("xla", "splash", "cudnn")
KEPT = "attention"  # name of the result for rematerialisation: models.layers.REMAT
LANES, LONGEST_BLOCK = 128, 512
AXES = ("batch", "time", "heads", None)
NEVER = -1e9  # score of what is masked, here and where tokens are drawn


@flax.struct.dataclass
class Chunks:
    """Attention for streaming: a place sees its own chunk and all before it, nothing later.

    Attributes:
      size: places of a chunk; 0 = no chunks, a place sees all.
      sizes: what it may be: fused kernels are compiled for each.
    """

    size: Int[Array, ""] | int
    sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)


def choose(name: str) -> str:
    """Resolves `auto`: what is fastest on the default backend.

    Raises:
      ValueError: neither `auto` nor one of NAMES.
    """
    if name == "auto":
        if jax.default_backend() == "gpu" and float(getattr(jax.devices()[0], "compute_capability", 0)) >= 8:
            return "cudnn"
        return "splash" if jax.default_backend() == "tpu" else "xla"
    if name not in NAMES:
        raise ValueError(f"attention {name!r} is not one of auto, {', '.join(NAMES)}")
    return name


def attend(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B N G K"],
    value: Float[Array, "B N G K"],
    mask: Bool[Array, "B #T N"],  # noqa: F821
    *,
    causal: bool,
    kernel: str,
    chunks: Chunks | None = None,
) -> Float[Array, "B T H K"]:
    """Softmax attention where `mask` is True, and up to a query's own place, counted from the last (`causal`), or up
    to the end of its chunk (`chunks`, with T = N).

    The fused kernels take a mask of keys [B, 1, N] with T = N, and let queries that are masked themselves attend
    elsewhere than `xla` does: nothing may read those.
    """
    fused = kernel != "xla" and mask.shape[1] == 1 and query.shape[1] == key.shape[1]
    if fused and kernel == "splash" and _rows_divide(query.shape[0]):
        out = _each(chunks, functools.partial(_splash, causal=causal), query, key, value, mask[:, 0])
    elif fused and kernel == "cudnn" and query.dtype != jnp.float32:
        out = _each(chunks, functools.partial(_cudnn, causal=causal), query, key, value, mask[:, 0])
    else:
        if chunks is not None:
            mask = mask & _in_chunks(key.shape[1], chunks.size)[None]
        if causal:
            places = jnp.arange(key.shape[1])
            mask = mask & (places[None, None, :] <= places[None, -query.shape[1] :, None])
        out = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], implementation="xla")
    return checkpoint_name(out, KEPT)


def attend_to_cache(
    query: Float[Array, "B T H K"],
    key: Float[Array, "B G N K"],
    value: Float[Array, "B G N K"],
    mask: Bool[Array, "B #T N"],  # noqa: F821
) -> Float[Array, "B T H K"]:
    """Softmax attention where `mask` is True, scores in fp32; keys and values lie as a cache keeps them."""
    batch, size, heads, width = query.shape
    query = query.reshape(batch, size, key.shape[1], -1, width) * width**-0.5
    scores = jnp.einsum("btghk,bgnk->bghtn", query, key, preferred_element_type=jnp.float32)
    share = jax.nn.softmax(jnp.where(mask[:, None, None], scores, NEVER)).astype(query.dtype)
    out = jnp.einsum("bghtn,bgnk->bghtk", share, value)
    return jnp.moveaxis(out, 3, 1).reshape(batch, size, heads, width)


def _in_chunks(places: int, size: Int[Array, ""] | int) -> Any:
    """Which keys each place sees, bool[N, N]; a numpy array where the size is known."""
    chunk = np.arange(places) // ((size or places) if isinstance(size, int) else jnp.where(size == 0, places, size))
    return chunk[None, :] <= chunk[:, None]


def _each(chunks: Chunks | None, fn: Any, *arrays: jax.Array) -> jax.Array:
    """`fn(*arrays, chunk=size)` for the size at hand: a kernel is compiled for its mask."""
    if chunks is None:
        return fn(*arrays, chunk=0)
    which = jnp.argmax(jnp.array(chunks.sizes) == chunks.size)
    return jax.lax.switch(which, [functools.partial(fn, chunk=size) for size in chunks.sizes], *arrays)


def _rows_divide(rows: int) -> bool:
    """Can the rows be shared out over the mesh? Those of an initialisation can't."""
    mesh, axes = jax.sharding.get_abstract_mesh(), nn.logical_to_mesh_axes(AXES)[0] or ()
    sizes = [mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes)] if not mesh.empty else []
    return rows % int(np.prod(sizes, initial=1)) == 0


def _splash(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    valid: Bool[Array, "B N"],
    causal: bool,
    chunk: int = 0,
    interpret: bool = False,
) -> jax.Array:
    """Splash attention, on each device its rows and heads: a kernel is opaque to the partitioner."""
    per_device = functools.partial(_splash_local, causal=causal, chunk=chunk, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return per_device(query, key, value, valid)
    rows = nn.logical_to_mesh_axes(AXES)
    groups = nn.logical_to_mesh_axes(("batch", "time", "kv_heads", None))
    places = (rows, groups, groups, nn.logical_to_mesh_axes(("batch", "time")))
    return jax.shard_map(per_device, in_specs=places, out_specs=rows, check_vma=False)(query, key, value, valid)


def _splash_local(
    query: jax.Array, key: jax.Array, value: jax.Array, valid: jax.Array, causal: bool, chunk: int, interpret: bool
) -> jax.Array:
    size, heads = query.shape[1], query.shape[2]
    padded = -(-size // LANES) * LANES
    block = max(b for b in range(LANES, LONGEST_BLOCK + 1, LANES) if padded % b == 0)
    names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
    sizes: dict[str, Any] = {f"block_{name}": block for name in names}
    shape = (padded, padded)
    kind: splash_mask.Mask = splash_mask.CausalMask(shape) if causal else splash_mask.FullMask(shape)
    if chunk:
        kind = splash_mask.NumpyMask(_in_chunks(padded, chunk))
    kernel = splash_kernel.make_splash_mha_single_device(
        splash_mask.MultiHeadMask([kind] * heads),
        block_sizes=splash_kernel.BlockSizes(**sizes),
        residual_checkpoint_name=KEPT,
        interpret=interpret,
    )
    pad = ((0, 0), (0, padded - size), (0, 0), (0, 0))
    query, key, value = (jnp.pad(x, pad).swapaxes(1, 2) for x in (query * query.shape[-1] ** -0.5, key, value))
    # two segments, what is valid and the rest: each query finds itself in its own, so no row is empty
    segment = jnp.pad(valid, pad[:2]).astype(jnp.int32)
    out = jax.vmap(kernel)(query, key, value, splash_kernel.SegmentIds(segment, segment))
    return out.swapaxes(1, 2)[:, :size]


def _cudnn(
    query: jax.Array, key: jax.Array, value: jax.Array, valid: jax.Array, causal: bool, chunk: int = 0
) -> jax.Array:
    """Flash attention of cuDNN. Outside decoders padding lies at the end, and without chunks lengths say it all."""
    attention = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")
    if not causal and not chunk:
        length = jnp.sum(valid, axis=1, dtype=jnp.int32)
        return attention(query, key, value, query_seq_lengths=length, key_value_seq_lengths=length)
    pad = ((0, 0), (0, query.shape[1] % 2), (0, 0), (0, 0))  # with a mask it wants even lengths
    query, key, value = (jnp.pad(x, pad) for x in (query, key, value))
    mask = jnp.broadcast_to(jnp.pad(valid, pad[:2])[:, None, None, :], (len(valid), 1, query.shape[1], key.shape[1]))
    mask = mask & _in_chunks(key.shape[1], chunk)[None, None] if chunk else mask
    return attention(query, key, value, mask=mask, is_causal=causal)[:, : valid.shape[1]]
