"""What lwm_pallas offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "kernel",
        "pallas-tpu",
        "lwm_pallas.tpu.kernel:TPUKernel",
        "FlashAttention for TPUs (Mosaic), forward and backward, a ring's softmax carried; a CPU interprets it.",
        {"block_q": 16, "block_k": 16},
    )
    yield Component(
        "kernel",
        "pallas-gpu",
        "lwm_pallas.gpu.kernel:HopperKernel",
        "FlashAttention for NVIDIA Hopper (Mosaic GPU), forward and backward, a ring's softmax carried.",
    )
