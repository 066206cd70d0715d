"""The two backward kernels: dQ over key blocks, dK and dV over query blocks.

Owns their bodies and calls. Both work the scores out again from the global log-sum-exp, so nothing of the size
of the score matrix is ever kept. The second holds scores keys-first: then statistics of the queries lie along
rows as they are stored, and no product needs a transposed operand.
Source: FlashAttention-2 (arXiv:2307.08691, algorithm 2).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from lwm_core.attention import BlockGrads, TokenCoords, Visibility
from lwm_pallas.tpu.operands import (
    Grid,
    columns_of,
    coord_count,
    coord_rows,
    dot,
    heads_first,
    rows_of,
    stat_rows,
    tokens_first,
    visible,
)
from lwm_pallas.tpu.visits import Step, by_key, by_query


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
    grid = Grid.of(q, k, *blocks)
    # A query that sees nothing has lse -inf; +inf makes each of its weights exp(score - inf) = 0.
    stats = stat_rows(jnp.where(jnp.isneginf(lse), jnp.inf, lse), delta, cut=grid.q)
    coords = coord_rows(q_at, rule, grid.q), coord_rows(kv_at, rule, grid.k)
    query, dout = heads_first(q, grid.q), heads_first(dout.astype(q.dtype), grid.q)
    operands = query, *(heads_first(x, grid.k) for x in (k, v)), dout, stats, *coords
    queries, keys = (of(grid, q_at, kv_at, rule) for of in (by_query, by_key))
    dq = _dq_call(grid, rule, queries.most, interpret)(queries.order, queries.bounds, *operands)
    dk, dv = _dkv_call(grid, rule, keys.most, interpret)(keys.order, keys.bounds, *operands)
    return BlockGrads(tokens_first(dq, grid.q), tokens_first(dk, grid.k), tokens_first(dv, grid.k))


def _dq_call(grid: Grid, rule: Visibility, visits, interpret: bool):
    step, size, fields = Step(grid.q.count, grid.k.count), grid.q.size, coord_count(rule)

    def place(b, h, i, t, order, bounds):
        return b, h, i, grid.group_of(h), step.inner(order, bounds, b, i, t)

    scratch = [((size, grid.dim), jnp.float32), ((size, 2), jnp.float32), ((size, fields), jnp.int32)]
    return pl.pallas_call(
        partial(_dq_body, grid=grid, step=step, rule=rule),
        out_shape=jax.ShapeDtypeStruct((grid.batch, grid.heads, grid.q.padded, grid.dim), jnp.float32),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.heads, grid.q.count, visits),
            in_specs=_in_specs(grid, rule, place),
            out_specs=pl.BlockSpec((None, None, size, grid.dim), lambda b, h, i, t, *_: (b, h, i, 0)),
            scratch_shapes=[pltpu.VMEM(*kind) for kind in scratch],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="attention_dq",
    )


def _dkv_call(grid: Grid, rule: Visibility, visits, interpret: bool):
    """Per key block, over the query heads of its head and over each head's visits."""
    step, size, fields = Step(grid.k.count, grid.q.count), grid.k.size, coord_count(rule)

    def place(b, g, j, r, t, order, bounds):
        return b, g * grid.ratio + r, step.inner(order, bounds, b, j, t), g, j

    grads = jax.ShapeDtypeStruct((grid.batch, grid.groups, grid.k.padded, grid.dim), jnp.float32)
    out = pl.BlockSpec((None, None, size, grid.dim), lambda b, g, j, *_: (b, g, j, 0))
    sums = [pltpu.VMEM((size, grid.dim), jnp.float32)] * 2
    order = "parallel", "parallel", "parallel", "arbitrary", "arbitrary"
    return pl.pallas_call(
        partial(_dkv_body, grid=grid, step=step, rule=rule),
        out_shape=[grads, grads],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.groups, grid.k.count, grid.ratio, visits),
            in_specs=_in_specs(grid, rule, place),
            out_specs=[out, out],
            scratch_shapes=[*sums, pltpu.VMEM((size, fields), jnp.int32)],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=order),
        interpret=interpret,
        name="attention_dkv",
    )


