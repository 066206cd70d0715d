"""Adding up partial attentions: the log-sum-exp merge.

Owns the one formula by which outputs over disjoint sets of keys become the output over their union. It does
not compute attention; schedules call it between hops. Its gradient is not needed: a schedule's custom
gradient works from the merged log-sum-exp (`attend`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention.base import BlockOut


def merge(first: BlockOut, second: BlockOut) -> BlockOut:
    """Attention over the union of two disjoint key sets, in at least float32.

    A query that neither set serves keeps a zero output and minus infinity, and nothing overflows.
    Source: the online softmax of FlashAttention (arXiv:2205.14135, section 3.1).
    """
    wide = jnp.promote_types(first.lse.dtype, jnp.float32)
    one, two = first.lse.astype(wide), second.lse.astype(wide)
    lse = jnp.logaddexp(one, two)
    return BlockOut(first.out.astype(wide) * _share(one, lse) + second.out.astype(wide) * _share(two, lse), lse)


def merge_over(part: BlockOut, axis: str) -> BlockOut:
    """`merge` over all shards of a mesh axis, inside `shard_map`: one maximum and two sums on the wire."""
    top = jax.lax.pmax(part.lse, axis)
    mass = jnp.exp(part.lse - jnp.where(jnp.isneginf(top), 0, top))
    total = jax.lax.psum(mass, axis)
    lse = jnp.where(total == 0, -jnp.inf, top + jnp.log(jnp.where(total == 0, 1, total)))
    return BlockOut(jax.lax.psum(part.out * _share(part.lse, lse), axis), lse)


def _share(part: Float[Array, "B H T"], whole: Float[Array, "B H T"]) -> Float[Array, "B T H 1"]:
    """The fraction of the softmax mass `whole` that lies in `part`; 0 where there is no mass at all."""
    weight = jnp.exp(part - jnp.where(jnp.isneginf(whole), 0, whole))
    return weight.transpose(0, 2, 1)[..., None]
