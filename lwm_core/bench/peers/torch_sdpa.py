"""PyTorch's `scaled_dot_product_attention` on the CPU as a contender, with as many threads as there are cores.

Owns the translation of a case into its arguments. Documents and windows would need a mask of all pairs, which
takes its fused kernel away, so they are refused.
"""

import os
from dataclasses import dataclass

import jax
import numpy as np

from lwm_core.attention import Support
from lwm_core.bench.case import Case, Inputs
from lwm_core.bench.contender import Entry


@dataclass(frozen=True)
class TorchSDPA:
    """`torch.nn.functional.scaled_dot_product_attention(is_causal=True)`."""

    name: str = "torch-sdpa"
    package: str = "torch"
    note: str = ""

    def supports(self, case: Case) -> Support:
        if jax.default_backend() != "cpu" or case.devices > 1:
            return Support(False, "it is measured on one CPU.")
        if case.packed or case.window:
            return Support(False, "it has no documents and no windows without a mask of every pair.")
        return Support(True)

    def prepare(self, case: Case, inputs: Inputs, *, backward: bool) -> Entry:
        # Its threads otherwise spin on after their work is done, on the cores of whoever is measured next.
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
        import torch  # pyright: ignore[reportMissingImports]

        threads = len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        dtype = getattr(torch, case.dtype)
        q, k, v, dout = (torch.from_numpy(x).to(dtype).transpose(1, 2).contiguous() for x in inputs[:4])
        for x in (q, k, v):
            x.requires_grad_(backward)

        def once():
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=case.heads != case.kv_heads
            )
            return torch.autograd.grad(out, (q, k, v), dout)[0] if backward else out

        def run(times: int) -> None:
            for _ in range(times):
                once()

        def result() -> np.ndarray:
            return once().transpose(1, 2).float().numpy()

        return Entry(run, result, f"{threads} threads")
