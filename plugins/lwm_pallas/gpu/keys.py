"""The gradients of keys and values: a block of keys against the query blocks that see it, of every head that reads it.

Owns its body, its call and its resources. All query heads of a key head are summed in registers, in one order, so
grouped heads cost no memory and no atomics and the bits repeat. Scores are transposed, keys above queries, so that
weights leave one product in the registers where the next one wants them. Source: FlashAttention-2 (arXiv:2307.08691,
algorithm 2).

Heads up to 128: the two consumers hold 64 keys each and both gradients, D registers a thread. Heads of 256: the two
gradients of 64 keys would fill all registers, so one consumer holds that of the values and the other that of the keys.
Shared memory: 4 block_k D of keys and values plus stages * 4 block_q D of queries and output gradients: 64 KiB (D=64,
64 queries, 2 stages), 128 KiB (128, 64, 2), 192 KiB (256, 64, 2) of 227.
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
from lwm_pallas.gpu.machine import Machine, spread_down
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
# Beyond it the two gradients of a block do not fit the registers of one warpgroup.
_BOTH = 128


def key_gradients(
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
    block_q: int,
    stages: int,
) -> tuple[Float[Array, "B S G D"], Float[Array, "B S G D"]]:
    """dK and dV in float32; `stats` is the log-sum-exp in units of log 2 and delta, to whole blocks of 128 queries."""
    shared = q.shape[3] > _BOTH
    block_k = WARPGROUP_ROWS * (1 if shared else CONSUMERS)
    sizes = Sizes.of(q.shape, k.shape, block_q, block_k)
    call = _Call(sizes, Sight.of(rule), stages, machine, shared)
    visits = Visits.by_key(sizes, q_at, kv_at, rule)
    planes = call.sight.of_queries(q_at, rule, sizes.block_q), call.sight.of_keys(kv_at, sizes.block_k)
    queries = [padded(x, sizes.block_q, sizes.dim) for x in (q, dout)]
    keys = [padded(x, sizes.block_k, sizes.dim) for x in (k, v)]
    kernel = launch(
        machine,
        partial(_body, call),
        "attention_key_gradients",
        out_type=(jax.ShapeDtypeStruct(keys[0].shape, jnp.float32),) * 2,
        scratch=_scratch(call, q.dtype),
        grid=(sizes.groups, sizes.count_k, sizes.batch),
    )
    grads = kernel(*visits, *planes, *keys, *queries, stats)
    dk, dv = (x[:, : k.shape[1], :, : k.shape[3]] for x in grads)
    return dk, dv


class _Call(NamedTuple):
    """What is static in one launch; `shared` says that both consumers work on the same keys."""

    sizes: Sizes
    sight: Sight
    stages: int
    machine: Machine
    shared: bool


def _scratch(call: _Call, dtype) -> list:
    sizes, stages = call.sizes, call.stages
    held = tile(sizes.block_k // WARPGROUP_ROWS, WARPGROUP_ROWS, sizes.dim, dtype=dtype)
    streamed = tile(stages, sizes.block_q, sizes.dim, dtype=dtype)
    return [
        [held] * 2,
        [streamed] * 2,
        plgpu.SMEM((stages, 2, sizes.block_q), jnp.float32),
        plgpu.SMEM((stages, call.sight.query_planes, sizes.block_q), jnp.int32),
        [plgpu.Barrier(num_barriers=sizes.block_k // WARPGROUP_ROWS)] * 2,
        [plgpu.Barrier(num_barriers=stages)] * 4,
        [plgpu.Barrier(num_arrivals=CONSUMERS, num_barriers=stages)] * 2,
    ]


def _body(call: _Call, order, bounds, heaviest, q_planes, k_planes, k, v, q, dout, stats, dk, dv, *scratch):
    (k_mem, v_mem), (q_mem, dout_mem), stat_mem, at_mem, held, full, free = scratch
    q_full, dout_full, stat_full, at_full = full
    machine, sizes, sight = call.machine, call.sizes, call.sight
    group, row = jax.lax.axis_index("head"), jax.lax.axis_index("row")
    outer = heaviest[row, jax.lax.axis_index("outer")]
    run, ring = Run.read(bounds, row, outer), Ring(call.stages, tuple(free))

    def produce():
        for part in range(sizes.block_k // WARPGROUP_ROWS):
            keys = pl.ds(outer * sizes.block_k + part * WARPGROUP_ROWS, WARPGROUP_ROWS)
            for source, memory, barrier in zip((k, v), (k_mem, v_mem), held, strict=True):
                plgpu.copy_gmem_to_smem(source.at[row, keys, group], memory.at[part], barrier.at[part])

        def visit(n, _, masked):
            slot = ring.slot(n)
            nth_head, t = run.of_head(n, sizes.ratio, masked)
            head = group * sizes.ratio + nth_head
            queries = pl.ds(order[row, run.place(t, masked)] * sizes.block_q, sizes.block_q)
            ring.claim(n, 0)
            plgpu.copy_gmem_to_smem(q.at[row, queries, head], q_mem.at[slot], q_full.at[slot])
            plgpu.copy_gmem_to_smem(stats.at[row, head, :, queries], stat_mem.at[slot], stat_full.at[slot])
            if masked:
                plgpu.copy_gmem_to_smem(q_planes.at[row, :, queries], at_mem.at[slot], at_full.at[slot])
            ring.claim(n, 1)
            plgpu.copy_gmem_to_smem(dout.at[row, queries, head], dout_mem.at[slot], dout_full.at[slot])

        run.fold_heads(sizes.ratio, visit, None)
        ring.drain(run.steps * sizes.ratio)

    def consume_as(part, mine, to_keys: bool, to_values: bool):
        """The gradients of 64 keys: of the keys, of the values, or both."""
        key, value = k_mem.at[part], v_mem.at[part]
        keys = [machine.rows(k_planes.at[row, c, mine]) for c in range(sight.key_planes)]
        for barrier in held:
            plgpu.barrier_wait(barrier.at[part])
        factor = sizes.scale * _LOG2E

        def visit(n, totals, masked):
            slot = ring.slot(n)
            for barrier in (q_full, dout_full, stat_full):
                plgpu.barrier_wait(barrier.at[slot])
            factors = [(key, q_mem.at[slot], True), (value, dout_mem.at[slot], True)]
            scores, *slope = machine.products(*factors[: 1 + to_keys])
            if masked:
                plgpu.barrier_wait(at_full.at[slot])
                scores = sight.hidden(scores, keys, at_mem.at[slot], machine, queries_are_rows=False)
            weights = jnp.exp2(scores * factor - spread_down(machine.columns(stat_mem.at[slot, 0]), scores))
            lefts = []
            if to_values:
                lefts.append((weights, dout_mem))
            if to_keys:
                delta = spread_down(machine.columns(stat_mem.at[slot, 1]), scores)
                lefts.append((weights * (slope[0] - delta), q_mem))
            sums = [
                (total, (left.astype(q.dtype), right.at[slot], False))
                for total, (left, right) in zip(totals, lefts, strict=True)
            ]
            totals = machine.added(*sums)
            for barrier in ring.free:
                plgpu.barrier_arrive(barrier.at[slot])
            return totals

        zeros = tuple(machine.filled((WARPGROUP_ROWS, sizes.dim), 0.0) for _ in range(to_keys + to_values))
        totals = list(run.fold_heads(sizes.ratio, visit, zeros))
        if to_values:
            dv.at[row, mine, group][...] = totals.pop(0)
        if to_keys:
            dk.at[row, mine, group][...] = totals.pop(0) * sizes.scale

    def consume(warpgroup):
        first = outer * sizes.block_k
        if not call.shared:
            consume_as(warpgroup, pl.ds(first + warpgroup * WARPGROUP_ROWS, WARPGROUP_ROWS), True, True)
            return
        mine = pl.ds(first, WARPGROUP_ROWS)
        pl.when(warpgroup == 0)(partial(consume_as, 0, mine, False, True))
        pl.when(warpgroup == 1)(partial(consume_as, 0, mine, True, False))

    by_role(consume, produce)
