"""tokamax's Mosaic GPU attention as a contender on one GPU.

Owns the translation of a case into its causal order and ranges of keys: documents and windows by `k_start`, so that
its forward kernel skips blocks; its Hopper backward kernels skip by causal order only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lwm_core.attention import Support
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Entry, compiled
from lwm_core.bench.peers.cudnn import gpu_support


@dataclass(frozen=True)
class Tokamax:
    """`tokamax`'s Mosaic GPU operation with its own heuristics, no autotuning."""

    name: str = "tokamax-direct"
    package: str = "tokamax"
    note: str = ""

    def supports(self, case: Case) -> Support:
        return gpu_support(case)

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        attention, extras = self.call(case, inputs.position)
        placed = [(x, ("batch", None)) for x in extras]
        return compiled(attention, case, inputs, placed, mesh=None, backward=backward)

    def call(self, case: Case, position: np.ndarray) -> tuple[Callable[..., Any], list[np.ndarray]]:
        """(attention of q, k, v and these further arrays, the arrays)."""
        from tokamax._src.ops.attention import base, pallas_mosaic_gpu  # pyright: ignore[reportMissingImports]

        operation = pallas_mosaic_gpu.PallasMosaicGpuFlashAttention()

        def attention(q, k, v, *first):
            starts = {"k_start": first[0][:, None]} if first else {}
            return operation(q, k, v, mask=base.Mask(is_causal=True, **starts))

        return attention, [first_keys(case, position)] if case.packed or case.window else []


def first_keys(case: Case, position: np.ndarray) -> np.ndarray:
    """The first slot that each query sees: its document's first, or the window's."""
    slot = np.arange(case.length, dtype=np.int32)
    first = slot - position
    if case.rule.window is not None:
        first = np.maximum(first, slot - (case.rule.window - 1))
    return first.astype(np.int32)
