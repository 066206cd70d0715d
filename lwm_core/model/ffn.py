"""The gated feed-forward network, optionally a chunk of tokens at a time.

The chunked form is the other half of blockwise transformers (Liu & Abbeel 2023): no T×F array beyond a chunk,
in the forward pass or the backward.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.mesh import logical, pieces


class GatedFFN(eqx.Module):
    """`down(silu(gate(x)) * up(x))` (SwiGLU, Shazeer 2020).

    - `chunk`: tokens of each row, on each device, whose F columns exist at a time; None for all of them.
    """

    gate: Float[Array, "E F"] = eqx.field(metadata=logical("embed", "ffn"))
    up: Float[Array, "E F"] = eqx.field(metadata=logical("embed", "ffn"))
    down: Float[Array, "F E"] = eqx.field(metadata=logical("ffn", "embed"))
    chunk: int | None = eqx.field(static=True, default=None)

    def __call__(self, x: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
        if self.chunk is None:
            return self._dense(x)
        batch, length, width = x.shape
        chunk = self.chunk * pieces("sequence", length)
        if chunk >= length:
            return self._dense(x)
        pad = -length % chunk
        # Strided, so that a chunk takes its share of every sequence shard and none has to be gathered.
        chunks = jnp.moveaxis(jnp.pad(x, ((0, 0), (0, pad), (0, 0))).reshape(batch, chunk, -1, width), 2, 0)
        done = jax.lax.map(jax.checkpoint(lambda part: self._dense(part)), chunks)
        return jnp.moveaxis(done, 0, 2).reshape(batch, length + pad, width)[:, :length]

    def _dense(self, x: Float[Array, "B C E"]) -> Float[Array, "B C E"]:
        dtype = x.dtype
        return (jax.nn.silu(x @ self.gate.astype(dtype)) * (x @ self.up.astype(dtype))) @ self.down.astype(dtype)
