"""Adding up partial attentions by their log-sum-exp.

Owns the one formula by which outputs over disjoint sets of keys become the output over their union. It does
not compute attention; schedules call it between hops, through `accumulator`. Its gradient is not needed: a
schedule's custom gradient works from the merged log-sum-exp (`attend`).
Source: the online softmax of FlashAttention (arXiv:2205.14135, section 3.1).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention.base import AbstractBlockKernel, AbstractRunningKernel, BlockOut


class Running(eqx.Module):
    """A sum of partial attentions under way: numerator, largest log-sum-exp so far, denominator.

    Dividing once at the end keeps the error of many hops that of one. Nothing overflows, and queries that no
    part serves stay at zero and minus infinity.
    """

    total: Float[Array, "B T H D"]
    top: Float[Array, "B H T"]
    mass: Float[Array, "B H T"]

    @staticmethod
    def nothing(q: Float[Array, "B T H D"]) -> "Running":
        """The neutral element for these queries, in at least float32."""
        wide = jnp.promote_types(q.dtype, jnp.float32)
        batch, length, heads, _ = q.shape
        shape = (batch, heads, length)
        return Running(jnp.zeros(q.shape, wide), jnp.full(shape, -jnp.inf, wide), jnp.zeros(shape, wide))

    def add(self, part: BlockOut) -> "Running":
        """With the attention over further keys."""
        top = jnp.maximum(self.top, part.lse.astype(self.top.dtype))
        anchor = _finite(top)
        fade, weight = jnp.exp(self.top - anchor), jnp.exp(part.lse - anchor)
        total = self.total * _column(fade) + part.out.astype(self.total.dtype) * _column(weight)
        return Running(total, top, self.mass * fade + weight)

    def result(self) -> BlockOut:
        """The attention over every key added."""
        mass = jnp.where(self.mass == 0, 1, self.mass)
        return BlockOut(self.total / _column(mass), self.top + jnp.log(mass))


@dataclass(frozen=True)
class Merging:
    """Any block kernel, its blocks added up by `Running`: the terms of `AbstractRunningKernel`."""

    kernel: AbstractBlockKernel

    def start(self, q) -> Running:
        return Running.nothing(q)

    def accumulate(self, running: Running, q, k, v, q_at, kv_at, rule) -> Running:
        return running.add(self.kernel.forward(q, k, v, q_at, kv_at, rule))

    def result(self, running: Running, q) -> BlockOut:
        return running.result()


def accumulator(kernel: AbstractBlockKernel) -> "AbstractRunningKernel | Merging":
    """How a schedule adds up a kernel's blocks: inside the kernel where it can do so, by `Running` elsewhere."""
    return kernel if isinstance(kernel, AbstractRunningKernel) else Merging(kernel)


def merge(first: BlockOut, second: BlockOut) -> BlockOut:
    """Attention over the union of two disjoint key sets, in at least float32."""
    return Running.nothing(first.out).add(first).add(second).result()


def merge_over(part: BlockOut, axis: str) -> BlockOut:
    """`merge` over all shards of a mesh axis, inside `shard_map`: one maximum and two sums on the wire."""
    top = jax.lax.pmax(part.lse, axis)
    weight = jnp.exp(part.lse - _finite(top))
    total = jax.lax.psum(part.out * _column(weight), axis)
    return Running(total, top, jax.lax.psum(weight, axis)).result()


def _finite(top: Float[Array, "B H T"]) -> Float[Array, "B H T"]:
    """A stand-in of 0 where nothing is visible, so that exp(-inf - it) is 0 and not NaN."""
    return jnp.where(jnp.isneginf(top), 0, top)


def _column(stat: Float[Array, "B H T"]) -> Float[Array, "B T H 1"]:
    return stat.transpose(0, 2, 1)[..., None]
