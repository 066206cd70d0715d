"""The TPU kernel, interpreted: the definition's numbers, and which blocks it visits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import AttentionSite, BlockwiseKernel, TokenCoords, Visibility
from lwm_core.mesh import MeshSpec
from lwm_core.testing.attention import AttentionCase, check_attention, inputs_of, packed_row, visible_pairs
from lwm_core.testing.kernel import check_kernel, run_in_blocks
from lwm_pallas.tpu.kernel import TPUKernel
from lwm_pallas.tpu.operands import Grid
from lwm_pallas.tpu.visits import by_key, by_query
from lwm_ring.ring import RingAttention


KERNEL = TPUKernel(block_q=16, block_k=16)
SITE = AttentionSite(1, 64, 64, 4, 2, 64, "float32", Visibility(), {}, "tpu")


def test_conforms():
    check_kernel(KERNEL)


@pytest.mark.parametrize("seed", range(3))
def test_random_rows_and_rules_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    pick = lambda *options: options[rng.integers(len(options))]  # noqa: E731
    case = AttentionCase(
        f"seed {seed}",
        Visibility(pick(None, 1, 2, 5), pick(None, 4, 33)),
        length=int(rng.integers(33, 80)),
        heads=pick((4, 1), (3, 3), (6, 2)),
        documents=int(rng.integers(1, 8)),
        tail=int(rng.integers(0, 20)),
        dead=bool(rng.integers(2)),
        shuffled=seed == 2,
        dtype=pick("float32", "bfloat16"),
    )
    check_kernel(TPUKernel(*rng.choice([16, 32, 48], 2).tolist()), (case,))


def test_a_ring_hands_its_softmax_through_the_kernel():
    case = AttentionCase("a ring over four", Visibility(window=21), length=61, heads=(4, 2), dead=True)
    with jax.set_mesh(MeshSpec(tp=2, sp=4).make()):
        check_attention(RingAttention(KERNEL), (case,))


def test_same_numbers_as_blockwise():
    case = AttentionCase("packed", Visibility(2, 13), length=70, heads=(4, 2), documents=5, dead=True)
    inputs = inputs_of(case)
    ours, theirs = (run_in_blocks(kernel, case, inputs) for kernel in (KERNEL, BlockwiseKernel(16, 16)))
    for name, got, want in zip(ours._fields, ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, atol=3e-6, err_msg=name)


def rows_in_blocks(rng, block, count, zigzag):
    """Packed rows, cut into whole blocks that may lie in another order."""
    rows = [packed_row(rng, block * count, int(rng.integers(1, 9)), int(rng.integers(0, 2 * block))) for _ in range(2)]
    order = rng.permutation(count) if zigzag else np.arange(count)
    cut = lambda x: x.reshape(count, block)[order].reshape(-1)  # noqa: E731
    return [np.stack([cut(row[n]) for row in rows]).astype(np.int32) for n in (0, 1)]


@pytest.mark.parametrize("seed", range(8))
def test_visits_are_the_blocks_with_a_visible_pair_and_no_others(seed):
    """Also where whole blocks are in another order, as zigzag's are; those that need no mask are known too."""
    rng = np.random.default_rng(seed)
    rule = Visibility((None, 1, 3)[seed % 3], (None, 7, 40)[seed % 2 + seed // 4])
    grid = Grid.of(*(jax.ShapeDtypeStruct((2, 96, heads, 8), "float32") for heads in (2, 1)), 16, 16)
    position, segment = rows_in_blocks(rng, 16, 6, seed % 2)
    at = TokenCoords(jnp.asarray(position), jnp.asarray(segment))
    pairs = visible_pairs((position, segment), (position, segment), rule).reshape(2, 6, 16, 6, 16)
    some, every = pairs.any(axis=(2, 4)), pairs.all(axis=(2, 4))
    for visits, turn in ((by_query(grid, at, at, rule), False), (by_key(grid, at, at, rule), True)):
        want = [x.swapaxes(1, 2) if turn else x for x in (some, every)]
        order, bounds = np.asarray(visits.order).reshape(2, 6), np.asarray(visits.bounds).reshape(2, 6, 4)
        for row, outer in np.ndindex(2, 6):
            start, stop, plain_start, plain_stop = bounds[row, outer]
            visited, plain = order[row, start:stop], order[row, max(plain_start, start) : min(plain_stop, stop)]
            assert set(np.flatnonzero(want[0][row, outer])) == set(visited.tolist())
            assert set(np.flatnonzero(want[1][row, outer])) == set(plain.tolist())
        assert visits.most == max(1, (bounds[..., 1] - bounds[..., 0]).max())


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (SITE._replace(dtype="float64"), "float32 or bfloat16, not float64"),
        (SITE._replace(head_dim=512), "heads of 512"),
        (SITE._replace(platform="gpu"), "compiled for TPUs"),
        (SITE._replace(kv_heads=3), "do not divide"),
        (SITE, "128 lanes"),
    ],
)
def test_refuses_what_it_cannot_do(site, words):
    support = KERNEL.supports(site)
    assert not support.ok and words in support.reason


def test_serves_a_tpu_and_interprets_anywhere():
    assert TPUKernel().supports(SITE).ok
    assert TPUKernel(interpret=True).supports(SITE._replace(platform="gpu")).ok
    with pytest.raises(ValueError, match="multiple of 16"):
        TPUKernel(block_q=100)
