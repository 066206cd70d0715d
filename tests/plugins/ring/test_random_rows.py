"""Every schedule on random rows against the definition in float64, gradients too; and no compute on empty hops.

Data is drawn and shapes are fixed, so that each configuration compiles once.
"""

from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.attention import AbstractAttention, AbstractBlockKernel, BlockwiseKernel, TokenCoords, Visibility
from lwm_core.layout import Contiguous, Striped, Zigzag
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, Inputs, assert_near, inputs_of, oracle
from lwm_ring.allgather import AllGatherAttention
from lwm_ring.hybrid import UlyssesRingAttention
from lwm_ring.ring import RingAttention
from lwm_ring.ulysses import UlyssesAttention


KERNEL = BlockwiseKernel(8, 8)
WITHIN = {"float64": 1e-11, "float32": 2e-5, "bfloat16": 4e-2}


class Config(NamedTuple):
    """What is compiled: a schedule over so many shards, a rule, a length, (query, key) heads and a dtype."""

    attention: AbstractAttention
    shards: int
    rule: Visibility
    length: int
    heads: tuple[int, int]
    dtype: str = "float32"

    def __str__(self):
        name = type(self.attention).__name__.removesuffix("Attention")
        return f"{name} {self.shards} {self.rule} {self.length} {self.heads} {self.dtype}"


RING, GATHER, TRADE = RingAttention(KERNEL), AllGatherAttention(KERNEL), UlyssesAttention(KERNEL)
PAIRS = UlyssesRingAttention(KERNEL, ulysses=2)
QUICK = [
    Config(RING, 3, Visibility(), 36, (4, 2)),
    Config(RING, 7, Visibility(4, 11), 37, (4, 1), "bfloat16"),
    Config(PAIRS, 6, Visibility(window=9), 48, (4, 2)),
]
RULES = Visibility(), Visibility(window=5), Visibility(4, 9), Visibility(None, 7), Visibility(None)
DEEP = [
    Config(attention, shards, RULES[(shards + n) % len(RULES)], length, heads, dtype)
    for n, (attention, heads, dtype) in enumerate(
        (
            (RING, (4, 2), "float64"),
            (RING, (6, 1), "bfloat16"),
            (GATHER, (3, 3), "float32"),
            (TRADE, (16, 8), "float64"),
            (PAIRS, (8, 4), "float32"),
        )
    )
    for shards in range(1, 9)
    for length in (48, 53)
    if heads[1] % shards == 0 or attention is not TRADE
    if shards % 2 == 0 or attention is not PAIRS
]


@lru_cache(maxsize=8)
def compiled(config: Config):
    """(out, dq, dk, dv) under jit on the mesh of a configuration."""
    mesh = MeshSpec(sp=config.shards).make(jax.devices()[: config.shards])

    @jax.jit
    def run(q, k, v, dout, q_at, kv_at):
        # Summaries of a few tokens, which a shard may or may not hold whole numbers of.
        q_at, kv_at = q_at.with_extents(4), kv_at.with_extents(4)
        out, pull = jax.vjp(lambda *qkv: config.attention(*qkv, q_at=q_at, kv_at=kv_at, rule=config.rule), q, k, v)
        return out, *pull(dout)

    def call(*arguments):
        with jax.set_mesh(mesh):
            return run(*arguments)

    return call


class Row(NamedTuple):
    """What is drawn: documents, padding at the end (all of it where `dead`), the order of tokens, random arrays."""

    documents: int
    tail: int
    dead: tuple[bool, bool]
    order: str
    seed: int


rows = st.builds(
    Row,
    documents=st.integers(1, 9),
    tail=st.integers(0, 30),
    dead=st.tuples(st.booleans(), st.booleans()),
    order=st.sampled_from(["contiguous", "zigzag", "striped", "shuffled"]),
    seed=st.integers(0, 2**16),
)


