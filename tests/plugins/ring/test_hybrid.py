"""Ulysses × ring: the definition's numbers at several degrees, the bytes it was chosen for, and its refusals."""

import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import AttentionSite, BlockwiseKernel, Support, TokenCoords, UnsupportedSite, Visibility
from lwm_core.bench.wire import wire_bytes
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, check_attention
from lwm_ring.hybrid import UlyssesRingAttention
from lwm_ring.ring import RingAttention


KERNEL = BlockwiseKernel(block_q=8, block_k=8)
SITE = AttentionSite(1, 64, 64, 16, 4, 8, "bfloat16", Visibility(), {"dp": 1, "tp": 1, "sp": 8}, "cpu")


@pytest.mark.parametrize(
    ("mesh", "ulysses", "heads"),
    [(MeshSpec(sp=8), 2, (4, 2)), (MeshSpec(tp=2, sp=4), 2, (8, 4))],
    ids=["2x4", "2x2 and heads"],
)
def test_hybrid_conforms(mesh, ulysses, heads):
    """Odd lengths, an empty row and windows; the degrees 1 × N are the ring's, which has tests of its own."""
    case = AttentionCase("packed", Visibility(window=9), length=37, heads=heads, dead=True)
    with jax.set_mesh(mesh.make()):
        check_attention(UlyssesRingAttention(KERNEL, ulysses=ulysses), (case,))


def test_hybrid_decodes_against_a_spread_cache():
    case = AttentionCase("one token", Visibility(), length=1, keys=45, heads=(4, 1), documents=1, tail=20)
    with jax.set_mesh(MeshSpec(sp=8).make()):
        check_attention(UlyssesRingAttention(KERNEL), (case,))


def test_degrees_follow_from_each_other_and_from_the_key_heads():
    def degrees(site=SITE, **given):
        part = UlyssesRingAttention(KERNEL, **given)
        assert part.supports(site) == Support(True)
        return part.degrees(site)

    assert degrees(ulysses=2) == degrees(ring=4) == degrees(ulysses=2, ring=4) == (2, 4)
    assert degrees(ring=8) == degrees(ulysses=1) == (1, 8)
    assert degrees(SITE._replace(heads=4)) == (4, 2), "every key head for itself: trading is cheapest"
    assert degrees(SITE._replace(heads=64, kv_heads=1)) == (1, 8), "one key head cannot be traded"
    assert degrees(SITE._replace(mesh={}), ulysses=2) == (2, 1), "nothing to spread over"


def sent(attention, site: AttentionSite) -> float:
    """Bytes of floats that one shard sends, forward and backward, counted in the program."""
    q, k = (jnp.zeros((1, site.q_length, heads, site.head_dim), site.dtype) for heads in (site.heads, site.kv_heads))
    at = TokenCoords.of_rows(1, site.q_length)

    def call(q, k, v):
        return attention(q, k, v, q_at=at, kv_at=at, rule=site.rule)

    with jax.set_mesh(MeshSpec(sp=8).make()):
        program = jax.make_jaxpr(lambda q, k: jax.vjp(call, q, k, k)[1](q))(q, k)
    return sum(count for (_, kind), count in wire_bytes(program, site.mesh).items() if kind == "float")


@pytest.mark.parametrize("heads", [(4, 4), (64, 4)])
def test_the_chosen_degrees_send_the_fewest_bytes(heads):
    site = SITE._replace(heads=heads[0], kv_heads=heads[1])
    by_degree = {ulysses: sent(UlyssesRingAttention(KERNEL, ulysses=ulysses), site) for ulysses in (1, 2, 4)}
    chosen = UlyssesRingAttention(KERNEL)
    assert by_degree[1] == sent(RingAttention(KERNEL), site)
    # Statistics of the queries travel too; they are small and left out of the choice.
    assert by_degree[chosen.degrees(site)[0]] <= 1.02 * min(by_degree.values())


def test_bytes_of_two_neighbours_and_four_groups():
    """Half of every array is traded, with float32 statistics; keys make 3 hops, their gradients 4, in float32."""
    keys, queries, stats = 8 * 4 * 8 * 2, 8 * 16 * 8 * 2, 8 * 16 * 4
    ahead = (2 * queries + 2 * keys + stats) / 2 + 3 * 2 * keys
    back = (3 * queries + 4 * keys + 2 * stats) / 2 + 3 * 2 * keys + 4 * 2 * keys * 2
    assert sent(UlyssesRingAttention(KERNEL, ulysses=2), SITE) == ahead + back


def test_degrees_that_do_not_fit_are_refused_with_those_that_would():
    def reason(site=SITE, **given):
        return UlyssesRingAttention(KERNEL, **given).supports(site).reason

    assert "ulysses=3 times ring=2 is not sp=8: give ulysses as one of 1, 2, 4" in reason(ulysses=3)
    assert "ulysses=2 times ring=2 is not sp=8" in reason(ulysses=2, ring=2)
    assert "4 key heads (per tp shard) do not divide over ulysses=8" in reason(ulysses=8)
    assert "none is called 'sp'" in reason(SITE._replace(mesh={"dp": 8}))
    with pytest.raises(ValueError, match=r"ring=0\): give a positive"):
        UlyssesRingAttention(ring=0)
    x, at = jnp.ones((1, 8, 2, 4)), TokenCoords.of_rows(1, 8)
    with jax.set_mesh(MeshSpec(sp=8).make()), pytest.raises(UnsupportedSite, match="give ulysses as one of 1, 2"):
        UlyssesRingAttention(ulysses=4)(x, x, x, q_at=at, kv_at=at, rule=Visibility())