def _in_specs(grid: Grid, rule: Visibility, place) -> list[pl.BlockSpec]:
    """q, k, v, dout, statistics and coordinates of queries and keys, where `place` says for a grid point:
    (row, query head, query block, key head, key block)."""

    def at(*picked):
        def index(*point):
            row, head, i, group, j = place(*point)
            values = {"row": row, "head": head, "i": i, "group": group, "j": j, "": 0}
            return tuple(values[name] for name in picked)

        return index

    size_q, size_k, fields = grid.q.size, grid.k.size, coord_count(rule)
    queries = pl.BlockSpec((None, None, size_q, grid.dim), at("row", "head", "i", ""))
    keys = pl.BlockSpec((None, None, size_k, grid.dim), at("row", "group", "j", ""))
    stats = pl.BlockSpec((None, None, 2, size_q), at("row", "head", "", "i"))
    query_coords = pl.BlockSpec((None, fields, size_q), at("row", "", "i"))
    return [queries, keys, keys, queries, stats, query_coords, pl.BlockSpec((None, fields, size_k), at("row", "", "j"))]


def _dq_body(
    order, bounds, q, k, v, dout, stats, q_at, kv_at, dq, total, columns, q_columns,
    *, grid: Grid, step: Step, rule: Visibility,
):  # fmt: skip
    b, i, t = pl.program_id(0), pl.program_id(2), pl.program_id(3)

    @pl.when(t == 0)
    def start():
        total[...] = jnp.zeros_like(total)
        columns[...], q_columns[...] = stats[...].T, q_at[...].T

    def visit(span: slice, masked: bool):
        scores = dot(q[...], k[span], (1, 1)) * grid.scale
        if masked:
            seen = visible(columns_of(q_columns[...]), rows_of(kv_at[:, span]), rule)
            scores = jnp.where(seen, scores, -jnp.inf)
        weights = jnp.exp(scores - columns[:, 0:1])
        dscores = weights * (dot(dout[...], v[span], (1, 1)) - columns[:, 1:2])
        total[...] += dot(dscores.astype(k.dtype), k[span], (1, 0))

    _visit(grid, step.state(bounds, b, i, t), visit)

    @pl.when(t == pl.num_programs(3) - 1)
    def finish():
        dq[...] = total[...] * grid.scale


def _dkv_body(
    order, bounds, q, k, v, dout, stats, q_at, kv_at, dk, dv, total_k, total_v, kv_columns,
    *, grid: Grid, step: Step, rule: Visibility,
):  # fmt: skip
    b, j, r, t = pl.program_id(0), pl.program_id(2), pl.program_id(3), pl.program_id(4)

    @pl.when((r == 0) & (t == 0))
    def start():
        total_k[...] = jnp.zeros_like(total_k)
        total_v[...] = jnp.zeros_like(total_v)
        kv_columns[...] = kv_at[...].T

    def visit(span: slice, masked: bool):
        scores = dot(k[span], q[...], (1, 1)) * grid.scale
        if masked:
            seen = visible(rows_of(q_at[...]), columns_of(kv_columns[span]), rule)
            scores = jnp.where(seen, scores, -jnp.inf)
        weights = jnp.exp(scores - stats[0:1, :])
        dscores = weights * (dot(v[span], dout[...], (1, 1)) - stats[1:2, :])
        total_v[span] += dot(weights.astype(dout.dtype), dout[...], (1, 0))
        total_k[span] += dot(dscores.astype(q.dtype), q[...], (1, 0))

    _visit(grid, step.state(bounds, b, j, t), visit)

    @pl.when((r == grid.ratio - 1) & (t == pl.num_programs(4) - 1))
    def finish():
        dk[...] = total_k[...] * grid.scale
        dv[...] = total_v[...]


def _visit(grid: Grid, state, visit) -> None:
    """The block pair of this step, a chunk of keys at a time, with or without the mask, or not at all."""
    for wanted, masked in zip(state, (True, False), strict=True):

        @pl.when(wanted)
        def chunks(masked=masked):
            for span in grid.k.chunks():
                visit(span, masked)