def drawn(config: Config, row: Row) -> Inputs:
    case = AttentionCase(
        "", config.rule, config.length, None, config.heads, row.documents, row.tail, dtype=config.dtype
    )
    inputs = inputs_of(case, row.seed)
    live = 1 - np.asarray(row.dead, np.int32)[:, None]
    at = tuple(x * live for x in inputs.q_at)
    layouts = {"contiguous": Contiguous(), "zigzag": Zigzag(), "striped": Striped(2)}
    order = np.random.default_rng(row.seed).permutation(config.length)
    if row.order != "shuffled" and config.length % (2 * config.shards) == 0:
        order = layouts[row.order].permutation(config.length, config.shards)
    return Inputs(*(x[:, order] for x in inputs[:4]), *[tuple(x[:, order] for x in at)] * 2)


def check(config: Config, row: Row) -> None:
    inputs = drawn(config, row)
    found = compiled(config)(*map(jnp.asarray, inputs[:4]), *inputs.coords())
    answer = oracle(inputs, config.rule)
    expected = answer.out, answer.dq, answer.dk, answer.dv
    for name, got, want in zip(("out", "dq", "dk", "dv"), found, expected, strict=True):
        assert got.dtype == config.dtype
        assert_near(np.asarray(got, np.float64), want, WITHIN[config.dtype], f"{config} {row}: {name}")
    blind = np.isneginf(answer.lse).transpose(0, 2, 1)
    assert not np.asarray(found[0], np.float64)[blind].any(), "a query that sees no key gives zero"


@pytest.mark.parametrize("config", QUICK, ids=str)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(row=rows)
def test_random_rows(config, row):
    check(config, row)


@pytest.mark.slow
@pytest.mark.parametrize("config", DEEP, ids=str)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(row=rows)
def test_many_random_rows_at_every_ring_size(config, row):
    with jax.enable_x64(config.dtype == "float64"):
        check(config, row)


def test_a_batch_of_padding_alone_is_zero_and_has_zero_gradients():
    config = QUICK[0]
    inputs = drawn(config, Row(3, 5, (True, True), "zigzag", 0))
    for found in compiled(config)(*map(jnp.asarray, inputs[:4]), *inputs.coords()):
        assert not np.asarray(found).any(), "NaN and other numbers are truths"


class Counting(AbstractBlockKernel):
    """The blockwise kernel, which tells the host of each call that is executed."""

    calls: list = eqx.field(static=True, default_factory=list)

    def supports(self, site):
        return KERNEL.supports(site)

    def forward(self, q, k, v, q_at, kv_at, rule):
        jax.debug.callback(lambda _: self.calls.append("forward"), q[0, 0, 0, 0])
        return KERNEL.forward(q, k, v, q_at, kv_at, rule)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout):
        jax.debug.callback(lambda _: self.calls.append("backward"), q[0, 0, 0, 0])
        return KERNEL.backward(q, k, v, q_at, kv_at, rule, lse, delta, dout)


def test_a_hop_whose_blocks_are_all_empty_costs_no_compute():
    """Counted as it runs, four shards of 16 slots, in the row's own order."""
    kernel, x, length = Counting(), jnp.ones((1, 64, 2, 8)), 64

    def run(q, k, v, at):
        return jax.vjp(lambda *qkv: RingAttention(kernel)(*qkv, q_at=at, kv_at=at, rule=Visibility()), q, k, v)[1](q)

    def calls(at):
        kernel.calls.clear()
        jax.block_until_ready(run(x, x, x, at))
        jax.effects_barrier()
        return kernel.calls.count("forward"), kernel.calls.count("backward")

    slot = jnp.arange(length, dtype=jnp.int32)[None]
    with jax.set_mesh(MeshSpec(sp=4).make(jax.devices()[:4])):
        run = jax.jit(run)
        # A shard's own keys take two calls backward, one for each half of its queries.
        assert calls(TokenCoords(slot, jnp.ones_like(slot))) == (10, 14), "causal: late keys are skipped"
        assert calls(TokenCoords(slot % 16, 1 + slot // 16)) == (4, 8), "a document a shard: no hop but its own"
        assert calls(TokenCoords(slot, jnp.zeros_like(slot))) == (0, 0), "padding alone"
