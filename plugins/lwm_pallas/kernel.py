"""The Pallas block kernel for TPUs, which any other machine can interpret.

Owns the component and what it refuses. It is compiled by Mosaic on a TPU; elsewhere it runs, slowly, in
Pallas' interpreter, which is for checking numbers and not for training.
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from lwm_core.attention import (
    AbstractBlockKernel,
    AttentionSite,
    BlockGrads,
    BlockOut,
    Support,
    TokenCoords,
    Visibility,
)
from lwm_pallas.backward import backward
from lwm_pallas.forward import forward


_DTYPES = ("float32", "bfloat16")
_LARGEST_HEAD = 256


class PallasKernel(AbstractBlockKernel):
    """FlashAttention on one TPU core, skipping blocks that hold no visible pair, forward and backward.

    **Arguments:**

    - `block_q`, `block_k`: queries and keys per block; on a TPU multiples of 16 and 128.
    - `interpret`: None compiles on a TPU and interprets on a CPU; True always interprets.
    """

    block_q: int = eqx.field(static=True, default=512)
    block_k: int = eqx.field(static=True, default=512)
    interpret: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        for name, value in (("block_q", self.block_q), ("block_k", self.block_k)):
            if value < 16 or value % 16:
                raise ValueError(f"PallasKernel({name}={value}): give a positive multiple of 16, as 512.")

    def supports(self, site: AttentionSite) -> Support:
        if site.heads % site.kv_heads:
            return Support(False, f"{site.heads} query heads do not divide by {site.kv_heads} key heads.")
        if site.dtype not in _DTYPES:
            return Support(
                False, f"it computes in {' or '.join(_DTYPES)}, not {site.dtype}: cast, or use the 'blockwise' kernel."
            )
        if site.head_dim > _LARGEST_HEAD:
            return Support(
                False,
                f"heads of {site.head_dim} do not fit its on-chip memory, {_LARGEST_HEAD} do: "
                "use more and smaller heads, or the 'blockwise' kernel.",
            )
        return self._platform_support(site.platform)

    def _platform_support(self, platform: str) -> Support:
        if platform not in ("cpu", "tpu") and not self.interpret:
            return Support(
                False,
                f"it is compiled for TPUs and this is a {platform}: use 'blockwise', or interpret=True to check it.",
            )
        if platform == "tpu" and not self.interpret and self.block_k % 128:
            return Support(False, f"block_k={self.block_k} is no multiple of a TPU's 128 lanes: use 512.")
        return Support(True)

    def forward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> BlockOut:
        return forward(q, k, v, q_at, kv_at, rule, **self._how())

    def backward(
        self,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
        lse: Float[Array, "B H T"],
        delta: Float[Array, "B H T"],
        dout: Float[Array, "B T H D"],
    ) -> BlockGrads:
        return backward(q, k, v, q_at, kv_at, rule, lse, delta, dout, **self._how())

    def _how(self) -> dict:
        interpret = jax.default_backend() == "cpu" if self.interpret is None else self.interpret
        return {"blocks": (self.block_q, self.block_k), "interpret": interpret}
