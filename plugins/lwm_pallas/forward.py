"""The forward kernel: one query block against every visible key block, in on-chip memory.

Owns its body and its call. Grid (row, head, query block, key block), key blocks innermost and in order; the
running output, maximum and sum live in scratch across them.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from lwm_core.attention import BlockOut, TokenCoords, Visibility
from lwm_pallas.operands import FULL, PARTIAL, Grid, dot, heads_first, hide, planes, plans, tokens_first


# Finite, so that exp(-inf - floor) is 0 where a query has seen nothing yet.
_FLOOR = float(jnp.finfo(jnp.float32).min) / 2


def forward(
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    *,
    blocks: tuple[int, int],
    interpret: bool,
) -> BlockOut:
    """Output and log-sum-exp, both float32."""
    grid = Grid.of(q.shape, k.shape, *blocks)
    plan, _ = plans(grid, q_at, kv_at, rule)
    key_arrays = (heads_first(x, grid.block_k) for x in (k, v))
    coords = planes(q_at, rule, grid.block_q).swapaxes(1, 2), planes(kv_at, rule, grid.block_k)
    call = _call(grid, rule, coords[0].shape[2], interpret)
    out, lse = call(*plan, heads_first(q, grid.block_q), *key_arrays, *coords)
    return BlockOut(tokens_first(out, q.shape[1]), lse[:, :, : q.shape[1], 0])


def _call(grid: Grid, rule: Visibility, fields: int, interpret: bool):
    size_q, size_k, dim = grid.block_q, grid.block_k, grid.dim

    def keys_at(b, h, i, j, state, fetch):
        return b, grid.group_of(h), fetch[(b * grid.count_q + i) * grid.count_k + j], 0

    def key_coords_at(b, h, i, j, state, fetch):
        return b, 0, fetch[(b * grid.count_q + i) * grid.count_k + j]

    queries = pl.BlockSpec((None, None, size_q, dim), lambda b, h, i, j, *_: (b, h, i, 0))
    stats = pl.BlockSpec((None, None, size_q, 1), lambda b, h, i, j, *_: (b, h, i, 0))
    keys = pl.BlockSpec((None, None, size_k, dim), keys_at)
    query_coords = pl.BlockSpec((None, size_q, fields), lambda b, h, i, j, *_: (b, i, 0))
    key_coords = pl.BlockSpec((None, fields, size_k), key_coords_at)
    length = grid.count_q * size_q
    shapes = [jax.ShapeDtypeStruct((grid.batch, grid.heads, length, last), jnp.float32) for last in (dim, 1)]
    return pl.pallas_call(
        partial(_body, grid=grid, rule=rule),
        out_shape=shapes,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.heads, grid.count_q, grid.count_k),
            in_specs=[queries, keys, keys, query_coords, key_coords],
            out_specs=[queries, stats],
            scratch_shapes=[pltpu.VMEM((size_q, last), jnp.float32) for last in (dim, 1, 1)],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        interpret=interpret,
    )


def _body(state, fetch, q, k, v, q_at, kv_at, out, lse, total, top, mass, *, grid: Grid, rule: Visibility):
    b, i, j = pl.program_id(0), pl.program_id(2), pl.program_id(3)

    @pl.when(j == 0)
    def start():
        total[...] = jnp.zeros_like(total)
        top[...] = jnp.full_like(top, _FLOOR)
        mass[...] = jnp.zeros_like(mass)

    def visit(masked: bool):
        scores = dot(q[...], k[...], (1, 1)) * grid.dim**-0.5
        if masked:
            scores = hide(scores, q_at[...], kv_at[...], rule)
        peak = jnp.maximum(top[...], scores.max(axis=1, keepdims=True))
        weights, fade = jnp.exp(scores - peak), jnp.exp(top[...] - peak)
        mass[...] = mass[...] * fade + weights.sum(axis=1, keepdims=True)
        total[...] = total[...] * fade + dot(weights.astype(v.dtype), v[...], (1, 0))
        top[...] = peak

    found = state[(b * grid.count_q + i) * grid.count_k + j]
    pl.when(found == PARTIAL)(partial(visit, True))
    pl.when(found == FULL)(partial(visit, False))

    @pl.when(j == grid.count_k - 1)
    def finish():
        empty = mass[...] == 0
        share = jnp.where(empty, 1, mass[...])
        out[...] = total[...] / share
        lse[...] = jnp.where(empty, -jnp.inf, top[...] + jnp.log(share))
