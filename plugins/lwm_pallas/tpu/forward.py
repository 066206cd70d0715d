"""The forward kernel: one query block against every visible key block, in on-chip memory.

Owns its body, its call, and the running (output, maximum, sum) that it takes and returns, so that a ring pays no
merge between its hops. Grid (row, head, query block, visit), visits innermost and in order; the softmax lives in
scratch across them. Source: FlashAttention-2 (arXiv:2307.08691, algorithm 1).
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Float32

from lwm_core.attention import BlockOut, TokenCoords, Visibility, regrouped, ungrouped
from lwm_pallas.tpu.operands import (
    Cut,
    Grid,
    columns_of,
    coord_count,
    coord_rows,
    cut_of,
    dot,
    heads_first,
    rows_of,
    tokens_first,
    visible,
)
from lwm_pallas.tpu.visits import Step, by_query


# Finite, so that exp(-inf - floor) is 0 where a query has seen nothing yet.
_FLOOR = float(jnp.finfo(jnp.float32).min) / 2


class Carried(eqx.Module):
    """The softmax of some queries under way, heads first and padded to whole blocks; `stats` is the maximum
    above the sum."""

    total: Float32[Array, "B H t D"]
    stats: Float32[Array, "B H 2 t"]

    @staticmethod
    def nothing(q: Float[Array, "B T H D"], cut: Cut) -> "Carried":
        batch, _, heads, dim = q.shape
        shape = batch, heads, cut.padded
        top, mass = jnp.full(shape, _FLOOR, jnp.float32), jnp.zeros(shape, jnp.float32)
        return Carried(jnp.zeros((*shape, dim), jnp.float32), jnp.stack([top, mass], axis=2))

    def result(self, cut: Cut) -> BlockOut:
        top, mass = self.stats[:, :, 0], self.stats[:, :, 1]
        share = jnp.where(mass == 0, 1, mass)
        lse = jnp.where(mass == 0, -jnp.inf, top + jnp.log(share))
        return BlockOut(tokens_first(self.total / share[..., None], cut), lse[:, :, : cut.length])


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
    few, few_at = regrouped(q, q_at, k.shape[2])
    cut = cut_of(few, blocks[0])
    carried = accumulate(Carried.nothing(few, cut), few, k, v, few_at, kv_at, rule, blocks=blocks, interpret=interpret)
    return ungrouped(carried.result(cut), q)


def accumulate(
    carried: Carried,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    *,
    blocks: tuple[int, int],
    interpret: bool,
) -> Carried:
    """The softmax with these keys added, written over the one that is given."""
    grid = Grid.of(q, k, *blocks)
    visits = by_query(grid, q_at, kv_at, rule)
    keys = (heads_first(x, grid.k) for x in (k, v))
    coords = coord_rows(q_at, rule, grid.q), coord_rows(kv_at, rule, grid.k)
    call = _call(grid, rule, visits.most, interpret)
    return Carried(
        *call(visits.order, visits.bounds, heads_first(q, grid.q), *keys, *coords, *jax.tree.leaves(carried))
    )


def _call(grid: Grid, rule: Visibility, visits, interpret: bool):
    step, size, dim = Step(grid.q.count, grid.k.count), grid.q.size, grid.dim

    def keys_at(b, h, i, t, order, bounds):
        return b, grid.group_of(h), step.inner(order, bounds, b, i, t), 0

    def key_coords_at(b, h, i, t, order, bounds):
        return b, 0, step.inner(order, bounds, b, i, t)

    fields = coord_count(rule)
    queries = pl.BlockSpec((None, None, size, dim), lambda b, h, i, t, *_: (b, h, i, 0))
    stats = pl.BlockSpec((None, None, 2, size), lambda b, h, i, t, *_: (b, h, 0, i))
    keys = pl.BlockSpec((None, None, grid.k.size, dim), keys_at)
    query_coords = pl.BlockSpec((None, fields, size), lambda b, h, i, t, *_: (b, 0, i))
    key_coords = pl.BlockSpec((None, fields, grid.k.size), key_coords_at)
    shape = grid.batch, grid.heads
    scratch = [pltpu.VMEM((size, dim), jnp.float32), *[pltpu.VMEM((size, 1), jnp.float32)] * 2]
    return pl.pallas_call(
        partial(_body, grid=grid, step=step, rule=rule),
        out_shape=[
            jax.ShapeDtypeStruct((*shape, grid.q.padded, dim), jnp.float32),
            jax.ShapeDtypeStruct((*shape, 2, grid.q.padded), jnp.float32),
        ],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(grid.batch, grid.heads, grid.q.count, visits),
            in_specs=[queries, keys, keys, query_coords, key_coords, queries, stats],
            out_specs=[queries, stats],
            scratch_shapes=[*scratch, pltpu.VMEM((size, fields), jnp.int32)],
        ),
        input_output_aliases={7: 0, 8: 1},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="attention_forward",
    )


def _body(
    order, bounds, q, k, v, q_at, kv_at, total_in, stats_in, total_out, stats_out, total, top, mass, q_columns,
    *, grid: Grid, step: Step, rule: Visibility,
):  # fmt: skip
    b, i, t = pl.program_id(0), pl.program_id(2), pl.program_id(3)

    @pl.when(t == 0)
    def start():
        total[...] = total_in[...]
        stats = stats_in[...].T
        top[...], mass[...] = stats[:, 0:1], stats[:, 1:2]
        q_columns[...] = q_at[...].T

    def visit(span: slice, masked: bool):
        scores = dot(q[...], k[span], (1, 1)) * grid.scale
        if masked:
            seen = visible(columns_of(q_columns[...]), rows_of(kv_at[:, span]), rule)
            scores = jnp.where(seen, scores, -jnp.inf)
        peak = jnp.maximum(top[...], scores.max(axis=1, keepdims=True))
        weights, fade = jnp.exp(scores - peak), jnp.exp(top[...] - peak)
        mass[...] = mass[...] * fade + weights.sum(axis=1, keepdims=True)
        total[...] = total[...] * fade + dot(weights.astype(v.dtype), v[span], (1, 0))
        top[...] = peak

    def visits(masked: bool):
        for span in grid.k.chunks():
            visit(span, masked)

    masked, plain = step.state(bounds, b, i, t)
    pl.when(masked)(partial(visits, True))
    pl.when(plain)(partial(visits, False))

    @pl.when(t == pl.num_programs(3) - 1)
    def finish():
        total_out[...] = total[...]
        stats_out[...] = jnp.concatenate([top[...], mass[...]], axis=1).T
