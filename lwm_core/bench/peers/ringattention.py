"""The `ringattention` package, the method's reference implementation, as a contender.

Owns the shim that lets it be imported, the arguments that LWM gives it, and the choice of its chunk: each case
takes the fastest of several. It has no grouped heads (keys are repeated), no window, and one layout.
"""

import functools
import importlib
import sys
import time
import types
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lwm_core.attention import Support
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Entry, compiled, devices_support, mesh_of
from lwm_core.mesh import SEQUENCE


_CHUNKS = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class RingAttentionPeer:
    """`ringattention` at its best chunk, float32 logits, on a mesh of one or more devices."""

    name: str = "ringattention"
    package: str = "ringattention"
    note: str = (
        "ringattention 0.1.2 does not import on this JAX; it is measured behind the shim jax.lib.xla_bridge = "
        "types.SimpleNamespace(get_backend=jax.extend.backend.get_backend), at the fastest of the chunks "
        f"{', '.join(map(str, _CHUNKS))} that divide a shard"
    )

    def supports(self, case: Case) -> Support:
        if case.window:
            return Support(False, "it has no sliding window.")
        if not self._chunks(case):
            return Support(False, f"a shard of {case.length / case.devices:g} tokens is no multiple of a chunk.")
        return devices_support(case)

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        tried = [self._at(chunk, case, inputs, backward) for chunk in self._chunks(case)]
        return min(tried, key=_second_call) if len(tried) > 1 else tried[0]

    def _chunks(self, case: Case) -> list[int]:
        shard, rest = divmod(case.length, case.devices)
        fitting = [chunk for chunk in _CHUNKS if not rest and shard % chunk == 0]
        # A shard shorter than every chunk is one chunk.
        return fitting or ([shard] if not rest and shard < _CHUNKS[0] else [])

    def _at(self, chunk: int, case: Case, inputs: Inputs, backward: bool) -> Entry:
        ring_attention = _package().ring_attention
        how = {
            "causal_block_size": 1,
            "query_chunk_size": chunk,
            "key_chunk_size": chunk,
            "deterministic": True,
            "dropout_rng": None,
            "attn_pdrop": 0.0,
            "dtype": jnp.dtype(case.dtype),
            "policy": jax.checkpoint_policies.nothing_saveable,
            "precision": None,
            "prevent_cse": False,
        }

        def shard(q, k, v, segment):
            return ring_attention(q, k, v, None, segment, None, SEQUENCE, True, how)

        def attention(q, k, v, *segment):
            k, v = (jnp.repeat(x, case.heads // case.kv_heads, axis=2) for x in (k, v))
            spec, ids = P(None, SEQUENCE, None, None), P(None, None) if segment else None
            run = functools.partial(jax.shard_map, in_specs=(spec, spec, spec, ids), out_specs=spec, check_vma=False)
            return run(shard)(q, k, v, segment[0] if segment else None)

        extras = [(inputs.segment, ("batch", None))] if case.packed else []
        options = f"chunk {chunk}"
        return compiled(attention, case, inputs, extras, mesh=mesh_of(case), backward=backward, options=options)


def _second_call(entry: Entry) -> float:
    entry.run(1)
    start = time.perf_counter()
    entry.run(1)
    return time.perf_counter() - start


def _package():
    """The package, imported behind the shim where JAX has lost the module that it asks for its platform."""
    if "ringattention" not in sys.modules and not hasattr(jax.lib, "xla_bridge"):
        from jax.extend import backend

        shim = types.SimpleNamespace(get_backend=backend.get_backend)
        jax.lib.xla_bridge = shim  # pyright: ignore[reportAttributeAccessIssue]
    return importlib.import_module("ringattention")
