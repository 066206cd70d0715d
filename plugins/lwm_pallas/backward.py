"""The two backward kernels: dQ over key blocks, dK and dV over query blocks.

Owns their bodies and calls. Both work the scores out again from the global log-sum-exp, so nothing of the size
of the score matrix is ever kept. Source: FlashAttention-2 (arXiv:2307.08691, algorithm 2).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from lwm_core.attention import BlockGrads, TokenCoords, Visibility
from lwm_pallas.operands import (
    FULL,
    PARTIAL,
    Grid,
    column,
    dot,
    heads_first,
    hide,
    planes,
    plans,
    tokens_first,
)


def backward(
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    lse: Float[Array, "B H T"],
    delta: Float[Array, "B H T"],
    dout: Float[Array, "B T H D"],
    *,
    blocks: tuple[int, int],
    interpret: bool,
) -> BlockGrads:
    """Gradients in float32."""
    grid = Grid.of(q.shape, k.shape, *blocks)
    by_query, by_key = plans(grid, q_at, kv_at, rule)
    # A query that sees nothing has lse -inf; +inf makes each of its weights exp(score - inf) = 0.
    stats = column(jnp.where(jnp.isneginf(lse), jnp.inf, lse), grid.block_q, jnp.inf), column(delta, grid.block_q)
    coords = planes(q_at, rule, grid.block_q).swapaxes(1, 2), planes(kv_at, rule, grid.block_k)
    query, dout = heads_first(q, grid.block_q), heads_first(dout.astype(q.dtype), grid.block_q)
    operands = query, *(heads_first(x, grid.block_k) for x in (k, v)), dout, *stats, *coords
    fields = coords[0].shape[2]
    dq = _dq_call(grid, rule, fields, interpret)(*by_query, *operands)
    dk, dv = _dkv_call(grid, rule, fields, interpret)(*by_key, *operands)
    keys = k.shape[1]
    return BlockGrads(tokens_first(dq, q.shape[1]), tokens_first(dk, keys), tokens_first(dv, keys))


def _dq_call(grid: Grid, rule: Visibility, fields: int, interpret: bool):
    def place(b, h, i, j, state, fetch):
        return b, h, i, grid.group_of(h), fetch[(b * grid.count_q + i) * grid.count_k + j]

    return pl.pallas_call(
        partial(_dq_body, grid=grid, rule=rule),
        out_shape=jax.ShapeDtypeStruct((grid.batch, grid.heads, grid.count_q * grid.block_q, grid.dim), jnp.float32),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.heads, grid.count_q, grid.count_k),
            in_specs=_in_specs(grid, fields, place),
            out_specs=pl.BlockSpec((None, None, grid.block_q, grid.dim), lambda b, h, i, j, *_: (b, h, i, 0)),
            scratch_shapes=[pltpu.VMEM((grid.block_q, grid.dim), jnp.float32)],
        ),
        compiler_params=_IN_ORDER,
        interpret=interpret,
    )


def _dkv_call(grid: Grid, rule: Visibility, fields: int, interpret: bool):
    """The innermost dimension runs over the query heads of a key head, and over each head's query blocks."""

    def place(b, g, j, n, state, fetch):
        head, i = grid.query_of(g, n)
        return b, head, fetch[(b * grid.count_k + j) * grid.count_q + i], g, j

    grads = jax.ShapeDtypeStruct((grid.batch, grid.groups, grid.count_k * grid.block_k, grid.dim), jnp.float32)
    out = pl.BlockSpec((None, None, grid.block_k, grid.dim), lambda b, g, j, n, *_: (b, g, j, 0))
    return pl.pallas_call(
        partial(_dkv_body, grid=grid, rule=rule),
        out_shape=[grads, grads],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.groups, grid.count_k, grid.ratio * grid.count_q),
            in_specs=_in_specs(grid, fields, place),
            out_specs=[out, out],
            scratch_shapes=[pltpu.VMEM((grid.block_k, grid.dim), jnp.float32)] * 2,
        ),
        compiler_params=_IN_ORDER,
        interpret=interpret,
    )


_IN_ORDER = pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary"))


def _in_specs(grid: Grid, fields: int, place) -> list[pl.BlockSpec]:
    """q, k, v, dout, lse, delta and the two coordinate planes, where `place` says for a grid point:
    (row, query head, query block, key head, key block)."""

    def of_queries(width: int) -> pl.BlockSpec:
        def index(*point):
            row, head, i, _, _ = place(*point)
            return row, head, i, 0

        return pl.BlockSpec((None, None, grid.block_q, width), index)

    def of_keys(*point):
        row, _, _, head, j = place(*point)
        return row, head, j, 0

    def of_query_coords(*point):
        row, _, i, _, _ = place(*point)
        return row, i, 0

    def of_key_coords(*point):
        row, _, _, _, j = place(*point)
        return row, 0, j

    queries, stat = of_queries(grid.dim), of_queries(1)
    keys = pl.BlockSpec((None, None, grid.block_k, grid.dim), of_keys)
    coords = pl.BlockSpec((None, grid.block_q, fields), of_query_coords)
    return [queries, keys, keys, queries, stat, stat, coords, pl.BlockSpec((None, fields, grid.block_k), of_key_coords)]


def _weights(grid: Grid, rule: Visibility, masked: bool, q, k, v, dout, lse, delta, q_at, kv_at):
    """(weights, gradient of the scores) of one block pair, both float32 [block_q, block_k]."""
    scores = dot(q[...], k[...], (1, 1)) * grid.dim**-0.5
    if masked:
        scores = hide(scores, q_at[...], kv_at[...], rule)
    weights = jnp.exp(scores - lse[...])
    return weights, weights * (dot(dout[...], v[...], (1, 1)) - delta[...])


def _dq_body(state, fetch, q, k, *rest, grid: Grid, rule: Visibility):
    *operands, dq, total = rest
    b, i, j = pl.program_id(0), pl.program_id(2), pl.program_id(3)

    @pl.when(j == 0)
    def start():
        total[...] = jnp.zeros_like(total)

    def visit(masked: bool):
        _, dscores = _weights(grid, rule, masked, q, k, *operands)
        total[...] += dot(dscores.astype(k.dtype), k[...], (1, 0))

    found = state[(b * grid.count_q + i) * grid.count_k + j]
    pl.when(found == PARTIAL)(partial(visit, True))
    pl.when(found == FULL)(partial(visit, False))

    @pl.when(j == grid.count_k - 1)
    def finish():
        dq[...] = total[...] * grid.dim**-0.5


def _dkv_body(state, fetch, q, k, v, dout, *rest, grid: Grid, rule: Visibility):
    *operands, dk, dv, total_k, total_v = rest
    b, j, n = pl.program_id(0), pl.program_id(2), pl.program_id(3)

    @pl.when(n == 0)
    def start():
        total_k[...] = jnp.zeros_like(total_k)
        total_v[...] = jnp.zeros_like(total_v)

    def visit(masked: bool):
        weights, dscores = _weights(grid, rule, masked, q, k, v, dout, *operands)
        total_v[...] += dot(weights.astype(dout.dtype), dout[...], (0, 0))
        total_k[...] += dot(dscores.astype(q.dtype), q[...], (0, 0))

    _, i = grid.query_of(pl.program_id(1), n)
    found = state[(b * grid.count_k + j) * grid.count_q + i]
    pl.when(found == PARTIAL)(partial(visit, True))
    pl.when(found == FULL)(partial(visit, False))

    @pl.when(n == grid.ratio * grid.count_q - 1)
    def finish():
        dk[...] = total_k[...] * grid.dim**-0.5
        dv[...] = total_v[...]
