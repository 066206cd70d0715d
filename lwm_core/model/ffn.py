"""The gated feed-forward network, optionally a chunk of tokens at a time.

The chunked form is the other half of blockwise transformers (Liu & Abbeel 2023): no T×F array beyond a chunk,
in the forward pass or the backward.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.mesh import logical


class GatedFFN(eqx.Module):
    """`down(silu(gate(x)) * up(x))` (SwiGLU, Shazeer 2020)."""

    gate: Float[Array, "E F"] = eqx.field(metadata=logical("embed", "ffn"))
    up: Float[Array, "E F"] = eqx.field(metadata=logical("embed", "ffn"))
    down: Float[Array, "F E"] = eqx.field(metadata=logical("ffn", "embed"))
    chunk: int | None = eqx.field(static=True, default=None)

    def __call__(self, x: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
        if self.chunk is None or self.chunk >= x.shape[1]:
            return self._dense(x)
        batch, length, width = x.shape
        pad = -length % self.chunk
        padded = jnp.pad(x, ((0, 0), (0, pad), (0, 0)))
        chunks = padded.reshape(batch, -1, self.chunk, width).swapaxes(0, 1)
        done = jax.lax.map(jax.checkpoint(lambda part: self._dense(part)), chunks)
        return done.swapaxes(0, 1).reshape(batch, length + pad, width)[:, :length]

    def _dense(self, x: Float[Array, "B C E"]) -> Float[Array, "B C E"]:
        dtype = x.dtype
        return (jax.nn.silu(x @ self.gate.astype(dtype)) * (x @ self.up.astype(dtype))) @ self.down.astype(dtype)
