"""Dense attention, the blockwise kernel and one-shard attention against the float64 oracle."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.attention import (
    AttentionSite,
    BlockOut,
    BlockwiseKernel,
    DenseAttention,
    Extent,
    LocalAttention,
    TokenCoords,
    UnsupportedSite,
    Visibility,
    merge,
    require,
    visible_blocks,
)
from lwm_core.attention.tiles import Blocks, Tiling
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, check_attention, inputs_of, oracle, packed_row, visible_pairs
from lwm_core.testing.kernel import check_kernel, compare, run_in_blocks


def test_dense_in_float64_is_the_oracle_to_the_last_digits():
    case = AttentionCase("float64", Visibility(causal_block=2, window=9), dtype="float64", tail=4, dead=True)
    inputs = inputs_of(case)
    with jax.enable_x64(True):
        q_at, kv_at = inputs.coords()

        def call(q, k, v):
            return DenseAttention()(q, k, v, q_at=q_at, kv_at=kv_at, rule=case.rule)

        out, pull = jax.vjp(call, *map(jnp.asarray, inputs[:3]))
        found = [np.asarray(x) for x in (out, *pull(jnp.asarray(inputs.dout)))]
    answer = oracle(inputs, case.rule)
    for got, want in zip(found, (answer.out, answer.dq, answer.dk, answer.dv), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-13)


def test_dense_conforms():
    check_attention(DenseAttention())


def test_blockwise_conforms():
    check_kernel(BlockwiseKernel(block_q=16, block_k=16))
    check_kernel(BlockwiseKernel(block_q=16, block_k=16, tile_scores=1))  # a tile of one row and one key head


def test_local_conforms():
    check_attention(LocalAttention(BlockwiseKernel(block_q=16, block_k=16)))


def test_blockwise_keeps_float64():
    case = AttentionCase("float64", Visibility(window=7), dtype="float64", dead=True)
    with jax.enable_x64(True):
        found = run_in_blocks(BlockwiseKernel(8, 8), case, inputs_of(case), lse_dtype="float64")
    compare(found, oracle(inputs_of(case), case.rule), 1e-12, case.name)


@pytest.mark.parametrize(
    ("length", "heads", "rule"),
    [(36, (6, 3), Visibility()), (29, (4, 1), Visibility(5, 9)), (18, (2, 2), Visibility(None, 4))],
)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(documents=st.integers(1, 6), tail=st.integers(0, 5), shuffled=st.booleans(), seed=st.integers(0, 2**16))
def test_blockwise_agrees_on_random_rows(length, heads, rule, documents, tail, shuffled, seed):
    case = AttentionCase("random", rule, length, None, heads, documents, tail, shuffled=shuffled)
    inputs = inputs_of(case, seed)
    compare(run_in_blocks(BlockwiseKernel(8, 8), case, inputs), oracle(inputs, rule), 2e-5, str(case))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    causal=st.sampled_from([None, 1, 3]),
    window=st.sampled_from([None, 1, 6]),
    shuffled=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_block_decisions_never_miss_a_pair(causal, window, shuffled, seed):
    rng = np.random.default_rng(seed)
    rule, block = Visibility(causal, window), 5
    position, segment = (np.asarray(x, np.int32)[None] for x in packed_row(rng, 40, int(rng.integers(1, 8)), 6))
    if shuffled:
        order = rng.permutation(40)
        position, segment = position[:, order], segment[:, order]
    at = TokenCoords(jnp.asarray(position), jnp.asarray(segment))
    some, every = (np.asarray(x)[0] for x in _decisions(at, block, rule))
    pairs = visible_pairs((position, segment), (position, segment), rule)[0].reshape(8, block, 8, block)
    truly_some, truly_every = pairs.any(axis=(1, 3)), pairs.all(axis=(1, 3))
    assert not (truly_some & ~some).any(), "a visible pair would be skipped"
    assert not (every & ~truly_every).any(), "an invisible pair would go unmasked"
    if not shuffled:
        assert np.array_equal(every, truly_every)
        if causal != 3:
            assert np.array_equal(some, truly_some), "a block is visited for nothing"


@partial(jax.jit, static_argnums=(1, 2))
def _decisions(at, block, rule):
    return visible_blocks(Extent.of(at, block), Extent.of(at, block), rule)


def test_packed_rows_visit_few_blocks():
    """Eight equal documents need an eighth of the causal blocks: the point of skipping."""
    position = jnp.tile(jnp.arange(128, dtype=jnp.int32), (1, 8))
    segment = jnp.repeat(jnp.arange(1, 9, dtype=jnp.int32), 128)[None]
    some, every = _decisions(TokenCoords(position, segment), 32, Visibility())
    assert int(some.sum()) == 8 * 10 and int(every.sum()) == 8 * 6


@pytest.mark.parametrize("shape", [(3, 5, 2, 4), (2, 200, 6, 4), (5, 129, 4, 3)])
def test_tiles_taken_and_put_back_lose_nothing(shape):
    batch, length, heads, dim = shape
    random = np.random.default_rng(0)
    tiling = Tiling.of(shape, (batch, length, heads // 2, dim), 64, 32)
    assert tiling.q.count * tiling.q.size >= length > (tiling.q.count - 1) * tiling.q.size
    for blocks in (tiling.q, tiling.k):
        x = tiling.padded(jnp.asarray(random.standard_normal(shape), jnp.float32), blocks)

        def copied(stack, block, carry, x=x, blocks=blocks):
            return tiling.put(carry, tiling.take(x, blocks, stack, block), blocks, stack, block)

        np.testing.assert_array_equal(tiling.over(blocks, copied, jnp.zeros_like(x)), x)
    stat = tiling.padded_stat(jnp.asarray(random.standard_normal((batch, heads, length)), jnp.float32), 1.0)

    def copied_stat(stack, block, carry):
        return tiling.put_stat(carry, tiling.take_stat(stat, stack, block), stack, block)

    np.testing.assert_array_equal(tiling.over(tiling.q, copied_stat, jnp.zeros_like(stat)), stat)


def test_blocks_stay_within_their_limit():
    for length in range(1, 1200, 7):
        blocks = Blocks.of(length, 256)
        assert blocks.size <= 256 and blocks.size * blocks.count >= length


def test_merge_of_nothing_is_nothing_and_never_nan():
    nothing = BlockOut(jnp.zeros((1, 2, 1, 3)), jnp.full((1, 1, 2), -jnp.inf))
    something = BlockOut(jnp.ones((1, 2, 1, 3)), jnp.full((1, 1, 2), 3e38))
    assert np.isneginf(merge(nothing, nothing).lse).all() and not merge(nothing, nothing).out.any()
    for pair in ((nothing, something), (something, nothing)):
        np.testing.assert_array_equal(merge(*pair).out, something.out)
        np.testing.assert_array_equal(merge(*pair).lse, something.lse)


def test_memory_does_not_grow_with_the_square_of_the_row():
    length = 16384
    x = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
    at = TokenCoords.of_rows(1, length)
    loss = jax.grad(lambda q, at: LocalAttention()(q, q, q, q_at=at, kv_at=at, rule=Visibility()).sum())
    memory = jax.jit(loss).lower(x, at).compile().memory_analysis().temp_size_in_bytes
    assert memory < 64 * 2**20 < length * length * 2


def test_local_spreads_rows_and_heads_over_a_mesh():
    case = AttentionCase("rows that do not divide", Visibility(), heads=(4, 2))
    with jax.set_mesh(MeshSpec(dp=2, fsdp=2, tp=2).make()):
        check_attention(LocalAttention(), (case,))


def test_local_works_on_a_mesh_of_explicit_axes():
    with jax.set_mesh(jax.make_mesh((2, 2, 2, 1), ("dp", "fsdp", "tp", "sp"))):
        check_attention(LocalAttention(), (AttentionCase("explicit", Visibility()),))


def test_local_refuses_a_spread_sequence_and_heads_that_do_not_divide():
    site = AttentionSite(2, 32, 32, 6, 3, 8, "float32", Visibility(), {"sp": 4}, "cpu")
    assert "'ring'" in LocalAttention().supports(site).reason
    assert "tp=2" in LocalAttention().supports(site._replace(mesh={"tp": 2})).reason
    assert "multiple of 4" in LocalAttention().supports(site._replace(mesh={}, kv_heads=4)).reason
    at, x = TokenCoords.of_rows(1, 8), jnp.ones((1, 8, 2, 4))
    with jax.set_mesh(MeshSpec(sp=8).make()), pytest.raises(UnsupportedSite, match="ring"):
        LocalAttention()(x, x, x, q_at=at, kv_at=at, rule=Visibility())


def test_block_sizes_are_checked():
    with pytest.raises(ValueError, match="positive"):
        BlockwiseKernel(block_q=0)
    with pytest.raises(ValueError, match="tile_scores"):
        BlockwiseKernel(tile_scores=0)


@pytest.mark.parametrize("attention", [DenseAttention(), LocalAttention()], ids=lambda part: type(part).__name__)
def test_calls_that_have_no_meaning_are_refused_with_a_sentence(attention):
    q, k, at = jnp.ones((1, 8, 3, 4)), jnp.ones((1, 8, 2, 4)), TokenCoords.of_rows(1, 8)
    with pytest.raises(UnsupportedSite, match="3 query heads do not divide by 2 key heads"):
        attention(q, k, k, q_at=at, kv_at=at, rule=Visibility())
    with pytest.raises(UnsupportedSite, match="attention of int32 has no meaning: cast"):
        require(attention, AttentionSite.of(k.astype(jnp.int32), k, Visibility()))


def test_a_window_as_wide_as_an_integer_hides_nothing():
    at = TokenCoords.of_rows(1, 64)
    extent = Extent.of(at, 8)
    unlimited, wide = (visible_blocks(extent, extent, Visibility(1, window)) for window in (None, 2**31 - 1))
    for without, with_window in zip(unlimited, wide, strict=True):
        np.testing.assert_array_equal(without, with_window)
