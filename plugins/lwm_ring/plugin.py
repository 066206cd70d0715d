"""What lwm_ring offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "attention",
        "ring",
        "lwm_ring.ring:RingAttention",
        "Keys and values travel round the sp axis; any block kernel computes each hop.",
        {"kernel": {"use": "blockwise"}},
    )
