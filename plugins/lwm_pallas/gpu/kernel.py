"""The block kernel for NVIDIA Hopper GPUs: its options, what it refuses, and the calls of its kernels.

Owns the component. It is compiled by Mosaic GPU for compute capability 9.0; with `interpret` a CPU runs the same
kernels, warpgroup by warpgroup, in Pallas' GPU interpreter, which is for checking numbers and protocol and is slow.
"""

import math
import os
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lwm_core.attention import (
    AbstractRunningKernel,
    AttentionSite,
    BlockGrads,
    BlockOut,
    Support,
    TokenCoords,
    Visibility,
)
from lwm_pallas.gpu import forward as ahead
from lwm_pallas.gpu.keys import key_gradients
from lwm_pallas.gpu.machine import Hopper, Interpreted, Machine
from lwm_pallas.gpu.operands import CONSUMERS, WARPGROUP_ROWS, head_size, padded_stat
from lwm_pallas.gpu.queries import query_gradient


_DTYPES = ("bfloat16", "float16")
_LARGEST_HEAD = 256
_HOPPER = "9.0"
# Bytes of shared memory that one block of threads may use, and what barriers, statistics and coordinates take of it.
_SHARED, _SMALL = 227 * 1024, 12 * 1024
_BLOCK = CONSUMERS * WARPGROUP_ROWS


class Tiles(NamedTuple):
    """How one kernel streams: tokens per step, and steps in shared memory at once."""

    block: int
    stages: int


# (forward, query gradient, key gradients) by head size.
_TILES = {
    64: (Tiles(128, 3), Tiles(128, 2), Tiles(128, 2)),
    128: (Tiles(128, 2), Tiles(64, 3), Tiles(64, 2)),
    256: (Tiles(64, 2), Tiles(64, 2), Tiles(64, 2)),
}


