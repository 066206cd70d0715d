"""How one attention call is cut into tiles that stay in cache.

Owns the arithmetic of tiles (block lengths, how many rows and key heads one tile holds) and the moves between
"B T H D" arrays and stacks of tiles. It computes nothing; `blockwise` does.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int32, Shaped

from lwm_core.attention.coords import TokenCoords


# Scores held by one tile, two megabytes: on CPUs, times from 2**17 to 2**20 differ by a tenth.
_TILE_SCORES = 2**19
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

    One tile is `rows` rows times `heads` key heads times one query block times one key block. Stacks of tiles
    lead with `stacks`: (row tile, head tile) pairs, row tiles outermost.
    """

    batch: int
    groups: int
    ratio: int
    rows: int
    heads: int
    q: Blocks
    k: Blocks

    @staticmethod
    def of(q_shape: tuple[int, ...], k_shape: tuple[int, ...], block_q: int, block_k: int) -> "Tiling":
        """The tiling of a call with these "B T H D" and "B S G D" shapes."""
        (batch, length, heads, _), (_, keys, groups, _) = q_shape, k_shape
        q, k = Blocks.of(length, block_q), Blocks.of(keys, block_k)
        ratio = heads // groups
        fitting = max(1, _TILE_SCORES // (ratio * q.size * k.size))
        per_tile = _divisor(groups, fitting)
        rows = _divisor(batch, fitting // groups) if per_tile == groups else 1
        return Tiling(batch, groups, ratio, rows, per_tile, q, k)

    @property
    def stacks(self) -> int:
        return (self.batch // self.rows) * (self.groups // self.heads)

    def row_tile(self, stack: Int32[Array, ""]) -> Int32[Array, ""]:
        """Which tile of rows a stack belongs to: the index into `cut_coords` and block decisions."""
        return stack // (self.groups // self.heads)

    def cut(self, x: Shaped[Array, "B T H D"], by: Blocks, fill: float = 0) -> Shaped[Array, "N rows heads M D"]:
        """Tiles of an array over queries or keys: N = stacks * blocks, M = heads per key head * block size."""
        ratio, dim = x.shape[2] // self.groups, x.shape[3]
        x = jnp.pad(x, ((0, 0), (0, by.count * by.size - by.length), (0, 0), (0, 0)), constant_values=fill)
        row_tiles, head_tiles = self.batch // self.rows, self.groups // self.heads
        x = x.reshape(row_tiles, self.rows, by.count, by.size, head_tiles, self.heads, ratio, dim)
        x = x.transpose(0, 4, 2, 1, 5, 6, 3, 7)
        return x.reshape(self.stacks * by.count, self.rows, self.heads, ratio * by.size, dim)

    def join(self, tiles: Shaped[Array, "N rows heads M D"], by: Blocks) -> Shaped[Array, "B T H D"]:
        """The inverse of `cut`."""
        ratio, dim = tiles.shape[3] // by.size, tiles.shape[4]
        row_tiles, head_tiles = self.batch // self.rows, self.groups // self.heads
        x = tiles.reshape(row_tiles, head_tiles, by.count, self.rows, self.heads, ratio, by.size, dim)
        x = x.transpose(0, 3, 2, 6, 1, 4, 5, 7)
        return x.reshape(self.batch, by.count * by.size, self.groups * ratio, dim)[:, : by.length]

    def cut_coords(self, at: TokenCoords, by: Blocks) -> tuple[Int32[Array, "N m rows b"], Int32[Array, "N m rows b"]]:
        """(position, segment) of every row tile and block; padding gets segment 0."""
        pad = ((0, 0), (0, by.count * by.size - by.length))

        def cut(x):
            x = jnp.pad(x, pad).reshape(self.batch // self.rows, self.rows, by.count, by.size)
            return x.transpose(0, 2, 1, 3)

        return cut(at.position), cut(at.segment)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, and at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))
