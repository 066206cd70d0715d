"""The attention kits catch what they claim to catch."""

import equinox as eqx
import pytest

from lwm_core.attention import (
    AbstractAttention,
    AbstractBlockKernel,
    BlockGrads,
    BlockwiseKernel,
    DenseAttention,
    Support,
    Visibility,
)
from lwm_core.layout import AbstractLayout, Contiguous
from lwm_core.testing.attention import AttentionCase, check_attention
from lwm_core.testing.kernel import check_kernel
from lwm_core.testing.unchecked import Unchecked


class Faulty(AbstractBlockKernel):
    """The blockwise kernel with one fault."""

    fault: str = eqx.field(static=True)
    inner: AbstractBlockKernel = eqx.field(default_factory=lambda: BlockwiseKernel(16, 16))

    def supports(self, site):
        if self.fault == "needs a GPU":
            return Support(site.platform == "gpu", "it needs a GPU.")
        return Support(self.fault != "refuses", "never.")

    def forward(self, q, k, v, q_at, kv_at, rule):
        rule = Visibility(rule.causal_block) if self.fault == "forgets the window" else rule
        return self.inner.forward(q, k, v, q_at, kv_at, rule)

    def backward(self, q, k, v, q_at, kv_at, rule, lse, delta, dout):
        if self.fault == "own lse":
            _, lse = self.inner.forward(q, k, v, q_at, kv_at, rule)
        grads = self.inner.backward(q, k, v, q_at, kv_at, rule, lse, delta, dout)
        return BlockGrads(grads.dq, grads.dk, -grads.dv) if self.fault == "sign of dv" else grads


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("forgets the window", "must be -inf exactly|out: off by"),
        ("own lse", "dq: off by"),
        ("sign of dv", "dv: off by"),
        ("refuses", "refused every case"),
    ],
)
def test_a_faulty_kernel_fails(fault, words):
    with pytest.raises(AssertionError, match=words):
        check_kernel(Faulty(fault), (AttentionCase("window", Visibility(window=5), heads=(4, 1)),))


class Forgetful(AbstractAttention):
    """Dense attention that sees through document borders."""

    layout: AbstractLayout = eqx.field(default_factory=Contiguous)

    def supports(self, site):
        return Support(True)

    def __call__(self, q, k, v, *, q_at, kv_at, rule):
        q_at, kv_at = (eqx.tree_at(lambda at: at.segment, x, x.segment * 0 + 1) for x in (q_at, kv_at))
        return DenseAttention()(q, k, v, q_at=q_at, kv_at=kv_at, rule=rule)


def test_an_attention_that_crosses_documents_fails():
    with pytest.raises(AssertionError, match="out: off by"):
        check_attention(Forgetful(), (AttentionCase("packed", Visibility()),))


def test_what_only_another_machine_serves_is_not_passed():
    """Refusing everything here is neither a pass nor a fault, when it has a reason and there is a machine for it."""

    with pytest.raises(Unchecked, match="serves gpu and refused every case here.*needs a GPU"):
        check_kernel(Faulty("needs a GPU"))
