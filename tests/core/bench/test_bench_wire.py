"""Bytes on the wire, counted from the program, against bytes worked out by hand for each schedule."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from lwm_core.attention import AbstractAttention
from lwm_core.bench import Case, PartContender
from lwm_core.bench.wire import wire_bytes
from lwm_core.mesh import MeshSpec
from lwm_registry import catalog


CASE = Case("wire", "", length=256, heads=8, kv_heads=4, head_dim=8, dtype="bfloat16", devices=4)
# Of one shard, in bytes: keys or values, queries, log-sum-exps, the coordinates of its tokens.
KEYS, QUERIES, STATS, COORDS = 64 * 4 * 8 * 2, 64 * 8 * 8 * 2, 64 * 8 * 4, 64 * 2 * 4


def sent(name: str, *, backward: bool) -> tuple[float, float]:
    attention = catalog().build("attention", {"use": name, "kernel": {"use": "blockwise", "block_q": 64}})
    assert isinstance(attention, AbstractAttention)
    wire = PartContender(name, attention).prepare(CASE, CASE.inputs(), backward=backward).wire
    assert wire is not None
    by = {kind: sum(n for (_, k), n in wire.items() if k == kind) for kind in ("float", "integer")}
    return by["float"], by["integer"]


def test_a_ring_sends_keys_and_values_n_minus_1_times_in_their_own_dtype_and_heads():
    assert sent("ring", backward=False) == (3 * 2 * KEYS, 3 * COORDS)


def test_the_gradients_of_a_ring_travel_all_the_way_home_in_float32():
    assert sent("ring", backward=True) == (2 * 3 * 2 * KEYS + 4 * 2 * 2 * KEYS, 2 * 3 * COORDS)


def test_gathering_sends_what_a_ring_sends():
    assert sent("all-gather", backward=False) == (3 * 2 * KEYS, 3 * COORDS)


def test_ulysses_trades_three_quarters_of_every_array():
    # Queries out, output and log-sum-exp back; query and key coordinates are gathered.
    assert sent("ulysses", backward=False) == (0.75 * (2 * KEYS + 2 * QUERIES + STATS), 2 * 3 * COORDS)


def traced(function, *shapes):
    with jax.set_mesh(MeshSpec(sp=4).make_within(jax.devices())):
        run = jax.shard_map(function, in_specs=P("sp"), out_specs=P("sp"), check_vma=False)
        return jax.jit(run).trace(*(jnp.zeros(shape, jnp.float32) for shape in shapes)).jaxpr


def hop(x):
    return jax.lax.ppermute(x, "sp", [(r, (r + 1) % 4) for r in range(4)])


def test_loops_choices_and_sums_are_counted():
    def loop(x):
        return jax.lax.scan(lambda c, _: (hop(hop(c)), None), x, length=5)[0]

    def choice(x):
        return jax.lax.cond(x[0] > 0, lambda: hop(x), lambda: x)

    assert wire_bytes(traced(loop, (8,)), {"sp": 4}) == {("ppermute", "float"): 2 * 5 * 8}
    assert wire_bytes(traced(choice, (8,)), {"sp": 4}) == {("ppermute", "float"): 8}
    assert sum(wire_bytes(traced(lambda x: jax.lax.psum(x, "sp"), (8,)), {"sp": 4}).values()) == 1.5 * 8
    assert sum(wire_bytes(traced(hop, (8,)), {"sp": 1}).values()) == 0


def test_a_loop_of_unknown_length_is_not_guessed():
    def loop(x):
        return jax.lax.while_loop(lambda c: c[0] < 3, hop, x)

    with pytest.raises(ValueError, match="unknown length"):
        wire_bytes(traced(loop, (8,)), {"sp": 4})
