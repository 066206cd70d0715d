"""How one attention call is cut into tiles that stay in cache.

Owns the arithmetic of tiles (block lengths, how many rows and key heads one tile holds), reading them from
"B T H D" arrays and writing them back: no copy of a whole array is made unless it must be padded. It computes
nothing; `blockwise` does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, Shaped

from lwm_core.attention.coords import TokenCoords
from lwm_core.mesh.axes import platform


Index = Int32[Array, ""]

# Scores held at a time, four megabytes: on CPUs, products and exponentials of half as many run a tenth slower.
_SCORES = 2**20
# Short rows are cut into up to four blocks of at least this length, so that causal order has blocks to skip.
_SHORTEST = 64


@dataclass(frozen=True)
class Blocks:
    """One axis cut into `count` blocks of `size` tokens; the last may reach past `length`."""

    length: int
    size: int
    count: int

    @staticmethod
    def of(length: int, limit: int) -> "Blocks":
        """Equal blocks of at most `limit` tokens (rounded up to a multiple of 8), an even number of them, so that
        no block straddles the two halves of a zigzag shard."""
        count = max(-(-length // limit), min(4, length // _SHORTEST), 1)
        count += count % 2 if count > 1 else 0
        size = -(-length // count)
        if count > 1:
            size += -size % 8
        return Blocks(length, size, -(-length // size))


@dataclass(frozen=True)
class Tiling:
    """A call of `batch` rows, `groups` key heads and `ratio` query heads per key head.

    One tile is `rows` rows times `heads` key heads times one query block times one key block. A "stack" is a
    (row tile, head tile) pair, row tiles outermost.
    """

    batch: int
    groups: int
    ratio: int
    rows: int
    heads: int
    q: Blocks
    k: Blocks

    @staticmethod
    def of(
        q_shape: tuple[int, ...], k_shape: tuple[int, ...], block_q: int, block_k: int, scores: int | None = None
    ) -> "Tiling":
        """The tiling of a call with these "B T H D" and "B S G D" shapes; `scores` None chooses for this host."""
        (batch, length, heads, _), (_, keys, groups, _) = q_shape, k_shape
        q, k = Blocks.of(length, block_q), Blocks.of(keys, block_k)
        ratio = heads // groups
        fitting = max(1, (scores or _host_scores()) // (ratio * q.size * k.size))
        per_tile = _divisor(groups, fitting)
        rows = _divisor(batch, fitting // groups) if per_tile == groups else 1
        return Tiling(batch, groups, ratio, rows, per_tile, q, k)

    @property
    def stacks(self) -> int:
        return (self.batch // self.rows) * (self.groups // self.heads)

    def row_tile(self, stack: Index) -> Index:
        """Which tile of rows a stack belongs to: the index into `cut_coords` and block decisions."""
        return stack // (self.groups // self.heads)

    def padded(self, x: Shaped[Array, "B T H D"], by: Blocks) -> Shaped[Array, "B M H D"]:
        """The array with its last block filled up with zeros; itself where blocks are whole."""
        return jnp.pad(x, ((0, 0), (0, by.count * by.size - by.length), (0, 0), (0, 0)))

    def padded_stat(self, x: Shaped[Array, "B H T"], fill: float = 0) -> Shaped[Array, "B H M"]:
        """As `padded`, for statistics of the queries."""
        extra = self.q.count * self.q.size - self.q.length
        return jnp.pad(x, ((0, 0), (0, 0), (0, extra)), constant_values=fill)

    def over(self, by: Blocks, step: Callable, start):
        """Folds `step(stack, block, carry)` over all blocks of all stacks."""

        def one(carry, n):
            return step(n // by.count, n % by.count, carry), None

        return jax.lax.scan(one, start, jnp.arange(self.stacks * by.count, dtype=jnp.int32))[0]

    def take(
        self, x: Shaped[Array, "B M H D"], by: Blocks, stack: Index, block: Index
    ) -> Shaped[Array, "rows heads m D"]:
        """One tile of a padded array over queries or keys: m = heads per key head * block size."""
        ratio, dim = x.shape[2] // self.groups, x.shape[3]
        shape = self.rows, by.size, self.heads, ratio, dim
        tile = jax.lax.dynamic_slice(x, self._corner(by, ratio, stack, block), self._sizes(by, ratio, dim))
        return tile.reshape(shape).transpose(0, 2, 3, 1, 4).reshape(self.rows, self.heads, ratio * by.size, dim)

    def put(
        self, x: Shaped[Array, "B M H D"], tile: Shaped[Array, "rows heads m D"], by: Blocks, stack: Index, block: Index
    ):
        """The padded array with one tile written."""
        ratio, dim = x.shape[2] // self.groups, x.shape[3]
        tile = tile.reshape(self.rows, self.heads, ratio, by.size, dim).transpose(0, 3, 1, 2, 4)
        tile = tile.reshape(self._sizes(by, ratio, dim))
        return jax.lax.dynamic_update_slice(x, tile, self._corner(by, ratio, stack, block))

    def take_stat(self, x: Shaped[Array, "B H M"], stack: Index, block: Index) -> Shaped[Array, "rows heads m 1"]:
        """One tile of padded statistics of the queries."""
        row, slot, head, _ = self._corner(self.q, self.ratio, stack, block)
        sizes = self.rows, self.heads * self.ratio, self.q.size
        tile = jax.lax.dynamic_slice(x, (row, head, slot), sizes)
        return tile.reshape(self.rows, self.heads, self.ratio * self.q.size, 1)

    def put_stat(self, x: Shaped[Array, "B H M"], tile: Shaped[Array, "rows heads m 1"], stack: Index, block: Index):
        """Padded statistics with one tile written."""
        row, slot, head, _ = self._corner(self.q, self.ratio, stack, block)
        tile = tile.reshape(self.rows, self.heads * self.ratio, self.q.size)
        return jax.lax.dynamic_update_slice(x, tile, (row, head, slot))

    def _corner(self, by: Blocks, ratio: int, stack: Index, block: Index):
        """Where a tile starts in a padded array."""
        head_tiles = self.groups // self.heads
        row, head = stack // head_tiles * self.rows, stack % head_tiles * self.heads * ratio
        return row, block * by.size, head, jnp.int32(0)

    def _sizes(self, by: Blocks, ratio: int, dim: int) -> tuple[int, int, int, int]:
        return self.rows, by.size, self.heads * ratio, dim

    def cut_coords(self, at: TokenCoords, by: Blocks) -> tuple[Int32[Array, "N m rows b"], Int32[Array, "N m rows b"]]:
        """(position, segment) of every row tile and block; padding gets segment 0."""
        pad = ((0, 0), (0, by.count * by.size - by.length))

        def cut(x):
            x = jnp.pad(x, pad).reshape(self.batch // self.rows, self.rows, by.count, by.size)
            return x.transpose(0, 2, 1, 3)

        return cut(at.position), cut(at.segment)


def _host_scores() -> int:
    """Simulated devices of one CPU share its caches: together they then hold what one alone would."""
    return _SCORES // (jax.local_device_count() if platform() == "cpu" else 1)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, and at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))
