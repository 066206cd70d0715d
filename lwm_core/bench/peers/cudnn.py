"""cuDNN's fused attention, as JAX binds it, as a contender on one GPU.

Owns the translation of a case into its masks, lengths and offsets, at its fastest: nothing is checked while it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from lwm_core.attention import Support
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Entry, compiled


@dataclass(frozen=True)
class CuDNN:
    """`jax.nn.dot_product_attention(implementation="cudnn")`, and the same binding with packed documents."""

    name: str = "cudnn-direct"
    package: str = "jax"
    note: str = ""

    def supports(self, case: Case) -> Support:
        lacking = gpu_support(case)
        if not lacking.ok:
            return lacking
        if case.packed and case.heads != case.kv_heads:
            return Support(False, "JAX's binding of packed rows counts key heads as query heads, which is wrong here.")
        return Support(True)

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        attention, extras = self.call(case, inputs.position)
        placed = [(x, ("batch", None)) for x in extras]
        return compiled(attention, case, inputs, placed, mesh=None, backward=backward)

    def call(self, case: Case, position: np.ndarray) -> tuple[Callable[..., Any], list[np.ndarray]]:
        """(attention of q, k, v and these further arrays, the arrays)."""
        from jax._src.cudnn import fused_attention_stablehlo as cudnn

        masks = cudnn.MaskType

        def attention(q, k, v, *documents):
            lengths, offsets = documents or (None, None)
            found: Any = cudnn.dot_product_attention(
                q,
                k,
                v,
                q_seqlen=lengths,
                kv_seqlen=lengths,
                q_offsets=offsets,
                kv_offsets=offsets,
                scale=case.head_dim**-0.5,
                mask_type=masks.PADDING_CAUSAL if documents else masks.CAUSAL,
                sliding_window_length=case.rule.window,
            )
            return found

        return attention, list(spans(position)) if case.packed else []


def gpu_support(case: Case) -> Support:
    """Whether this process has an NVIDIA GPU, and the case is one that its fused kernels take."""
    if jax.default_backend() != "gpu":
        return Support(False, f"it needs an NVIDIA GPU and this is a {jax.default_backend()}.")
    if case.devices > 1:
        return Support(False, "it is measured on one device; it does not spread a sequence.")
    if case.dtype not in ("bfloat16", "float16"):
        return Support(False, f"it computes in bfloat16 or float16, not {case.dtype}.")
    return Support(True)


def spans(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, first slots) of the documents, alike in all rows; an offset more than documents, -1 at the end."""
    rows, length = position.shape
    starts = np.flatnonzero(position[0] == 0).astype(np.int32)
    lengths = np.diff(np.append(starts, length)).astype(np.int32)
    offsets = np.append(starts, np.int32(-1))
    return np.tile(lengths, (rows, 1)), np.tile(offsets, (rows, 1))
