"""What the kernels are fed: padded heads-first arrays, coordinates as planes, and the blocks worth a visit.

Owns everything about a call that XLA prepares before a Pallas kernel runs, and the few operations that all
kernel bodies share. The kernels are in `forward` and `backward`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Shaped

from lwm_core.attention import Extent, TokenCoords, Visibility, visible_blocks


EMPTY, PARTIAL, FULL = 0, 1, 2


class Grid(NamedTuple):
    """Static sizes of a call: key heads, query heads per key head, block lengths and how many of each."""

    batch: int
    groups: int
    ratio: int
    dim: int
    block_q: int
    block_k: int
    count_q: int
    count_k: int

    @staticmethod
    def of(q_shape: tuple[int, ...], k_shape: tuple[int, ...], block_q: int, block_k: int) -> "Grid":
        """Blocks of at most the given lengths; short rows shrink them to a whole number of hardware tiles."""
        (batch, length, heads, dim), (_, keys, groups, _) = q_shape, k_shape
        block_q = min(block_q, -(-length // 16) * 16)
        block_k = min(block_k, -(-keys // 128) * 128)
        counts = -(-length // block_q), -(-keys // block_k)
        return Grid(batch, groups, heads // groups, dim, block_q, block_k, *counts)

    @property
    def heads(self) -> int:
        return self.groups * self.ratio

    def group_of(self, head):
        """The key head that a query head reads. Plain division: Mosaic has no floor of scalars."""
        return jax.lax.div(head, np.int32(self.ratio))

    def query_of(self, group, n):
        """(query head, query block) of the n-th visit to a key head's block."""
        per_head = np.int32(self.count_q)
        return group * self.ratio + jax.lax.div(n, per_head), jax.lax.rem(n, per_head)


class Plan(NamedTuple):
    """Per (row, outer block, inner block), flattened for scalar memory: EMPTY, PARTIAL or FULL, and which
    inner block to have in memory. A block is kept while the next ones are empty, so that nothing is copied for
    them.
    """

    state: Int32[Array, " n"]
    fetch: Int32[Array, " n"]

    @staticmethod
    def of(some: Bool[Array, "B outer inner"], every: Bool[Array, "B outer inner"]) -> "Plan":
        inner = jnp.arange(some.shape[2], dtype=jnp.int32)
        latest = jax.lax.cummax(jnp.where(some, inner, -1), axis=2)
        first = jnp.argmax(some, axis=2, keepdims=True).astype(jnp.int32)
        state = jnp.where(every, FULL, jnp.where(some, PARTIAL, EMPTY)).astype(jnp.int32)
        return Plan(state.reshape(-1), jnp.where(latest < 0, first, latest).reshape(-1))


def plans(grid: Grid, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> tuple[Plan, Plan]:
    """(by query block, by key block): the visits of the forward and dQ kernels, and of the dK/dV kernel."""
    some, every = visible_blocks(Extent.of(q_at, grid.block_q), Extent.of(kv_at, grid.block_k), rule)
    return Plan.of(some, every), Plan.of(some.swapaxes(1, 2), every.swapaxes(1, 2))


def heads_first(x: Shaped[Array, "B T H D"], block: int) -> Shaped[Array, "B H t D"]:
    """Padded to whole blocks, a head's tokens together, as tiles of memory want them."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0))).transpose(0, 2, 1, 3)


def tokens_first(x: Shaped[Array, "B H t D"], length: int) -> Shaped[Array, "B T H D"]:
    """The inverse of `heads_first`."""
    return x.transpose(0, 2, 1, 3)[:, :length]


def column(x: Float[Array, "B H T"], block: int, fill: float = 0) -> Float[Array, "B H t 1"]:
    """One number per query as a column, padded to whole blocks."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block)), constant_values=fill)[..., None]


def planes(at: TokenCoords, rule: Visibility, block: int) -> Int32[Array, "B C t"]:
    """The coordinates that the rule compares: segment, then frame, then position where it needs them.

    Frames are divided here because the vector unit has no integer division.
    """
    wanted = [at.segment]
    if rule.causal_block is not None:
        wanted.append(at.position // rule.causal_block)
    if rule.window is not None:
        wanted.append(at.position)
    stacked = jnp.stack(wanted, axis=1)
    return jnp.pad(stacked, ((0, 0), (0, 0), (0, -stacked.shape[2] % block)))


def hide(
    scores: Float[Array, "q k"], q_at: Int32[Array, "q C"], kv_at: Int32[Array, "C k"], rule: Visibility
) -> Float[Array, "q k"]:
    """Scores with minus infinity where `Visibility.mask` is false, judged by `planes`."""
    pairs = [(q_at[:, c : c + 1], kv_at[c : c + 1, :]) for c in range(q_at.shape[1])]
    mine, theirs = pairs[0]
    visible = (mine == theirs) & (mine != 0)
    if rule.causal_block is not None:
        mine, theirs = pairs[1]
        visible &= theirs <= mine
    if rule.window is not None:
        mine, theirs = pairs[-1]
        visible &= jnp.abs(mine - theirs) < rule.window
    return jnp.where(visible, scores, -jnp.inf)


def dot(x: Float[Array, "m n"], y: Float[Array, "k l"], over: tuple[int, int]) -> Float[Array, "a b"]:
    """The matrix product over these dimensions, summed in float32; float32 inputs keep all of their bits."""
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    dims = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x, y, dims, precision=precision, preferred_element_type=jnp.float32)
