"""All-gather, Ulysses and decoding against a spread cache, over simulated devices."""

import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import AttentionSite, BlockwiseKernel, Support, TokenCoords, Visibility
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, check_attention
from lwm_ring.allgather import AllGatherAttention
from lwm_ring.ring import RingAttention
from lwm_ring.ulysses import UlyssesAttention


KERNEL = BlockwiseKernel(block_q=8, block_k=8)
PACKED = AttentionCase("packed over an odd length", Visibility(window=9), length=37, heads=(4, 2), dead=True)


@pytest.mark.parametrize(
    "attention", [AllGatherAttention(KERNEL), UlyssesAttention(KERNEL)], ids=["all-gather", "ulysses"]
)
def test_schedules_conform_on_a_mesh(attention):
    with jax.set_mesh(MeshSpec(dp=2, tp=2, sp=2).make()):
        check_attention(attention, (PACKED._replace(heads=(8, 4)),))


def test_ulysses_refuses_more_shards_than_key_heads():
    site = AttentionSite(2, 64, 64, 8, 4, 8, "float32", Visibility(), {"tp": 2, "sp": 4}, "cpu")
    assert "'ulysses-ring' or 'ring'" in UlyssesAttention().supports(site).reason
    assert UlyssesAttention().supports(site._replace(mesh={"tp": 2, "sp": 2})) == Support(True)
    assert UlyssesAttention().supports(site._replace(q_length=1)) == Support(True), "decoding spreads no heads"


def test_decoding_against_a_spread_cache():
    cases = (
        AttentionCase("one token", Visibility(), length=1, keys=48, documents=1, tail=20),
        AttentionCase("a chunk and a window", Visibility(window=7), length=6, keys=45, documents=2, tail=3),
    )
    with jax.set_mesh(MeshSpec(sp=8).make()):
        check_attention(RingAttention(KERNEL), cases)


def test_decoding_leaves_the_cache_where_it_is():
    q, k = jnp.ones((1, 1, 4, 8)), jnp.ones((1, 64, 2, 8))
    here, there = TokenCoords.of_rows(1, 1, start=63), TokenCoords.of_rows(1, 64)
    with jax.set_mesh(MeshSpec(sp=8).make()):
        call = jax.jit(lambda q, k: RingAttention(KERNEL)(q, k, k, q_at=here, kv_at=there, rule=Visibility()))
        k = jax.device_put(k, jax.sharding.PartitionSpec(None, "sp"))
        program = call.lower(q, k).compile().as_text()
    assert "all-reduce" in program
    for moved in ("collective-permute", "all-gather", "all-to-all"):
        assert moved not in program, f"the cache is moved by {moved}"
