"""The Pallas block kernel for TPUs, which any other machine can interpret.

Owns the component and what it refuses. It is compiled by Mosaic on a TPU; elsewhere it runs, slowly, in
Pallas' interpreter, which is for checking numbers and not for training.
"""

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from lwm_core.attention import (
    AbstractRunningKernel,
    AttentionSite,
    BlockGrads,
    BlockOut,
    Support,
    TokenCoords,
    Visibility,
)
from lwm_core.mesh import platform
from lwm_pallas.tpu.backward import backward
from lwm_pallas.tpu.forward import Carried, accumulate, forward
from lwm_pallas.tpu.operands import LANES, cut_of


_DTYPES = ("float32", "bfloat16")
_LARGEST_HEAD = 256


class TPUKernel(AbstractRunningKernel):
    """FlashAttention on one TPU core, forward and backward, without copying or computing blocks of no visible pair.

    Key heads are read where they lie, never repeated. A ring hands its running softmax in and gets it back.

    **Arguments:**

    - `block_q`, `block_k`: queries and keys per block, at most (half as many where heads are large); on a TPU
      multiples of 128.
    - `interpret`: None compiles on a TPU and interprets on a CPU; True always interprets.
    """

    block_q: int = eqx.field(static=True, default=1024)
    block_k: int = eqx.field(static=True, default=1024)
    interpret: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        for name, value in (("block_q", self.block_q), ("block_k", self.block_k)):
            if value < 16 or value % 16:
                raise ValueError(f"TPUKernel({name}={value}): give a positive multiple of 16, as 512.")

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
        for name, value in (("block_q", self.block_q), ("block_k", self.block_k)):
            if platform == "tpu" and not self.interpret and value % LANES:
                return Support(False, f"{name}={value} is no multiple of a TPU's {LANES} lanes: use 512.")
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

    def start(self, q: Float[Array, "B T H D"]) -> Carried:
        return Carried.nothing(q, cut_of(q, self.block_q))

    def accumulate(
        self,
        running: PyTree,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> Carried:
        return accumulate(running, q, k, v, q_at, kv_at, rule, **self._how())

    def result(self, running: PyTree, q: Float[Array, "B T H D"]) -> BlockOut:
        return running.result(cut_of(q, self.block_q))

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
        interpret = platform() == "cpu" if self.interpret is None else self.interpret
        return {"blocks": (self.block_q, self.block_k), "interpret": interpret}
