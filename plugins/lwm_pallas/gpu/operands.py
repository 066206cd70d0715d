"""What the Hopper kernels are fed: block sizes, padded arrays, coordinates as planes, and the blocks worth a visit.

Owns everything about a call that XLA prepares before a kernel runs, and the mask that all kernels share. Tables grow
with the number of blocks, not with the number of block pairs. The kernels are in `forward`, `queries` and `keys`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Bool, Float, Int32, Shaped

from lwm_core.attention import Extent, TokenCoords, Visibility, visible_blocks
from lwm_pallas.gpu.machine import Machine, spread, spread_down
from lwm_pallas.runs import Runs, by_first_token


# A warpgroup of 128 threads computes 64 rows of a product; two of them share every tile of memory.
WARPGROUP_ROWS = 64
CONSUMERS = 2
_LARGEST = np.iinfo(np.int32).max
_START, _PLAIN_START, _PLAIN, _STEPS = range(4)


class Sizes(NamedTuple):
    """Static sizes of one call: `dim` is the padded head, `outer` the blocks of what stays, `inner` of what streams."""

    batch: int
    groups: int
    ratio: int
    dim: int
    block_q: int
    block_k: int
    count_q: int
    count_k: int
    scale: float

    @staticmethod
    def of(q_shape: tuple[int, ...], k_shape: tuple[int, ...], block_q: int, block_k: int) -> "Sizes":
        (batch, length, heads, dim), (_, keys, groups, _) = q_shape, k_shape
        counts = -(-length // block_q), -(-keys // block_k)
        return Sizes(batch, groups, heads // groups, head_size(dim), block_q, block_k, *counts, dim**-0.5)

    @property
    def heads(self) -> int:
        return self.groups * self.ratio

    def group_of(self, head):
        """The key head that a query head reads."""
        return jax.lax.div(head, jnp.int32(self.ratio))


def head_size(dim: int) -> int:
    """The head size that is computed: 64, 128 or 256; smaller heads are padded with zeros."""
    return next(size for size in (64, 128, 256) if dim <= size)


class Visits(NamedTuple):
    """Which inner blocks each outer block meets, and which outer block to start with.

    - `order`: the inner blocks by their first token. Those that one outer block meets are then neighbours in any
      order of whole blocks, such as zigzag's;
    - `bounds`: per outer block (start, plain start, plain, steps): where its run begins in that order, where the
      part of it begins that is visible throughout, how long that part and the run are;
    - `heaviest`: outer blocks by falling number of steps, so that the last ones to run are short.
    """

    order: Int32[Array, "B inner"]
    bounds: Int32[Array, "B outer 4"]
    heaviest: Int32[Array, "B outer"]

    @staticmethod
    def of(some: Bool[Array, "B outer inner"], every: Bool[Array, "B outer inner"], order: Int32[Array, "B inner"]):
        """From the two block decisions, their inner blocks in `order`."""
        start, stop, plain_start, plain_stop = Runs.of(some, every)
        bounds = jnp.stack([start, plain_start, plain_stop - plain_start, stop - start], axis=2)
        return Visits(order, bounds, jnp.argsort(start - stop, axis=1).astype(jnp.int32))

    @staticmethod
    def by_query(sizes: Sizes, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> "Visits":
        """Key blocks for every query block."""
        order, keys = by_first_token(Extent.of(kv_at, sizes.block_k))
        return Visits.of(*visible_blocks(Extent.of(q_at, sizes.block_q), keys, rule), order)

    @staticmethod
    def by_key(sizes: Sizes, q_at: TokenCoords, kv_at: TokenCoords, rule: Visibility) -> "Visits":
        """Query blocks for every key block."""
        order, queries = by_first_token(Extent.of(q_at, sizes.block_q))
        some, every = visible_blocks(queries, Extent.of(kv_at, sizes.block_k), rule)
        return Visits.of(some.swapaxes(1, 2), every.swapaxes(1, 2), order)


class Run(NamedTuple):
    """The visits of one outer block, read by a kernel: `plain` steps that need no mask, then the masked ones."""

    start: Array
    plain_start: Array
    plain: Array
    steps: Array

    @staticmethod
    def read(bounds, row, outer) -> "Run":
        return Run(*(bounds[row, outer, n] for n in (_START, _PLAIN_START, _PLAIN, _STEPS)))

    def place(self, t, masked: bool):
        """Where visit t stands in the order."""
        if not masked:
            return self.plain_start + t
        at = self.start + (t - self.plain)
        return at + jnp.where(at >= self.plain_start, self.plain, 0)

    def fold(self, visit, carry, first=0, every: int = 1):
        """`visit(t, carry, masked)` over all steps, or every so many from the first; two loops spare plain blocks
        the mask."""

        def count(steps):
            return steps if every == 1 else jax.lax.div(steps - first + every - 1, jnp.int32(every))

        plain = count(self.plain)
        carry = jax.lax.fori_loop(0, plain, lambda n, c: visit(first + every * n, c, False), carry)
        return jax.lax.fori_loop(plain, count(self.steps), lambda n, c: visit(first + every * n, c, True), carry)

    def of_head(self, n, heads: int, masked: bool):
        """(which of so many heads, its visit) of the n-th step over all of them: plain ones of every head first."""
        if not masked:
            per_head = jnp.maximum(self.plain, 1)
            return jax.lax.div(n, per_head), jax.lax.rem(n, per_head)
        n = n - self.plain * heads
        per_head = jnp.maximum(self.steps - self.plain, 1)
        return jax.lax.div(n, per_head), self.plain + jax.lax.rem(n, per_head)

    def fold_heads(self, heads: int, visit, carry):
        """`visit(n, carry, masked)` over the steps of so many heads."""
        return Run(self.start, self.plain_start, self.plain * heads, self.steps * heads).fold(visit, carry)


class Sight(NamedTuple):
    """What the mask compares, as planes of numbers: a query sees the keys of its segment whose positions lie
    between its first and its last. Which of the two ends exists is the rule's."""

    first: bool
    last: bool

    @staticmethod
    def of(rule: Visibility) -> "Sight":
        return Sight(rule.window is not None, rule.window is not None or rule.causal_block is not None)

    @property
    def query_planes(self) -> int:
        return 1 + self.first + self.last

    @property
    def key_planes(self) -> int:
        return 1 + (self.first or self.last)

    def of_queries(self, at: TokenCoords, rule: Visibility, block: int) -> Int32[Array, "B C t"]:
        """Segment (none for padding), last and first visible position of each query."""
        planes = [jnp.where(at.segment == 0, -1, at.segment)]
        if self.last:
            planes.append(_last_visible(at.position, rule))
        if self.first:
            planes.append(at.position - (min(rule.window or 1, _LARGEST) - 1))
        return _padded_planes(planes, block, -1)

    def of_keys(self, at: TokenCoords, block: int) -> Int32[Array, "B C s"]:
        """Segment and position of each key; padding has segment 0, which no query has."""
        planes = [at.segment, at.position] if self.key_planes > 1 else [at.segment]
        return _padded_planes(planes, block, 0)

    def hidden(self, scores: Float[Array, "m n"], rows: list[Array], columns, machine: Machine, *, queries_are_rows):
        """Scores with minus infinity at pairs that do not see each other.

        `rows` are the planes of the tile's rows, `columns` those of its columns, still in memory: they are loaded one
        at a time, because registers are short.
        """
        compares = [(0, 0, jnp.equal)]
        if self.last:
            compares.append((1, 1, jnp.greater_equal))
        if self.first:
            compares.append((2, 1, jnp.less_equal))
        for of_query, of_key, compare in compares:
            across, down = (of_query, of_key) if queries_are_rows else (of_key, of_query)
            pair = spread(rows[across], scores), spread_down(machine.columns(columns.at[down]), scores)
            query, key = pair if queries_are_rows else pair[::-1]
            scores = jnp.where(compare(query, key), scores, -jnp.inf)
        return scores


