"""What the TPU kernels are fed: how a call is cut into blocks, padded heads-first arrays, rows of coordinates.

Owns everything about a call that XLA prepares before a kernel runs, except which blocks are worth a visit
(`visits`), and the few operations that all kernel bodies share. The kernels are in `forward` and `backward`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Shaped

from lwm_core.attention import TokenCoords, Visibility


# The tile of a TPU's vector memory: this many numbers side by side, and rows of bfloat16 above each other.
LANES, ROWS = 128, 16
# Keys whose scores are held at once: wider, and the scores of a block of queries crowd the vector memory.
_CHUNK = 512
# One block of queries or keys of one head. The backward kernels hold four of them twice, to copy while they compute,
# and as many in float32 for sums and results, in the 16 MiB that a program may use on every generation.
_BLOCK_BYTES = 2**19


@dataclass(frozen=True)
class Cut:
    """One axis of `length` tokens in `count` blocks of `size`; the last may reach past the end."""

    length: int
    size: int
    count: int

    @staticmethod
    def of(length: int, limit: int, token_bytes: int) -> "Cut":
        """Equal blocks of at most about `limit` tokens, fewer where a token of a head is so large that two pairs of
        blocks would crowd the vector memory; an even number of them where one is not enough, so that none straddles
        the two halves of a zigzag shard."""
        limit = min(limit, max(LANES, _BLOCK_BYTES // token_bytes // LANES * LANES))
        tile = LANES if limit % LANES == 0 else ROWS
        if length <= limit:
            return Cut(length, _up(length, tile if length > tile else ROWS), 1)
        count = -(-length // limit)
        size = _up(-(-length // (count + count % 2)), tile)
        return Cut(length, size, -(-length // size))

    @property
    def padded(self) -> int:
        return self.size * self.count

    def chunks(self) -> list[slice]:
        """Parts of a block of keys whose scores are held at once."""
        return [slice(at, min(at + _CHUNK, self.size)) for at in range(0, self.size, _CHUNK)]


class Grid(NamedTuple):
    """Static sizes of a call: rows, key heads, query heads per key head, numbers of a head, blocks."""

    batch: int
    groups: int
    ratio: int
    dim: int
    q: Cut
    k: Cut

    @staticmethod
    def of(q: Array | jax.ShapeDtypeStruct, k: Array | jax.ShapeDtypeStruct, block_q: int, block_k: int) -> "Grid":
        (batch, _, heads, dim), groups = q.shape, k.shape[2]
        return Grid(batch, groups, heads // groups, dim, cut_of(q, block_q), cut_of(k, block_k))

    @property
    def heads(self) -> int:
        return self.groups * self.ratio

    @property
    def scale(self) -> float:
        return self.dim**-0.5

    def group_of(self, head):
        """The key head that a query head reads. Plain division: Mosaic has no floor of scalars."""
        return jax.lax.div(head, np.int32(self.ratio))


def cut_of(x: Array | jax.ShapeDtypeStruct, limit: int) -> Cut:
    """How the tokens of a "B T H D" array are cut."""
    return Cut.of(x.shape[1], limit, x.shape[3] * x.dtype.itemsize)


def heads_first(x: Shaped[Array, "B T H D"], cut: Cut) -> Shaped[Array, "B H t D"]:
    """Padded to whole blocks, a head's tokens together, as tiles of memory want them."""
    return jnp.pad(x, ((0, 0), (0, cut.padded - x.shape[1]), (0, 0), (0, 0))).transpose(0, 2, 1, 3)


def tokens_first(x: Shaped[Array, "B H t D"], cut: Cut) -> Shaped[Array, "B T H D"]:
    """The inverse of `heads_first`."""
    return x.transpose(0, 2, 1, 3)[:, : cut.length]


def stat_rows(*stats: Float[Array, "B H T"], cut: Cut) -> Float[Array, "B H n t"]:
    """Statistics of the queries above each other, padded with zeros. Rows, because a column would take up 128
    times its memory; kernels turn a block of them where they need columns."""
    return jnp.pad(jnp.stack(stats, axis=2), ((0, 0), (0, 0), (0, 0), (0, cut.padded - cut.length)))


def coord_rows(at: TokenCoords, rule: Visibility, cut: Cut) -> Int32[Array, "B C t"]:
    """The coordinates that the rule compares: segment, then frame, then position where it needs them.

    Frames are divided here because the vector unit has no integer division.
    """
    wanted = [at.segment]
    if rule.causal_block is not None:
        wanted.append(at.position // rule.causal_block)
    if rule.window is not None:
        wanted.append(at.position)
    return jnp.pad(jnp.stack(wanted, axis=1), ((0, 0), (0, 0), (0, cut.padded - cut.length)))


def coord_count(rule: Visibility) -> int:
    """How many rows `coord_rows` gives."""
    return 1 + (rule.causal_block is not None) + (rule.window is not None)


def visible(
    queries: list[Int32[Array, "..."]], keys: list[Int32[Array, "..."]], rule: Visibility
) -> Bool[Array, "..."]:
    """`Visibility.mask` of one block pair, from the coordinates of `coord_rows`: one side rows, the other columns."""
    seen = (queries[0] == keys[0]) & (queries[0] != 0)
    if rule.causal_block is not None:
        seen &= keys[1] <= queries[1]
    if rule.window is not None:
        seen &= jnp.abs(queries[-1] - keys[-1]) < rule.window
    return seen


def rows_of(coords: Int32[Array, "C t"]) -> list[Int32[Array, "1 t"]]:
    return [coords[c : c + 1, :] for c in range(coords.shape[0])]


def columns_of(coords: Int32[Array, "t C"]) -> list[Int32[Array, "t 1"]]:
    return [coords[:, c : c + 1] for c in range(coords.shape[1])]


def dot(x: Float[Array, "m n"], y: Float[Array, "k l"], over: tuple[int, int]) -> Float[Array, "a b"]:
    """The matrix product over these dimensions, summed in float32; float32 inputs keep all of their bits."""
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    dims = (((over[0],), (over[1],)), ((), ()))
    return jax.lax.dot_general(x, y, dims, precision=precision, preferred_element_type=jnp.float32)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
