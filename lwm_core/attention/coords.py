"""Where a token stands, and which tokens it may see.

Owns `TokenCoords` (data that travels with queries and keys) and `Visibility` (the static rule). Positions
and segments are data, so one kernel serves packed documents, padding, zigzag order, windows and decoding.
It does not compute attention, and it never materialises a mask larger than the block it is asked for.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32


class TokenCoords(eqx.Module):
    """The coordinates of every token of a batch.

    **Arguments:**

    - `position`: position within the token's own document, from 0.
    - `segment`: which document of the row the token belongs to, from 1; 0 is padding or an empty cache slot,
      which sees nothing and is seen by nothing.
    """

    position: Int32[Array, "B T"]
    segment: Int32[Array, "B T"]

    @staticmethod
    def of_rows(batch: int, length: int, start: int = 0) -> "TokenCoords":
        """One document per row, positions `start .. start + length - 1`."""
        position = jnp.broadcast_to(jnp.arange(start, start + length, dtype=jnp.int32), (batch, length))
        return TokenCoords(position, jnp.ones((batch, length), jnp.int32))


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