def _last_visible(position: Int32[Array, "B T"], rule: Visibility) -> Int32[Array, "B T"]:
    """The largest position that the rule lets each query see; sums stop at the largest integer."""
    last = jnp.full_like(position, _LARGEST)
    if rule.causal_block is not None:
        frame = min(rule.causal_block, _LARGEST)
        begin = position // frame * frame
        last = begin + jnp.minimum(frame - 1, _LARGEST - jnp.maximum(begin, 0))
    if rule.window is not None:
        reach = min(rule.window, _LARGEST) - 1
        last = jnp.minimum(last, position + jnp.minimum(reach, _LARGEST - jnp.maximum(position, 0)))
    return last


def _padded_planes(planes: list[Int32[Array, "B T"]], block: int, fill: int) -> Int32[Array, "B C t"]:
    stacked = jnp.stack(planes, axis=1)
    return jnp.pad(stacked, ((0, 0), (0, 0), (0, -stacked.shape[2] % block)), constant_values=fill)


def padded(x: Shaped[Array, "B T H D"], block: int, dim: int) -> Shaped[Array, "B t H d"]:
    """With zeros to whole blocks and to the computed head size; nothing is copied where there is nothing to add."""
    widths = (0, 0), (0, -x.shape[1] % block), (0, 0), (0, dim - x.shape[3])
    return jnp.pad(x, widths) if any(after for _, after in widths) else x


