"""The blockwise kernel: FlashAttention as two scans in pure JAX.

Owns a block kernel whose memory grows with the block and not with the row, and whose loops visit only blocks
that hold a visible pair, forward and backward. It is the default wherever there is no accelerator and is tuned
for XLA on CPU: every product is a plain batched GEMM of contiguous tiles, because XLA:CPU transposes anything
else inside the loop. It knows nothing of devices; `tiles` owns the cutting, `extent` the skipping.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from lwm_core.attention.base import AbstractBlockKernel, AttentionSite, BlockGrads, BlockOut, Support
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.attention.extent import Extent, visible_blocks
from lwm_core.attention.tiles import Tiling


class BlockwiseKernel(AbstractBlockKernel):
    """Softmax attention tile by tile, statistics in float32 (float64 for float64 inputs).

    Any lengths, any dtype of floats, grouped query heads without repeating keys. Memory beyond inputs and
    outputs is a few tiles. Source: FlashAttention-2 (arXiv:2307.08691, algorithms 1 and 2).

    **Arguments:**

    - `block_q`, `block_k`: the most queries and keys in a tile; short rows use shorter blocks;
    - `tile_scores`: the most scores in a tile, which takes more heads and rows while they fit; None is 2**20,
      shared out where several simulated devices live on one CPU.
    """

    block_q: int = eqx.field(static=True, default=512)
    block_k: int = eqx.field(static=True, default=512)
    tile_scores: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        options = {"block_q": self.block_q, "block_k": self.block_k, "tile_scores": self.tile_scores}
        for name, value in options.items():
            if value is not None and value < 1:
                raise ValueError(f"BlockwiseKernel({name}={value}): give a positive number, as 512.")

    def supports(self, site: AttentionSite) -> Support:
        if site.heads % site.kv_heads:
            return Support(False, f"{site.heads} query heads do not divide by {site.kv_heads} key heads.")
        return Support(True)

    def forward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> BlockOut:
        tiling = Tiling.of(q.shape, k.shape, self.block_q, self.block_k, self.tile_scores)
        scene = _Scene.of(tiling, q_at, kv_at, rule)
        visits = _Visits.over_keys(scene)
        wide = jnp.promote_types(q.dtype, jnp.float32)
        q, k, v = tiling.padded(q, tiling.q), tiling.padded(k, tiling.k), tiling.padded(v, tiling.k)

        def tile(stack, i, carry):
            out, lse = carry
            row = tiling.row_tile(stack)
            query = tiling.take(q, tiling.q, stack, i).astype(wide) * q.shape[-1] ** -0.5

            def visit(j, carry, partial):
                key, value = (tiling.take(x, tiling.k, stack, j).astype(wide) for x in (k, v))
                scores = jnp.einsum("bgqd,bgkd->bgqk", query, key)
                if partial:
                    scores = scene.hide(scores, row, i, j)
                return carry.add(scores, value)

            part, stat = visits.run(row, i, visit, _Softmax.start(query)).result()
            return tiling.put(out, part, tiling.q, stack, i), tiling.put_stat(lse, stat, stack, i)

        empty = jnp.zeros(q.shape, wide), jnp.zeros((q.shape[0], q.shape[2], q.shape[1]), wide)
        out, lse = tiling.over(tiling.q, tile, empty)
        return BlockOut(out[:, : tiling.q.length], lse[..., : tiling.q.length])

    def backward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
        lse: Float[Array, "B H T"],
        delta: Float[Array, "B H T"],
        dout: Float[Array, "B T H D"],
    ) -> BlockGrads:
        tiling = Tiling.of(q.shape, k.shape, self.block_q, self.block_k, self.tile_scores)
        scene = _Scene.of(tiling, q_at, kv_at, rule)
        visits = _Visits.over_queries(scene)
        wide = jnp.promote_types(q.dtype, jnp.float32)
        queries = _Queries.of(tiling, q, dout, lse, delta)
        k, v = tiling.padded(k, tiling.k), tiling.padded(v, tiling.k)
        scale = q.shape[-1] ** -0.5

        def tile(stack, j, carry):
            dq, dk_all, dv_all = carry
            row = tiling.row_tile(stack)
            key = tiling.take(k, tiling.k, stack, j).astype(wide) * scale
            key_across, value_across = _across(key, tiling.take(v, tiling.k, stack, j).astype(wide))

            def visit(i, carry, partial):
                dq, dk, dv = carry
                query, dout, lse, delta = queries.tile(stack, i, wide)
                query_across, dout_across = _across(query, dout)
                scores = jnp.einsum("bgqd,bgdk->bgqk", query, key_across)
                if partial:
                    scores = scene.hide(scores, row, i, j)
                weights = jnp.exp(scores - lse)
                dscores = weights * (jnp.einsum("bgqd,bgdk->bgqk", dout, value_across) - delta)
                dv += jnp.einsum("bgdq,bgqk->bgdk", dout_across, weights)
                dk += jnp.einsum("bgdq,bgqk->bgdk", query_across, dscores)
                sum_before = tiling.take(dq, tiling.q, stack, i)
                sum_after = sum_before + jnp.einsum("bgqk,bgkd->bgqd", dscores, key)
                return tiling.put(dq, sum_after, tiling.q, stack, i), dk, dv

            zero = jnp.zeros(key_across.shape, wide)
            dq, dk, dv = visits.run(row, j, visit, (dq, zero, zero))
            dk, dv = dk.swapaxes(-1, -2) * scale, dv.swapaxes(-1, -2)
            return dq, tiling.put(dk_all, dk, tiling.k, stack, j), tiling.put(dv_all, dv, tiling.k, stack, j)

        zeros = tuple(jnp.zeros(x.shape, wide) for x in (queries.q, k, v))
        dq, dk, dv = tiling.over(tiling.k, tile, zeros)
        return BlockGrads(dq[:, : tiling.q.length], dk[:, : tiling.k.length], dv[:, : tiling.k.length])


class _Softmax(NamedTuple):
    """The online softmax of one query tile: numerator, largest score so far, denominator."""

    total: Float[Array, "rows heads M D"]
    top: Float[Array, "rows heads M 1"]
    mass: Float[Array, "rows heads M 1"]

    @staticmethod
    def start(query: Float[Array, "rows heads M D"]) -> "_Softmax":
        # A finite floor in place of -inf keeps exp(-inf - floor) at 0 where a query has seen nothing yet.
        column = jnp.zeros((*query.shape[:-1], 1), query.dtype)
        return _Softmax(jnp.zeros_like(query), column + jnp.finfo(query.dtype).min / 2, column)

    def add(self, scores: Float[Array, "rows heads M b"], value: Float[Array, "rows heads b D"]) -> "_Softmax":
        top = jnp.maximum(self.top, scores.max(axis=-1, keepdims=True))
        weights, fade = jnp.exp(scores - top), jnp.exp(self.top - top)
        total = self.total * fade + jnp.einsum("bgqk,bgkd->bgqd", weights, value)
        return _Softmax(total, top, self.mass * fade + weights.sum(axis=-1, keepdims=True))

    def result(self) -> tuple[Array, Array]:
        empty = self.mass == 0
        mass = jnp.where(empty, 1, self.mass)
        return self.total / mass, jnp.where(empty, -jnp.inf, self.top + jnp.log(mass))


class _Queries(NamedTuple):
    """What the backward pass reads of each query tile, padded to whole blocks."""

    tiling: Tiling
    q: Float[Array, "B M H D"]
    dout: Float[Array, "B M H D"]
    lse: Float[Array, "B H M"]
    delta: Float[Array, "B H M"]

    @staticmethod
    def of(tiling: Tiling, q: Array, dout: Array, lse: Array, delta: Array) -> "_Queries":
        # A query that sees nothing has lse -inf; +inf makes each of its weights exp(score - inf) = 0.
        lse = jnp.where(jnp.isneginf(lse), jnp.inf, lse)
        stats = tiling.padded_stat(lse, jnp.inf), tiling.padded_stat(delta)
        return _Queries(tiling, tiling.padded(q, tiling.q), tiling.padded(dout, tiling.q), *stats)

    def tile(self, stack, i, wide) -> tuple[Array, ...]:
        arrays = (self.tiling.take(x, self.tiling.q, stack, i).astype(wide) for x in (self.q, self.dout))
        return *arrays, *(self.tiling.take_stat(x, stack, i) for x in (self.lse, self.delta))


def _across(*tiles: Array) -> tuple[Array, ...]:
    """The tiles transposed, now: left to itself, XLA on CPU would do it inside the product, at its price."""
    return tuple(jax.lax.optimization_barrier(tuple(x.swapaxes(-1, -2) for x in tiles)))


class _Scene(NamedTuple):
    """What every tile needs to know of visibility: cut coordinates, and the two block decisions."""

    tiling: Tiling
    rule: Visibility
    q_at: tuple[Array, Array]
    kv_at: tuple[Array, Array]
    some: Bool[Array, "N n m"]
    every: Bool[Array, "N n m"]

    @staticmethod
    def of(tiling: Tiling, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> "_Scene":
        q, k = tiling.q, tiling.k
        some, every = visible_blocks(Extent.of(q_at, q.size), Extent.of(kv_at, k.size), rule)
        shape = (tiling.batch // tiling.rows, tiling.rows, q.count, k.count)
        some, every = some.reshape(shape).any(axis=1), every.reshape(shape).all(axis=1)
        return _Scene(tiling, rule, tiling.cut_coords(q_at, q), tiling.cut_coords(kv_at, k), some, every)

    def hide(self, scores: Float[Array, "rows heads M b"], row, i, j) -> Float[Array, "rows heads M b"]:
        """Scores with minus infinity at invisible pairs."""
        tiling = self.tiling
        q_at, kv_at = (TokenCoords(p[row, b], s[row, b]) for (p, s), b in ((self.q_at, i), (self.kv_at, j)))
        seen = self.rule.mask(q_at, kv_at)[:, None, None]
        split = scores.reshape(tiling.rows, tiling.heads, tiling.ratio, tiling.q.size, tiling.k.size)
        return jnp.where(seen, split, -jnp.inf).reshape(scores.shape)


class _Visits(NamedTuple):
    """For every outer block, the inner blocks to visit: wholly visible first, then partly visible ones."""

    order: Int32[Array, "N outer inner"]
    plain: Int32[Array, "N outer"]
    visible: Int32[Array, "N outer"]

    @staticmethod
    def over_keys(scene: _Scene) -> "_Visits":
        return _Visits._of(scene.some, scene.every)

    @staticmethod
    def over_queries(scene: _Scene) -> "_Visits":
        return _Visits._of(scene.some.swapaxes(1, 2), scene.every.swapaxes(1, 2))

    @staticmethod
    def _of(some: Bool[Array, "N outer inner"], every: Bool[Array, "N outer inner"]) -> "_Visits":
        rank = jnp.where(every, 0, jnp.where(some, 1, 2)).astype(jnp.int32)
        order = jnp.argsort(rank, axis=-1).astype(jnp.int32)
        return _Visits(order, every.sum(axis=-1, dtype=jnp.int32), some.sum(axis=-1, dtype=jnp.int32))

    def run(self, row, outer, visit, start):
        """Folds `visit(inner, carry, partial)` over the visible blocks; two loops spare plain blocks the mask."""
        order, plain = self.order[row, outer], self.plain[row, outer]
        carry = jax.lax.fori_loop(0, plain, lambda t, c: visit(order[t], c, False), start)
        return jax.lax.fori_loop(plain, self.visible[row, outer], lambda t, c: visit(order[t], c, True), carry)
