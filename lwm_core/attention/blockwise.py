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

    - `block_q`, `block_k`: the most queries and keys in a tile; short rows use shorter blocks.
    """

    block_q: int = eqx.field(static=True, default=512)
    block_k: int = eqx.field(static=True, default=512)

    def __check_init__(self):
        for name, value in (("block_q", self.block_q), ("block_k", self.block_k)):
            if value < 1:
                raise ValueError(f"BlockwiseKernel({name}={value}): give a positive number of tokens, as 512.")

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
        tiling = Tiling.of(q.shape, k.shape, self.block_q, self.block_k)
        scene = _Scene.of(tiling, q_at, kv_at, rule)
        visits = _Visits.over_keys(scene)
        wide = jnp.promote_types(q.dtype, jnp.float32)
        q_tiles, k_tiles, v_tiles = tiling.cut(q, tiling.q), tiling.cut(k, tiling.k), tiling.cut(v, tiling.k)

        def tile(n):
            stack, i = n // tiling.q.count, n % tiling.q.count
            row = tiling.row_tile(stack)
            query = q_tiles[n].astype(wide) * q.shape[-1] ** -0.5

            def visit(j, carry, partial):
                at = stack * tiling.k.count + j
                scores = jnp.einsum("bgqd,bgkd->bgqk", query, k_tiles[at].astype(wide))
                if partial:
                    scores = scene.hide(scores, row, i, j)
                return carry.add(scores, v_tiles[at].astype(wide))

            return visits.run(row, i, visit, _Softmax.start(query)).result()

        out, lse = jax.lax.map(tile, jnp.arange(tiling.stacks * tiling.q.count, dtype=jnp.int32))
        return BlockOut(tiling.join(out, tiling.q), tiling.join(lse, tiling.q)[..., 0].transpose(0, 2, 1))

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
        tiling = Tiling.of(q.shape, k.shape, self.block_q, self.block_k)
        scene = _Scene.of(tiling, q_at, kv_at, rule)
        visits = _Visits.over_queries(scene)
        wide = jnp.promote_types(q.dtype, jnp.float32)
        queries = _Queries.of(tiling, q, dout, lse, delta)
        k_tiles, v_tiles = tiling.cut(k, tiling.k), tiling.cut(v, tiling.k)
        scale = q.shape[-1] ** -0.5

        def tile(dq, n):
            stack, j = n // tiling.k.count, n % tiling.k.count
            row = tiling.row_tile(stack)
            key = k_tiles[n].astype(wide) * scale
            across = key.swapaxes(-1, -2), v_tiles[n].astype(wide).swapaxes(-1, -2)
            key_across, value_across = jax.lax.optimization_barrier(across)

            def visit(i, carry, partial):
                dq, dk, dv = carry
                at = stack * tiling.q.count + i
                query, query_across, dout, dout_across, lse, delta = queries.tile(at, wide)
                scores = jnp.einsum("bgqd,bgdk->bgqk", query, key_across)
                if partial:
                    scores = scene.hide(scores, row, i, j)
                weights = jnp.exp(scores - lse)
                dscores = weights * (jnp.einsum("bgqd,bgdk->bgqk", dout, value_across) - delta)
                dv += jnp.einsum("bgdq,bgqk->bgdk", dout_across, weights)
                dk += jnp.einsum("bgdq,bgqk->bgdk", query_across, dscores)
                return dq.at[at].add(jnp.einsum("bgqk,bgkd->bgqd", dscores, key)), dk, dv

            zero = jnp.zeros(key_across.shape, wide)
            dq, dk, dv = visits.run(row, j, visit, (dq, zero, zero))
            return dq, (dk.swapaxes(-1, -2) * scale, dv.swapaxes(-1, -2))

        steps = jnp.arange(tiling.stacks * tiling.k.count, dtype=jnp.int32)
        dq, (dk, dv) = jax.lax.scan(tile, jnp.zeros(queries.q.shape, wide), steps)
        return BlockGrads(tiling.join(dq, tiling.q), tiling.join(dk, tiling.k), tiling.join(dv, tiling.k))


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
    """What the backward pass reads of each query tile.

    q and dout are stored in both orientations: a transpose inside the loop would cost more than its GEMM.
    """

    q: Float[Array, "N rows heads M D"]
    q_across: Float[Array, "N rows heads D M"]
    dout: Float[Array, "N rows heads M D"]
    dout_across: Float[Array, "N rows heads D M"]
    lse: Float[Array, "N rows heads M 1"]
    delta: Float[Array, "N rows heads M 1"]

    @staticmethod
    def of(tiling: Tiling, q: Array, dout: Array, lse: Array, delta: Array) -> "_Queries":
        q, dout = tiling.cut(q, tiling.q), tiling.cut(dout, tiling.q)
        # A query that sees nothing has lse -inf; +inf makes each of its weights exp(score - inf) = 0.
        lse = jnp.where(jnp.isneginf(lse), jnp.inf, lse)
        columns = [x.transpose(0, 2, 1)[..., None] for x in (lse, delta)]
        stats = tiling.cut(columns[0], tiling.q, jnp.inf), tiling.cut(columns[1], tiling.q)
        return _Queries(q, q.swapaxes(-1, -2), dout, dout.swapaxes(-1, -2), *stats)

    def tile(self, at, wide) -> tuple[Array, ...]:
        return tuple(x[at].astype(wide) for x in self)


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
        q_at, kv_at = (TokenCoords(*(x[row, block] for x in at)) for at, block in ((self.q_at, i), (self.kv_at, j)))
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
