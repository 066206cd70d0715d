"""The ring over simulated devices: the definition's numbers at every ring size, and no hop too many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import PartitionSpec

from lwm_core.attention import (
    AttentionSite,
    BlockwiseKernel,
    Support,
    TokenCoords,
    UnsupportedSite,
    Visibility,
)
from lwm_core.layout import AbstractLayout, Contiguous, Striped, Zigzag
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, Inputs, assert_near, check_attention, inputs_of, oracle
from lwm_ring.accuracy import NAMES, measure, table
from lwm_ring.ring import RingAttention


KERNEL = BlockwiseKernel(block_q=8, block_k=8)
RULE = Visibility(window=20)
CASE = AttentionCase("packed, grouped heads, window", RULE, length=64, heads=(4, 2), documents=4, tail=5, dead=True)


def in_order_of(layout: AbstractLayout, inputs: Inputs, shards: int) -> Inputs:
    """The inputs as a row in the layout's order would have them."""
    order = layout.permutation(inputs.q.shape[1], shards)
    q, k, v, dout = (x[:, order] for x in inputs[:4])
    return Inputs(q, k, v, dout, *[tuple(x[:, order] for x in at) for at in (inputs.q_at, inputs.kv_at)])


def run(attention, inputs: Inputs, rule: Visibility):
    """(out, dq, dk, dv) under jit and the ambient mesh."""
    q_at, kv_at = inputs.coords()

    @jax.jit
    def call(q, k, v, dout, q_at, kv_at):
        out, pull = jax.vjp(lambda *qkv: attention(*qkv, q_at=q_at, kv_at=kv_at, rule=rule), q, k, v)
        return out, *pull(dout)

    return [np.asarray(x, np.float64) for x in call(*map(jnp.asarray, inputs[:4]), q_at, kv_at)]


@pytest.mark.parametrize("shards", [2, 8])
def test_ring_is_the_definition_at_every_size(shards):
    inputs = in_order_of(Zigzag(), inputs_of(CASE), 8)
    with jax.set_mesh(MeshSpec(sp=shards).make(jax.devices()[:shards])):
        found = run(RingAttention(KERNEL), inputs, RULE)
    answer = oracle(inputs, RULE)
    for got, want in zip(found, (answer.out, *answer[2:]), strict=True):
        assert_near(got, want, 2e-6, f"{shards} shards")


@pytest.mark.parametrize(
    ("length", "dtype", "sizes"),
    [(128, "float32", (1, 4, 8))]
    + [pytest.param(1024, dtype, (1, 2, 4, 8), marks=pytest.mark.slow) for dtype in ("float32", "bfloat16")],
)
def test_errors_do_not_grow_with_the_ring(length, dtype, sizes):
    """Root mean square of every difference from float64, at most 1.2 times that of one device; prints the table."""
    found = measure(length, dtype, sizes)
    print(table(found))
    for errors in found:
        for name in NAMES:
            ring, one = getattr(errors, name), getattr(found[0], name)
            assert ring <= 1.2 * one, f"{errors.shards} shards: {name} {ring:.2e}, one device {one:.2e}"


@pytest.mark.parametrize("layout", [Contiguous(), Striped(2)], ids=str)
def test_every_layout_gives_the_same_attention(layout):
    case = CASE._replace(rule=Visibility(causal_block=4))
    inputs = in_order_of(layout, inputs_of(case), 4)
    with jax.set_mesh(MeshSpec(dp=2, sp=4).make()):
        found = run(RingAttention(KERNEL, layout), inputs, case.rule)
    answer = oracle(inputs, case.rule)
    for got, want in zip(found, (answer.out, *answer[2:]), strict=True):
        assert_near(got, want, 2e-5, str(layout))


def test_ring_conforms_on_a_mesh_of_rows_heads_and_slots():
    """The kit's odd lengths, three rows over dp=2, caches and bfloat16, all padded inside."""
    with jax.set_mesh(MeshSpec(dp=2, tp=2, sp=2).make()):
        check_attention(RingAttention(KERNEL))


def test_ring_conforms_without_a_mesh():
    check_attention(RingAttention(KERNEL), (AttentionCase("alone", Visibility()),))


def test_rows_and_slots_that_do_not_divide_are_padded():
    case = AttentionCase("three rows of 37", Visibility(), length=37)
    inputs = inputs_of(case, batch=3)
    with jax.set_mesh(MeshSpec(dp=2, sp=4).make()):
        out = run(RingAttention(KERNEL), inputs, case.rule)[0]
    assert_near(out, oracle(inputs, case.rule).out, 2e-5, case.name)