def padded_stat(x: Float[Array, "B H T"], block: int, fill: float) -> Float[Array, "B H t"]:
    """One number per query, to whole blocks."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block)), constant_values=fill)


def tile(*shape: int, dtype):
    """Shared memory for tiles that wgmma reads: rows of 128 swizzled bytes."""
    return plgpu.SMEM(shape, dtype, transforms=(plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128)))


def launch(machine: Machine, body, name: str, *, out_type, scratch, grid: tuple[int, int, int]):
    """A kernel of two consumer warpgroups and one producer, over (head, outer block, row)."""
    return plgpu.kernel(
        body,
        kernel_name=name,
        out_type=out_type,
        scratch_types=scratch,
        grid=grid,
        grid_names=("head", "outer", "row"),
        num_threads=CONSUMERS + 1,
        thread_name="warpgroup",
        compiler_params=plgpu.CompilerParams(approx_math=True, lowering_semantics=plgpu.LoweringSemantics.Lane),
        interpret=machine.interpret,
    )


def by_role(consume, produce) -> None:
    """Runs `consume(warpgroup)` on the consumers and `produce()` on the producer, which gives up its registers.

    65536 registers, 128 threads each: 2 * 240 + 24 = 504 of 512 per thread triple.
    """
    warpgroup = jax.lax.axis_index("warpgroup")

    @pl.when(warpgroup < CONSUMERS)
    def consumer():
        plgpu.set_max_registers(240, action="increase")
        consume(warpgroup)

    @pl.when(warpgroup == CONSUMERS)
    def producer():
        plgpu.set_max_registers(24, action="decrease")
        produce()


class Ring(NamedTuple):
    """`stages` slots of shared memory that the producer fills and both consumers empty.

    Each of `full` is a barrier per slot that a copy completes, `free` the one that the consumers complete.
    """

    stages: int
    free: tuple

    def slot(self, t):
        return jax.lax.rem(t, jnp.int32(self.stages))

    def claim(self, t, which: int) -> None:
        """Producer: waits until the consumers have left the slot of step t."""

        @pl.when(t >= self.stages)
        def wait():
            plgpu.barrier_wait(self.free[which].at[self.slot(t)])

    def drain(self, steps) -> None:
        """Producer: waits until everything has been consumed, so that no arrival is left behind."""

        def wait(t, _):
            for barrier in self.free:
                plgpu.barrier_wait(barrier.at[self.slot(t)])

        jax.lax.fori_loop(jnp.maximum(steps - self.stages, 0), steps, wait, None)
