"""What lwm_ring offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


_SMALL = {"kernel": {"use": "blockwise", "block_q": 16, "block_k": 16}}


@hookimpl
def lwm_components():
    yield Component(
        "attention",
        "ring",
        "lwm_ring.ring:RingAttention",
        "Keys and values travel round the sp axis; any block kernel computes each hop.",
        _SMALL,
    )
    yield Component(
        "attention",
        "all-gather",
        "lwm_ring.allgather:AllGatherAttention",
        "Every shard of the sp axis gathers all keys; quick where keys are small.",
        _SMALL,
    )
    yield Component(
        "attention",
        "ulysses",
        "lwm_ring.ulysses:UlyssesAttention",
        "Shards of the sp axis trade slots for heads; needs key heads that divide over it.",
        _SMALL,
    )
    yield Component(
        "attention",
        "ulysses-ring",
        "lwm_ring.hybrid:UlyssesRingAttention",
        "Neighbours on the sp axis trade slots for heads, and keys travel round the groups: any number of heads.",
        _SMALL,
    )