def test_ring_works_on_a_mesh_of_explicit_axes():
    """`jax.make_mesh` makes these by default; the output lies as q does, so that residuals add up."""
    inputs = inputs_of(CASE)
    mesh = jax.make_mesh((2, 4), ("dp", "sp"))
    with jax.set_mesh(mesh):
        found = run(RingAttention(KERNEL), inputs, RULE)
        spread = PartitionSpec("dp", "sp")
        q, k = (jax.device_put(x, jax.NamedSharding(mesh, spread)) for x in inputs[:2])
        at = jax.device_put(inputs.coords()[0], jax.NamedSharding(mesh, spread))
        out = jax.jit(lambda q, k, at: q + RingAttention(KERNEL)(q, k, k, q_at=at, kv_at=at, rule=RULE))(q, k, at)
    answer = oracle(inputs, RULE)
    for got, want in zip(found, (answer.out, *answer[2:]), strict=True):
        assert_near(got, want, 2e-5, "explicit axes")
    assert out.sharding.spec[:2] == ("dp", "sp")


def test_ring_inside_a_shard_map_over_rows():
    inputs = inputs_of(CASE._replace(dead=False))
    attention = RingAttention(KERNEL)

    def rows(q, k, v, at):
        return attention(q, k, v, q_at=at, kv_at=at, rule=RULE)

    with jax.set_mesh(MeshSpec(dp=2, sp=4).make()):
        spec = PartitionSpec("dp")
        outer = jax.shard_map(rows, in_specs=spec, out_specs=spec, axis_names={"dp"}, check_vma=False)
        out = jax.jit(outer)(*map(jnp.asarray, inputs[:3]), inputs.coords()[0])
    assert_near(np.asarray(out), oracle(inputs, RULE).out, 2e-5, "nested")


def test_keys_take_one_hop_fewer_than_there_are_shards():
    """Counted in the program: 3 arrays (k, v, coordinates), bfloat16 and two key heads on the wire."""
    shards, x = 4, jax.ShapeDtypeStruct((1, 64, 8, 8), jnp.bfloat16)
    k, at = jax.ShapeDtypeStruct((1, 64, 2, 8), jnp.bfloat16), TokenCoords.of_rows(1, 64)

    def forward(q, k, v):
        return RingAttention(KERNEL)(q, k, v, q_at=at, kv_at=at, rule=RULE)

    with jax.set_mesh(MeshSpec(sp=shards).make(jax.devices()[:shards])):
        ahead = permutes(jax.make_jaxpr(forward)(x, k, k).jaxpr)
        both = permutes(jax.make_jaxpr(lambda *a: jax.vjp(forward, *a)[1](a[0]))(x, k, k).jaxpr)
    hop = [("bfloat16", (1, 16, 2, 8))] * 2 + [("int32", (1, 2 * 16))]
    assert sorted(ahead) == sorted(hop * (shards - 1))
    home = [("float32", (1, 16, 2, 8))] * 2
    assert sorted(both) == sorted(hop * 2 * (shards - 1) + home * shards)


def permutes(jaxpr, times: int = 1) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of every array that a program permutes, as often as it does."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "ppermute":
            found += [(str(v.aval.dtype), v.aval.shape) for v in equation.invars] * times
        inner = times * equation.params["length"] if equation.primitive.name == "scan" else times
        for sub in jaxprs_in_params(equation.params):
            found += permutes(sub, inner)
    return found


def test_each_hop_is_issued_before_the_compute_it_overlaps():
    at, x = TokenCoords.of_rows(1, 64), jnp.ones((1, 64, 2, 8))

    def names(jaxpr):
        for equation in jaxpr.eqns:
            subs = list(jaxprs_in_params(equation.params))
            if "ppermute" in [e.primitive.name for e in jaxpr.eqns]:
                yield [e.primitive.name for e in jaxpr.eqns]
                return
            for sub in subs:
                yield from names(sub)

    with jax.set_mesh(MeshSpec(sp=4).make(jax.devices()[:4])):
        jaxpr = jax.make_jaxpr(lambda q: RingAttention(KERNEL)(q, q, q, q_at=at, kv_at=at, rule=RULE))(x).jaxpr
    (body,) = names(jaxpr)
    last_hop = max(n for n, name in enumerate(body) if name == "ppermute")
    assert last_hop < min(n for n, name in enumerate(body) if name in ("cond", "scan", "while", "dot_general"))


def test_refusals_come_before_tracing_and_say_what_to_do():
    site = AttentionSite(2, 64, 64, 6, 3, 8, "float32", RULE, {"dp": 2, "sp": 4}, "cpu")
    ring = RingAttention(KERNEL)
    assert ring.supports(site) == Support(True)
    assert "none is called 'sp'" in ring.supports(site._replace(mesh={"dp": 8})).reason
    assert "tp=2" in ring.supports(site._replace(mesh={"tp": 2, "sp": 4})).reason
    with pytest.raises(ValueError, match="holds rows or heads"):
        RingAttention(axis="tp")
    at, x = TokenCoords.of_rows(1, 8), jnp.ones((1, 8, 2, 4))
    with jax.set_mesh(MeshSpec(sp=8).make()), pytest.raises(UnsupportedSite, match="none is called 'ring'"):
        RingAttention(axis="ring")(x, x, x, q_at=at, kv_at=at, rule=RULE)
