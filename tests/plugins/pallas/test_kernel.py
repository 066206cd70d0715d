"""The Pallas kernel, interpreted: the blockwise kernel's numbers; and it lowers for a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import AttentionSite, BlockwiseKernel, LocalAttention, TokenCoords, Visibility
from lwm_core.testing.attention import AttentionCase, inputs_of
from lwm_core.testing.kernel import check_kernel, run_in_blocks
from lwm_pallas.kernel import PallasKernel
from lwm_pallas.operands import Plan


KERNEL = PallasKernel(block_q=16, block_k=16)
SITE = AttentionSite(1, 64, 64, 4, 2, 64, "float32", Visibility(), {}, "tpu")


def test_conforms():
    check_kernel(KERNEL)


def test_same_numbers_as_blockwise():
    case = AttentionCase("packed", Visibility(2, 13), length=70, heads=(4, 2), documents=5, dead=True)
    inputs = inputs_of(case)
    ours, theirs = (run_in_blocks(kernel, case, inputs) for kernel in (KERNEL, BlockwiseKernel(16, 16)))
    for name, got, want in zip(ours._fields, ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, atol=3e-6, err_msg=name)


@pytest.mark.parametrize(("dtype", "dim"), [("float32", 64), ("bfloat16", 128)])
def test_lowers_for_a_tpu(dtype, dim):
    """Mosaic takes forward and backward: no TPU and no libtpu needed for that."""
    q, k = (jax.ShapeDtypeStruct((2, 300, heads, dim), dtype) for heads in (4, 2))
    at = TokenCoords.of_rows(2, 300)
    kernel = PallasKernel(block_q=128, block_k=128, interpret=False)

    def loss(q, k, v):
        out = LocalAttention(kernel)(q, k, v, q_at=at, kv_at=at, rule=Visibility(4, 100))
        return out.astype(jnp.float32).sum()

    program = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, k, k).lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("tpu_custom_call") >= 3


def test_empty_blocks_are_not_fetched():
    some = jnp.asarray([[[False, True, False, False, True], [False] * 5]])
    plan = Plan.of(some, some & False)
    assert plan.state.reshape(2, 5).tolist() == [[0, 1, 0, 0, 1], [0] * 5]
    assert plan.fetch.reshape(2, 5).tolist() == [[1, 1, 1, 1, 4], [0] * 5]


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
    assert PallasKernel().supports(SITE).ok
    assert PallasKernel(interpret=True).supports(SITE._replace(platform="gpu")).ok
    with pytest.raises(ValueError, match="multiple of 16"):
        PallasKernel(block_q=100)
