"""What lwm_pallas offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "kernel",
        "pallas",
        "lwm_pallas.kernel:PallasKernel",
        "FlashAttention for TPUs in Pallas, forward and backward; interpreted on a CPU, for checking.",
        {"block_q": 16, "block_k": 16},
    )
