"""Where tokens stand, in full and in summary, and which tokens they may see.

Owns `TokenCoords` (data that travels with queries and keys), `Extent` (where each block of tokens begins and
ends) and `Visibility` (the static rule). Positions and segments are data, so one kernel serves packed documents,
padding, zigzag order, windows and decoding. It does not compute attention, and it never materialises a mask
larger than the block it is asked for.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from lwm_core.mesh.declared import logical


_NONE = np.iinfo(np.int32).max


class Extent(eqx.Module):
    """The lexicographically first and last (segment, position) of each block of `size` tokens, padding left out.

    A block of padding alone has `first_segment` at the largest integer and `last_segment` 0, so that it meets
    no other block. `whole` says that the block holds no padding.
    """

    first_segment: Int32[Array, "B n"]
    first_position: Int32[Array, "B n"]
    last_segment: Int32[Array, "B n"]
    last_position: Int32[Array, "B n"]
    whole: Bool[Array, "B n"]
    size: int = eqx.field(static=True)

    @staticmethod
    def of(at: "TokenCoords", block: int) -> "Extent":
        """Summaries of consecutive blocks; the last one may be short.

        Made from the coordinates' own summaries (`TokenCoords.with_extents`) where blocks are whole numbers of
        them, which spares reading every token; the same either way.
        """
        if at.extents is not None and block % at.extents.size == 0:
            return at.extents.joined(block // at.extents.size)
        live = at.segment != 0
        first = jnp.where(live, at.segment, _NONE), jnp.where(live, at.position, _NONE)
        return Extent(*first, at.segment, jnp.where(live, at.position, -1), live, 1).joined(block)

    def joined(self, times: int) -> "Extent":
        """Summaries of blocks that many times as long."""
        if times == 1:
            return self
        rows, count = self.whole.shape
        padded = self.padded(rows, -(-count // times) * times)
        first, first_at, last, last_at, whole = (x.reshape(rows, -1, times) for x in _parts(padded))
        start, end = first.min(axis=-1), last.max(axis=-1)
        return Extent(
            start,
            jnp.where(first == start[..., None], first_at, _NONE).min(axis=-1),
            end,
            jnp.where(last == end[..., None], last_at, -1).max(axis=-1),
            whole.all(axis=-1),
            self.size * times,
        )

    def padded(self, rows: int, blocks: int) -> "Extent":
        """With rows and blocks of padding added until there are so many."""
        have_rows, have_blocks = self.whole.shape
        widths = (0, rows - have_rows), (0, blocks - have_blocks)
        if rows == have_rows and blocks == have_blocks:
            return self
        fills = _NONE, _NONE, 0, -1, False
        filled = [jnp.pad(x, widths, constant_values=fill) for x, fill in zip(_parts(self), fills, strict=True)]
        return Extent(*filled, size=self.size)


def _parts(extent: Extent) -> tuple[Array, ...]:
    first, last = (extent.first_segment, extent.first_position), (extent.last_segment, extent.last_position)
    return *first, *last, extent.whole


class TokenCoords(eqx.Module):
    """The coordinates of every token of a batch.

    **Arguments:**

    - `position`: position within the token's own document, from 0.
    - `segment`: which document of the row the token belongs to, from 1; 0 is padding or an empty cache slot,
      which sees nothing and is seen by nothing.
    - `extents`: summaries of runs of tokens, by which kernels skip blocks; None leaves it to each kernel to make
      its own. Make them by `with_extents`, once for all layers.
    """

    position: Int32[Array, "B T"] = eqx.field(metadata=logical("batch", "sequence"))
    segment: Int32[Array, "B T"] = eqx.field(metadata=logical("batch", "sequence"))
    extents: Extent | None = None

    @staticmethod
    def of_rows(batch: int, length: int, start: int = 0) -> "TokenCoords":
        """One document per row, positions `start .. start + length - 1`."""
        position = jnp.broadcast_to(jnp.arange(start, start + length, dtype=jnp.int32), (batch, length))
        return TokenCoords(position, jnp.ones((batch, length), jnp.int32))

    def with_extents(self, granule: int = 64) -> "TokenCoords":
        """The same coordinates with summaries of every `granule` tokens.

        They travel with the coordinates, so that what is visible is read from the tokens once per step and not by
        every layer, pass and hop. `Extent.of` finds them; a kernel needs to know nothing else.
        """
        return replace(self, extents=Extent.of(TokenCoords(self.position, self.segment), granule))

    def cut(self, start: int, stop: int) -> "TokenCoords":
        """The coordinates of slots `start` to `stop`; summaries stay where the cut divides none."""
        position, segment = self.position[:, start:stop], self.segment[:, start:stop]
        if self.extents is None or start % self.extents.size or (stop - start) % self.extents.size:
            return TokenCoords(position, segment)
        first, last = start // self.extents.size, stop // self.extents.size
        return TokenCoords(position, segment, jax.tree.map(lambda x: x[:, first:last], self.extents))


class Visibility(eqx.Module):
    """A static rule: query i sees key j when all of these hold.

    - both are in the same non-zero segment;
    - `causal_block` is None, or `j // causal_block <= i // causal_block` (1 is ordinary causal order,
      256 lets the tokens of a 256-token frame see each other);
    - `window` is None, or `|i - j| < window`.

    i and j are positions within the document, not slots of the row.
    """

    causal_block: int | None = eqx.field(static=True, default=1)
    window: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        for name, value in (("causal_block", self.causal_block), ("window", self.window)):
            if value is not None and value < 1:
                raise ValueError(f"Visibility({name}={value}): give a positive integer, or None for no limit.")

    def mask(self, q_at: TokenCoords, kv_at: TokenCoords) -> Bool[Array, "B T S"]:
        """Visible pairs of this (query block, key block); the one definition that every kernel must match."""
        i, j = q_at.position[:, :, None], kv_at.position[:, None, :]
        seen = (q_at.segment[:, :, None] == kv_at.segment[:, None, :]) & (q_at.segment[:, :, None] != 0)
        if self.causal_block is not None:
            seen &= j // self.causal_block <= i // self.causal_block
        if self.window is not None:
            seen &= jnp.abs(i - j) < self.window
        return seen
