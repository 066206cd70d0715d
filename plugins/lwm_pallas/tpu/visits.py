"""Which blocks a kernel visits: per outer block a range of inner blocks, found once by XLA.

Owns the tables that kernels and their index maps read from scalar memory. They grow with the number of blocks
and not with the number of block pairs, so a million tokens on one core fit. A block outside its range is neither
copied nor computed. The pairwise truth stays in `Visibility.mask`.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from lwm_core.attention import Extent, TokenCoords, Visibility, visible_blocks
from lwm_pallas.runs import Runs, by_first_token
from lwm_pallas.tpu.operands import Grid


_START, _STOP, _PLAIN_START, _PLAIN_STOP = range(4)


class Visits(NamedTuple):
    """Tables of one kernel, flattened for scalar memory.

    - `order`: per row, the inner blocks in the order of their first token. Blocks that one query block sees are
      then neighbours in any order of whole blocks, as zigzag's;
    - `bounds`: per row and outer block, `start` and `stop` in that order of what may be visible, and of what is
      visible throughout and needs no mask;
    - `most`: the longest of these ranges, at least 1: the innermost size of the kernel's grid.
    """

    order: Int32[Array, " n"]
    bounds: Int32[Array, " m"]
    most: Int32[Array, ""]

    @staticmethod
    def of(some: Bool[Array, "B outer inner"], every: Bool[Array, "B outer inner"], order: Int32[Array, "B inner"]):
        runs = Runs.of(some, every)
        bounds = jnp.stack(runs, axis=2)
        return Visits(order.reshape(-1), bounds.reshape(-1), jnp.maximum((runs.stop - runs.start).max(), 1))


def by_query(grid: Grid, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> Visits:
    """Key blocks for every query block: the visits of the forward and the dQ kernel."""
    order, keys = by_first_token(Extent.of(kv_at, grid.k.size))
    some, every = visible_blocks(Extent.of(q_at, grid.q.size), keys, rule)
    return Visits.of(some, every, order)


def by_key(grid: Grid, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> Visits:
    """Query blocks for every key block: the visits of the dK/dV kernel."""
    order, queries = by_first_token(Extent.of(q_at, grid.q.size))
    some, every = visible_blocks(queries, Extent.of(kv_at, grid.k.size), rule)
    return Visits.of(some.swapaxes(1, 2), every.swapaxes(1, 2), order)


class Step(eqx.Module):
    """One step of a kernel: the visit `t` of `outer` in `row`, read from the tables."""

    outers: int = eqx.field(static=True)
    inners: int = eqx.field(static=True)

    def inner(self, order, bounds, row, outer, t):
        """The inner block to have in memory; past the range its last one stays, so that nothing is copied."""
        start, stop = (self._bound(bounds, row, outer, n) for n in (_START, _STOP))
        at = jnp.minimum(start + t, jnp.maximum(stop - 1, start))
        return order[row * self.inners + jnp.minimum(at, self.inners - 1)]

    def state(self, bounds, row, outer, t):
        """(masked, plain): whether to compute with the mask, or without it; neither past the range."""
        at = self._bound(bounds, row, outer, _START) + t
        live = at < self._bound(bounds, row, outer, _STOP)
        plain = (at >= self._bound(bounds, row, outer, _PLAIN_START)) & (
            at < self._bound(bounds, row, outer, _PLAIN_STOP)
        )
        return live & ~plain, live & plain

    def _bound(self, bounds, row, outer, which):
        return bounds[(row * self.outers + outer) * 4 + which]
