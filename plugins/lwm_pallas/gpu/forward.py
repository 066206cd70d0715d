"""The forward kernel: a block of queries against the key blocks that it sees.

Owns its body, its call and its resources. Two consumer warpgroups hold 64 queries each and take turns at the tensor
cores, so that one's softmax hides behind the other's products; a producer warpgroup streams keys, values and, for
masked blocks, key coordinates through a ring in shared memory. Source: FlashAttention-3 (arXiv:2407.08608, 3.1-3.2).

Per block: 128 queries; keys and stages by head size. Shared memory: 2 * 128 D of queries plus stages * 4 block_k D of
keys and values: 80 KiB (D=64, 128 keys, 2 stages), 160 KiB (128, 128, 2), 192 KiB (256, 64, 2), of 227. Registers of a
consumer thread: D/2 for the output, block_k/2 for scores and block_k/4 for 16-bit weights: 128, 160 and 176 of 232.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float

from lwm_core.attention import BlockOut, TokenCoords, Visibility
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


# Finite, so that exp2(-inf - floor) is 0 where a query has seen nothing yet.
FLOOR = -1e30
_LOG2E = math.log2(math.e)


class Carry(NamedTuple):
    """The softmax of all queries between key blocks: numerator, largest score in units of log 2, denominator."""

    total: Float[Array, "B t H d"]
    top: Float[Array, "B H t"]
    mass: Float[Array, "B H t"]


def forward(
    machine: Machine,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    *,
    block_k: int,
    stages: int,
    out_dtype,
) -> BlockOut:
    """Output in `out_dtype`, log-sum-exp in float32."""
    call = _Call.of(machine, q, k, rule, block_k, stages, out_dtype=out_dtype, carried=False)
    out, lse = call.run(q, k, v, q_at, kv_at)
    return BlockOut(out[:, : q.shape[1], :, : q.shape[3]], lse[..., : q.shape[1]])


def accumulate(
    machine: Machine,
    carry: Carry,
    q: Float[Array, "B T H D"],
    k: Float[Array, "B S G D"],
    v: Float[Array, "B S G D"],
    q_at: TokenCoords,
    kv_at: TokenCoords,
    rule: Visibility,
    *,
    block_k: int,
    stages: int,
) -> Carry:
    """The carry with these keys added."""
    call = _Call.of(machine, q, k, rule, block_k, stages, out_dtype=jnp.float32, carried=True)
    return Carry(*call.run(q, k, v, q_at, kv_at, *carry))


def start(q: Float[Array, "B T H D"]) -> Carry:
    """The carry before the first key block."""
    block = CONSUMERS * WARPGROUP_ROWS
    sizes = Sizes.of(q.shape, q.shape, block, block)
    batch, length, heads = q.shape[0], sizes.count_q * block, q.shape[2]
    stat = jnp.zeros((batch, heads, length), jnp.float32)
    return Carry(jnp.zeros((batch, length, heads, sizes.dim), jnp.float32), stat + FLOOR, stat)


def result(carry: Carry, q: Float[Array, "B T H D"]) -> BlockOut:
    """The attention over every key added to the carry."""
    empty = carry.mass == 0
    share = jnp.where(empty, 1, carry.mass)
    out = carry.total / share.swapaxes(1, 2)[..., None]
    lse = jnp.where(empty, -jnp.inf, carry.top / _LOG2E + jnp.log(share))
    return BlockOut(out[:, : q.shape[1], :, : q.shape[3]], lse[..., : q.shape[1]])


class _Call(NamedTuple):
    """One kernel launch: sizes, ring, and whether the softmax comes in and goes out unfinished."""

    machine: Machine
    sizes: Sizes
    rule: Visibility
    sight: Sight
    stages: int
    dtype: jnp.dtype
    out_dtype: jnp.dtype
    carried: bool

    @staticmethod
    def of(machine: Machine, q, k, rule: Visibility, block_k: int, stages: int, *, out_dtype, carried: bool):
        sizes = Sizes.of(q.shape, k.shape, CONSUMERS * WARPGROUP_ROWS, block_k)
        out_dtype = jnp.dtype(out_dtype)
        return _Call(machine, sizes, rule, Sight.of(rule), stages, q.dtype, out_dtype, carried)

    def run(self, q, k, v, q_at: TokenCoords, kv_at: TokenCoords, *carry):
        sizes, sight = self.sizes, self.sight
        visits = Visits.by_query(sizes, q_at, kv_at, self.rule)
        planes = sight.of_queries(q_at, self.rule, sizes.block_q), sight.of_keys(kv_at, sizes.block_k)
        query = padded(q, sizes.block_q, sizes.dim)
        keys = (padded(x, sizes.block_k, sizes.dim) for x in (k, v))
        length = sizes.count_q * sizes.block_q
        stat = jax.ShapeDtypeStruct((sizes.batch, sizes.heads, length), jnp.float32)
        out = jax.ShapeDtypeStruct((sizes.batch, length, sizes.heads, sizes.dim), self.out_dtype)
        kernel = launch(
            self.machine,
            partial(_body, self),
            "attention_forward",
            out_type=(out, stat, stat) if self.carried else (out, stat),
            scratch=self._scratch(),
            grid=(sizes.heads, sizes.count_q, sizes.batch),
        )
        return kernel(*visits, *planes, query, *keys, *carry)

    def _scratch(self) -> list:
        sizes, stages = self.sizes, self.stages
        streamed = tile(stages, sizes.block_k, sizes.dim, dtype=self.dtype)
        return [
            tile(CONSUMERS, WARPGROUP_ROWS, sizes.dim, dtype=self.dtype),
            streamed,
            streamed,
            plgpu.SMEM((stages, self.sight.key_planes, sizes.block_k), jnp.int32),
            plgpu.Barrier(num_barriers=CONSUMERS),
            [plgpu.Barrier(num_barriers=stages)] * 3,
            [plgpu.Barrier(num_arrivals=CONSUMERS, num_barriers=stages)] * 2,
            plgpu.Barrier(num_arrivals=CONSUMERS),
        ]


def _body(call: _Call, order, bounds, heaviest, q_planes, k_planes, q, k, v, *rest):
    """`rest` is the carry that comes in, if any, then the outputs, then the scratch."""
    before, rest = (rest[:3], rest[3:]) if call.carried else ((), rest)
    outs, scratch = rest[: 2 + call.carried], rest[2 + call.carried :]
    q_mem, k_mem, v_mem, at_mem, q_full, (k_full, v_full, at_full), free, turns = scratch
    machine, sizes, sight = call.machine, call.sizes, call.sight
    head, row = jax.lax.axis_index("head"), jax.lax.axis_index("row")
    outer = heaviest[row, jax.lax.axis_index("outer")]
    run, ring = Run.read(bounds, row, outer), Ring(call.stages, tuple(free))

    def produce():
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

    def take_turn():
        plgpu.barrier_arrive(turns)
        plgpu.barrier_wait(turns)

    def consume(warpgroup):
        mine = pl.ds(outer * sizes.block_q + warpgroup * WARPGROUP_ROWS, WARPGROUP_ROWS)
        query = q_mem.at[warpgroup]
        plgpu.copy_gmem_to_smem(q.at[row, mine, head], query, q_full.at[warpgroup])
        queries = [machine.rows(q_planes.at[row, c, mine]) for c in range(sight.query_planes)]
        plgpu.barrier_wait(q_full.at[warpgroup])
        factor = sizes.scale * _LOG2E

        def visit(t, carry, masked):
            total, top, mass = carry
            slot = ring.slot(t)
            plgpu.barrier_wait(k_full.at[slot])
            (scores,) = machine.products((query, k_mem.at[slot], True), meanwhile=take_turn)
            if masked:
                plgpu.barrier_wait(at_full.at[slot])
                scores = sight.hidden(scores, queries, at_mem.at[slot], machine, queries_are_rows=True)
            plgpu.barrier_arrive(ring.free[0].at[slot])
            peak = jnp.maximum(top, scores.max(axis=1) * factor)
            weights, fade = jnp.exp2(scores * factor - spread(peak, scores)), jnp.exp2(top - peak)
            mass = mass * fade + weights.sum(axis=1)
            total *= spread(fade, total)
            # Work that must be done in this warpgroup's turn off the tensor cores.
            total, peak, mass, weights = jax.lax.optimization_barrier((total, peak, mass, weights.astype(call.dtype)))
            plgpu.barrier_arrive(turns)
            plgpu.barrier_wait(v_full.at[slot])
            plgpu.barrier_wait(turns)
            (total,) = machine.added((total, (weights, v_mem.at[slot], False)))
            plgpu.barrier_arrive(ring.free[1].at[slot])
            return total, peak, mass

        pl.when(warpgroup == 1)(take_turn)
        carry = run.fold(visit, _first(machine, sizes, before, row, head, mine))
        pl.when(warpgroup == 0)(take_turn)
        _write(call, carry, [outs[0].at[row, mine, head], *(x.at[row, head, mine] for x in outs[1:])])

    by_role(consume, produce)


def _first(machine: Machine, sizes: Sizes, before, row, head, mine):
    """What a consumer carries into its first visit."""
    if before:
        total, top, mass = before
        return machine.tile(total.at[row, mine, head]), *(machine.rows(x.at[row, head, mine]) for x in (top, mass))
    rows = WARPGROUP_ROWS
    shapes = (((rows, sizes.dim), 0.0), ((rows,), FLOOR), ((rows,), 0.0))
    return tuple(machine.filled(shape, value) for shape, value in shapes)


def _write(call: _Call, carry, outs) -> None:
    total, top, mass = carry
    if not call.carried:
        empty = mass == 0
        share = jnp.where(empty, 1, mass)
        total *= spread(1 / share, total)
        top = jnp.where(empty, -jnp.inf, top / _LOG2E + jnp.log(share))
    values = total.astype(call.out_dtype), top, mass
    for ref, value in zip(outs, values, strict=False):
        ref[...] = value
