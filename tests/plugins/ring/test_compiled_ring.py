"""The schedules as the TPU's own compiler schedules them, for four generations; nothing runs, there is no TPU here."""

import importlib.util
import platform
import sys
from functools import lru_cache

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lwm_core.attention import BlockwiseKernel, TokenCoords, Visibility
from lwm_core.bench.wire import wire_bytes
from lwm_core.mesh import MeshSpec
from lwm_core.mesh.ahead import compile_ahead, tpu_devices
from lwm_core.plan.hlo import collectives
from lwm_registry import catalog
from lwm_ring.hybrid import UlyssesRingAttention
from lwm_ring.ring import RingAttention


pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None and (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="libtpu is for Linux on x86-64",
)

KERNEL = catalog().build("kernel", {"use": "pallas-tpu", "block_q": 128, "block_k": 128, "interpret": False})
# Ring of four; either alone, or of pairs of neighbours on eight chips.
SCHEDULES = {"ring": RingAttention(KERNEL), "ulysses-ring": UlyssesRingAttention(KERNEL, ulysses=2)}
HEADS, KEY_HEADS, DIM, RING = 4, 2, 128, 4
LENGTHS = 1024, 8192
# Every generation and either schedule in every run; the other pairs are long proofs.
PAIRS = [
    *(("ring", "v4"), ("ring", "v5e"), ("ulysses-ring", "v5p"), ("ulysses-ring", "v6e")),
    *(
        pytest.param(*pair, marks=pytest.mark.slow)
        for pair in (("ring", "v5p"), ("ring", "v6e"), ("ulysses-ring", "v4"), ("ulysses-ring", "v5e"))
    ),
]


def shards_of(attention) -> int:
    return RING if isinstance(attention, RingAttention) else 2 * RING


def hops(text):
    """The permutes of a compiled program."""
    return [found for found in collectives(text) if found.kind == "collective-permute"]


@lru_cache
def compiled(generation, attention, length):
    """(traced, lowered, compiled) forward and backward of one packed row over all chips of a slice, bfloat16."""
    eight = {"v4": "2x2x2", "v5p": "2x2x2", "v5e": "2x4", "v6e": "2x4"}
    chips = tpu_devices(generation, eight[generation] if shards_of(attention) == 8 else None)
    mesh = MeshSpec(sp=shards_of(attention)).make(chips)

    def shape(*sizes, dtype="bfloat16"):
        spec = PartitionSpec(None, "sp", *[None] * (len(sizes) - 2))
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(mesh, spec))

    def run(q, k, v, dout, position, segment):
        at = TokenCoords(position, segment).with_extents()

        def call(q, k, v):
            return attention(q, k, v, q_at=at, kv_at=at, rule=Visibility())

        out, pull = jax.vjp(call, q, k, v)
        return out, *pull(dout)

    q, k = (shape(1, length, heads, DIM) for heads in (HEADS, KEY_HEADS))
    ints = shape(1, length, dtype="int32")
    with jax.set_mesh(mesh):
        traced = jax.jit(run).trace(q, k, k, q, ints, ints)
        lowered = traced.lower()
        return traced, lowered, compile_ahead(lowered)


@pytest.mark.parametrize(("name", "generation"), PAIRS)
def test_every_hop_travels_while_attention_is_computed(name, generation):
    """Start and end of each permute stand around an attention call; only what comes home to a group of neighbours
    may travel beside their trade of the queries' gradients instead."""
    _, _, ready = compiled(generation, SCHEDULES[name], LENGTHS[0])
    found = hops(ready.as_text())
    # Keys, values and coordinates forward and backward, and two gradients that make one hop more.
    assert sum(hop.times for hop in found) == 2 * 3 * (RING - 1) + 2 * RING
    for hop in found:
        beside = {"conditional", "while"} | ({"all-to-all"} if name != "ring" and hop.dtype == "f32" else set())
        assert beside & set(hop.meanwhile), f"{hop} is waited for"


@pytest.mark.parametrize(("name", "generation"), PAIRS)
def test_bytes_on_the_wire_are_those_counted(name, generation):
    traced, _, ready = compiled(generation, SCHEDULES[name], LENGTHS[0])
    counted, text = wire_bytes(traced.jaxpr, {"sp": shards_of(SCHEDULES[name])}), ready.as_text()
    floats = sum(hop.sent * hop.times for hop in hops(text) if hop.dtype != "s32")
    integers = sum(hop.sent * hop.times for hop in hops(text) if hop.dtype == "s32")
    assert (floats, integers) == (counted["ppermute", "float"], counted["ppermute", "integer"])
    if name == "ring":
        assert {found.kind for found in collectives(text)} == {"collective-permute"}
    else:
        # Queries, keys and values are traded once where the program asks for it in both passes.
        once = LENGTHS[0] // (2 * RING) * (HEADS + 2 * KEY_HEADS) * DIM * 2
        traded = sum(found.sent for found in collectives(text) if found.kind == "all-to-all")
        assert traded == counted["all_to_all", "float"] - once / 2


@pytest.mark.parametrize(("name", "generation"), [("ring", "v5e"), ("ulysses-ring", "v6e")])
def test_memory_and_program_grow_with_the_row_and_not_with_its_square(name, generation):
    (_, short, little), (traced, long, much) = (compiled(generation, SCHEDULES[name], length) for length in LENGTHS)
    small, large = (ready.memory_analysis() for ready in (little, much))
    assert large.temp_size_in_bytes <= 1.1 * LENGTHS[1] / LENGTHS[0] * small.temp_size_in_bytes
    assert small.host_temp_size_in_bytes == large.host_temp_size_in_bytes == 0
    assert len(long.as_text()) < 1.05 * len(short.as_text()), "a mask on the host would stand in the program"
    widest = max(
        np.prod(v.aval.shape, dtype=np.int64) for v in _values(compiled("v5e", SCHEDULES[name], 8192)[0].jaxpr)
    )
    assert widest <= 8192 * HEADS * DIM, "no array is larger than the queries"


def _values(jaxpr):
    """Every array of a program, inner programs included."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in jaxpr.eqns:
        yield from equation.outvars
        for body in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _values(body)


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["v4", "v5e", "v5p", "v6e"])
@pytest.mark.parametrize("schedule", [RingAttention, UlyssesRingAttention], ids=["ring", "ulysses-ring"])
def test_the_pure_jax_kernel_overlaps_too(schedule, generation):
    attention = schedule(BlockwiseKernel())
    for hop in hops(compiled(generation, attention, 4096)[2].as_text()):
        assert {"conditional", "while", "all-to-all"} & set(hop.meanwhile), f"{hop} is waited for"
