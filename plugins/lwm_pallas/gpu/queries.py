"""The gradient of the queries: a block of queries against the key blocks that it sees.

Owns its body, its call and its resources. Scores are worked out again from the global log-sum-exp, so nothing of the
size of the score matrix is kept, and blocks are skipped exactly as the forward kernel skips them. Source:
FlashAttention-2 (arXiv:2307.08691, algorithm 2), the roles of warpgroups as in FlashAttention-3.

Heads up to 128: each consumer holds 64 queries of a block of 128. Heads of 256: shared memory has room for 64 queries
only, so both consumers hold the same ones, take key blocks in turn, and leave two partial gradients to be added.
Shared memory: 4 block_q D of queries and output gradients plus stages * 4 block_k D of keys and values: 96 KiB (D=64,
128 keys, 2 stages), 160 KiB (128, 64, 3), 192 KiB (256, 64, 2) of 227. Registers of a consumer thread: D/2 for the
gradient, block_k for scores and their slopes, block_k/4 for 16-bit slopes: 192, 144 and 208 of 232.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float

from lwm_core.attention import TokenCoords, Visibility
from lwm_pallas.gpu.machine import Machine, spread
from lwm_pallas.gpu.operands import (
    CONSUMERS,
    WARPGROUP_ROWS,
    Ring,
    Run,
    Sight,
    Sizes,
    Visits,
    by_role,
    launch,
    padded,
    tile,
)


_LOG2E = math.log2(math.e)
# Beyond it 128 queries, their output gradients and a ring of keys and values do not fit shared memory.
_WHOLE = 128


def query_gradient(
    machine: Machine,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    stats: Float[Array, "B H 2 t"],
    dout: Float[Array, "B T H D"],
    *,
    block_k: int,
    stages: int,
) -> Float[Array, "B T H D"]:
    """dQ in float32; `stats` is the log-sum-exp in units of log 2 and delta, to whole blocks of 128 queries."""
    split = CONSUMERS if q.shape[3] > _WHOLE else 1
    sizes = Sizes.of(q.shape, k.shape, CONSUMERS * WARPGROUP_ROWS // split, block_k)
    call = _Call(sizes, Sight.of(rule), stages, machine, split)
    visits = Visits.by_query(sizes, q_at, kv_at, rule)
    planes = call.sight.of_queries(q_at, rule, sizes.block_q), call.sight.of_keys(kv_at, sizes.block_k)
    query, dout = (padded(x, sizes.block_q, sizes.dim) for x in (q, dout))
    keys = (padded(x, sizes.block_k, sizes.dim) for x in (k, v))
    kernel = launch(
        machine,
        partial(_body, call),
        "attention_query_gradient",
        out_type=jax.ShapeDtypeStruct((split, *query.shape), jnp.float32),
        scratch=_scratch(call, q.dtype),
        grid=(sizes.heads, sizes.count_q, sizes.batch),
    )
    dq = kernel(*visits, *planes, query, *keys, dout, stats).sum(axis=0)
    return dq[:, : q.shape[1], :, : q.shape[3]]


class _Call(NamedTuple):
    """What is static in one launch; `split` says over how many consumers the keys of a query are divided."""

    sizes: Sizes
    sight: Sight
    stages: int
    machine: Machine
    split: int

    @property
    def parts(self) -> int:
        """Runs of 64 queries in a block."""
        return self.sizes.block_q // WARPGROUP_ROWS


def _scratch(call: _Call, dtype) -> list:
    sizes, stages = call.sizes, call.stages
    held = tile(call.parts, WARPGROUP_ROWS, sizes.dim, dtype=dtype)
    streamed = tile(stages, sizes.block_k, sizes.dim, dtype=dtype)
    return [
        [held] * 2,
        [streamed] * 2,
        plgpu.SMEM((stages, call.sight.key_planes, sizes.block_k), jnp.int32),
        [plgpu.Barrier(num_barriers=call.parts)] * 2,
        [plgpu.Barrier(num_barriers=stages)] * 3,
        [plgpu.Barrier(num_arrivals=CONSUMERS // call.split, num_barriers=stages)] * 2,
    ]


def _body(call: _Call, order, bounds, heaviest, q_planes, k_planes, q, k, v, dout, stats, dq, *scratch):
    (q_mem, dout_mem), (k_mem, v_mem), at_mem, held, (k_full, v_full, at_full), free = scratch
    machine, sizes, sight = call.machine, call.sizes, call.sight
    head, row = jax.lax.axis_index("head"), jax.lax.axis_index("row")
    outer = heaviest[row, jax.lax.axis_index("outer")]
    run, ring = Run.read(bounds, row, outer), Ring(call.stages, tuple(free))

    def produce():
        for part in range(call.parts):
            rows = pl.ds(outer * sizes.block_q + part * WARPGROUP_ROWS, WARPGROUP_ROWS)
            for source, memory, barrier in zip((q, dout), (q_mem, dout_mem), held, strict=True):
                plgpu.copy_gmem_to_smem(source.at[row, rows, head], memory.at[part], barrier.at[part])
        group = sizes.group_of(head)

        def visit(t, _, masked):
            slot = ring.slot(t)
            keys = pl.ds(order[row, run.place(t, masked)] * sizes.block_k, sizes.block_k)
            ring.claim(t, 0)
            plgpu.copy_gmem_to_smem(k.at[row, keys, group], k_mem.at[slot], k_full.at[slot])
            if masked:
                plgpu.copy_gmem_to_smem(k_planes.at[row, :, keys], at_mem.at[slot], at_full.at[slot])
            ring.claim(t, 1)
            plgpu.copy_gmem_to_smem(v.at[row, keys, group], v_mem.at[slot], v_full.at[slot])

        run.fold(visit, None)
        ring.drain(run.steps)

    def consume(warpgroup):
        part, turn = (warpgroup, 0) if call.split == 1 else (0, warpgroup)
        mine = pl.ds(outer * sizes.block_q + part * WARPGROUP_ROWS, WARPGROUP_ROWS)
        query, gradient = q_mem.at[part], dout_mem.at[part]
        queries = [machine.rows(q_planes.at[row, c, mine]) for c in range(sight.query_planes)]
        lse, delta = (machine.rows(stats.at[row, head, n, mine]) for n in (0, 1))
        for barrier in held:
            plgpu.barrier_wait(barrier.at[part])
        factor = sizes.scale * _LOG2E

        def visit(t, total, masked):
            slot = ring.slot(t)
            plgpu.barrier_wait(k_full.at[slot])
            plgpu.barrier_wait(v_full.at[slot])
            scores, slope = machine.products((query, k_mem.at[slot], True), (gradient, v_mem.at[slot], True))
            plgpu.barrier_arrive(ring.free[1].at[slot])
            if masked:
                plgpu.barrier_wait(at_full.at[slot])
                scores = sight.hidden(scores, queries, at_mem.at[slot], machine, queries_are_rows=True)
            weights = jnp.exp2(scores * factor - spread(lse, scores))
            slope = weights * (slope - spread(delta, slope))
            (total,) = machine.added((total, (slope.astype(q.dtype), k_mem.at[slot], False)))
            plgpu.barrier_arrive(ring.free[0].at[slot])
            return total

        zeros = machine.filled((WARPGROUP_ROWS, sizes.dim), 0.0)
        total = run.fold(visit, zeros, turn, call.split)
        dq.at[turn, row, mine, head][...] = total * sizes.scale

    by_role(consume, produce)