class HopperKernel(AbstractRunningKernel):
    """FlashAttention on one Hopper GPU, forward and backward, meeting only blocks that hold a visible pair.

    Two warpgroups compute and one copies (arXiv:2407.08608). Heads of 64, 128 and 256 as they are, others up to 256
    padded with zeros. Scores, statistics and gradients are summed in float32 in one fixed order, so bits repeat.

    **Arguments:**

    - `out`: "float32" returns outputs that a schedule can merge without loss; "input" returns them in the queries'
      dtype, which is faster where nothing is merged;
    - `forward_block`, `forward_stages`: keys per step of the forward kernel, and steps in shared memory; None takes
      what suits the head size, as for all of the following;
    - `query_block`, `query_stages`: the same of the queries' gradient;
    - `key_block`, `key_stages`: queries per step of the keys' and values' gradients;
    - `interpret`: runs on a CPU, slowly, to check numbers.
    """

    out: str = eqx.field(static=True, default="float32")
    forward_block: int | None = eqx.field(static=True, default=None)
    forward_stages: int | None = eqx.field(static=True, default=None)
    query_block: int | None = eqx.field(static=True, default=None)
    query_stages: int | None = eqx.field(static=True, default=None)
    key_block: int | None = eqx.field(static=True, default=None)
    key_stages: int | None = eqx.field(static=True, default=None)
    interpret: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.out not in ("float32", "input"):
            raise ValueError(f"HopperKernel(out={self.out!r}): write 'float32' or 'input'.")
        for name in ("forward_block", "query_block", "key_block"):
            value = getattr(self, name)
            if value is not None and (value < 64 or value % 64 or value > 256):
                raise ValueError(f"HopperKernel({name}={value}): give 64, 128, 192 or 256 tokens, or None.")
        for name in ("forward_stages", "query_stages", "key_stages"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"HopperKernel({name}={value}): give a positive number of steps, or None.")

    def tiles(self, head_dim: int) -> tuple[Tiles, Tiles, Tiles]:
        """How the forward kernel, the queries' and the keys' gradients stream heads of this size."""
        options = (
            (self.forward_block, self.forward_stages),
            (self.query_block, self.query_stages),
            (self.key_block, self.key_stages),
        )
        chosen = zip(options, _TILES[head_size(head_dim)], strict=True)
        return tuple(Tiles(block or usual.block, stages or usual.stages) for (block, stages), usual in chosen)  # pyright: ignore[reportReturnType]

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
                f"heads of {site.head_dim} do not fit its shared memory, {_LARGEST_HEAD} do: "
                "use more and smaller heads, or the 'blockwise' kernel.",
            )
        lacking = self._memory_support(site.head_dim)
        return self._machine_support(site.platform) if lacking.ok else lacking

    def _memory_support(self, head_dim: int) -> Support:
        names = "forward", "query", "key"
        for name, tiles, held in zip(names, self.tiles(head_dim), _held(head_size(head_dim)), strict=True):
            need = held + tiles.stages * 4 * tiles.block * head_size(head_dim)
            if need + _SMALL > _SHARED:
                return Support(
                    False,
                    f"{name}_block={tiles.block} with {name}_stages={tiles.stages} needs {need // 1024} KiB of shared "
                    f"memory for heads of {head_dim} and {(_SHARED - _SMALL) // 1024} are there: give less of either.",
                )
        return Support(True)

    def _machine_support(self, platform: str) -> Support:
        if self.interpret:
            return _interpreter_support()
        if platform not in ("gpu", "cuda"):
            return Support(
                False,
                f"it is compiled for NVIDIA Hopper GPUs and this is a {platform}: use 'blockwise', "
                "or interpret=True to check it.",
            )
        capability = _capability()
        if capability not in (None, _HOPPER):
            return Support(
                False,
                f"it is compiled for compute capability {_HOPPER} (H100, H200) and this GPU has {capability}: "
                "use 'blockwise'.",
            )
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
        block, stages = self.tiles(q.shape[3])[0]
        dtype = jnp.float32 if self.out == "float32" else q.dtype
        how = {"block_k": block, "stages": stages, "out_dtype": dtype}
        return ahead.forward(self._machine(), q, k, v, q_at, kv_at, rule, **how)

    def start(self, q: Float[Array, "B T H D"]) -> ahead.Carry:
        return ahead.start(q)

    def accumulate(
        self,
        running: ahead.Carry,
        q: Float[Array, "B T H D"],
        k: Float[Array, "B S G D"],
        v: Float[Array, "B S G D"],
        q_at: TokenCoords,
        kv_at: TokenCoords,
        rule: Visibility,
    ) -> ahead.Carry:
        block, stages = self.tiles(q.shape[3])[0]
        machine = self._machine()
        return ahead.accumulate(machine, running, q, k, v, q_at, kv_at, rule, block_k=block, stages=stages)

    def result(self, running: ahead.Carry, q: Float[Array, "B T H D"]) -> BlockOut:
        return ahead.result(running, q)

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
        _, by_query, by_key = self.tiles(q.shape[3])
        machine, dout = self._machine(), dout.astype(q.dtype)
        # A query that sees nothing has lse -inf; +inf makes each of its weights exp(score - inf) = 0.
        powers = jnp.where(jnp.isneginf(lse), jnp.inf, lse * math.log2(math.e))
        whole = math.lcm(_BLOCK, by_key.block)
        stats = jnp.stack([padded_stat(powers, whole, jnp.inf), padded_stat(delta, whole, 0.0)], axis=2)
        inputs = machine, q, k, v, q_at, kv_at, rule, stats, dout
        dq = query_gradient(*inputs, block_k=by_query.block, stages=by_query.stages)
        return BlockGrads(dq, *key_gradients(*inputs, block_q=by_key.block, stages=by_key.stages))

    def _machine(self) -> Machine:
        if not self.interpret:
            return Hopper()
        from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

        return Interpreted(InterpretGPUParams())


def _held(head: int) -> tuple[int, int, int]:
    """Bytes of shared memory that stay: queries; queries and their output gradients; keys and values."""
    half = 2 if head > 128 else 1
    return 2 * _BLOCK * head, 4 * _BLOCK // half * head, 4 * _BLOCK // half * head


def _capability() -> str | None:
    """Compute capability of the GPUs of this process; None where there are none, so that others can be compiled for."""
    if jax.default_backend() != "gpu":
        return None
    return str(getattr(jax.devices()[0], "compute_capability", "none of NVIDIA's"))


def _interpreter_support() -> Support:
    """The interpreter blocks a thread of XLA for every warpgroup that waits at a barrier."""
    need, threads = CONSUMERS + 2, max(len(os.sched_getaffinity(0)), jax.local_device_count())
    if threads < need:
        return Support(
            False,
            f"interpreting it takes {need} threads of XLA and there are {threads}: set "
            "XLA_FLAGS=--xla_force_host_platform_device_count=8 before starting Python.",
        )
    return Support(True)
