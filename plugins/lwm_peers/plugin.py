"""What lwm_peers offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "attention",
        "cudnn",
        "lwm_peers.cudnn:CuDNNAttention",
        "NVIDIA's cuDNN on one GPU: fused for plain and packed rows in order, a mask of every pair for others.",
    )
    yield Component(
        "attention",
        "tokamax",
        "lwm_peers.tokamax:TokamaxAttention",
        "tokamax's Hopper and Blackwell kernels on one GPU; pip install 'lwm-jax[tokamax]'.",
    )
