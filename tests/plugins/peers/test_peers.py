"""The adapters without a GPU: what they tell the foreign kernels, what they promise, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn

from lwm_core.attention import AttentionSite, TokenCoords, UnsupportedSite, Visibility
from lwm_core.testing.attention import CASES, AttentionCase, check_attention, inputs_of, visible_pairs
from lwm_core.testing.unchecked import Unchecked
from lwm_peers.cudnn import CuDNNAttention, document_spans
from lwm_peers.rows import checked, pairs
from lwm_peers.tokamax import TokamaxAttention, ranges
from lwm_registry import catalog
from lwm_registry.errors import RegistryError


SITE = AttentionSite(1, 4096, 4096, 8, 8, 128, "bfloat16", Visibility(), {}, "gpu")
PACKED = AttentionCase("packed", Visibility(), 60, documents=4, tail=7)


@pytest.mark.parametrize("part", [CuDNNAttention(), TokamaxAttention()], ids=["cudnn", "tokamax"])
def test_on_a_cpu_the_kit_says_that_nothing_was_checked(part):
    with pytest.raises(Unchecked, match="serves gpu and refused every case here.*NVIDIA GPU"):
        check_attention(part, CASES)


def test_a_call_that_is_refused_says_why():
    q = jnp.zeros((1, 8, 2, 64), jnp.bfloat16)
    at = TokenCoords.of_rows(1, 8)
    with pytest.raises(UnsupportedSite, match="NVIDIA GPU and this is a cpu: use 'local'"):
        TokamaxAttention()(q, q, q, q_at=at, kv_at=at, rule=Visibility())


def test_documents_as_cudnn_wants_them():
    segment = jnp.asarray([[1, 1, 2, 3, 3, 3, 0], [4, 4, 4, 4, 9, 9, 9]])
    lengths, first = document_spans(segment, 4)
    assert lengths.tolist() == [[2, 1, 3, -1], [4, 3, -1, -1]]
    assert first.tolist() == [[0, 2, 3, -1, -1], [0, 4, -1, -1, -1]]


@pytest.mark.parametrize("rule", [Visibility(), Visibility(window=7), Visibility(None)], ids=repr)
@pytest.mark.parametrize("documents", [1, 4])
def test_tokamax_is_told_what_the_rule_says(rule, documents):
    case = PACKED._replace(documents=documents, rule=rule)
    inputs = inputs_of(case, batch=2)
    at, _ = inputs.coords()
    found = ranges(at, rule, "document" if documents == 1 else "packed")
    slot = jnp.arange(60)
    seen = (slot[None, :] <= slot[:, None])[None] if found["is_causal"] else jnp.ones((1, 60, 60), bool)
    if "k_start" in found:
        seen &= slot >= found["k_start"][:, 0, :, None]
    if "k_end" in found:
        seen &= slot < found["k_end"][:, 0, :, None]
    live = np.asarray(at.segment != 0)
    np.testing.assert_array_equal(seen & live[:, :, None], visible_pairs(inputs.q_at, inputs.kv_at, rule))


def test_a_mask_of_every_pair_leaves_no_query_without_keys():
    inputs = inputs_of(PACKED._replace(shuffled=True), batch=2)
    mask, sighted = pairs(*inputs.coords(), Visibility(3, 5))
    truth = visible_pairs(inputs.q_at, inputs.kv_at, Visibility(3, 5))
    np.testing.assert_array_equal(np.asarray(mask[:, 0]) & np.asarray(sighted)[:, :, None], truth)
    assert mask.any(axis=-1).all()


@pytest.mark.parametrize(
    ("rows", "documents", "case", "kept"),
    [
        ("packed", 4, PACKED, True),
        ("packed", 3, PACKED, False),
        ("document", None, PACKED._replace(documents=1), True),
        ("document", None, PACKED, False),
        ("packed", 9, PACKED._replace(shuffled=True), False),
        ("any", None, PACKED._replace(shuffled=True), True),
    ],
)
def test_a_broken_promise_stops_the_program(rows, documents, case, kept):
    inputs = inputs_of(case, batch=2)
    q_at, kv_at = inputs.coords()
    q = jnp.asarray(inputs.q)
    run = jax.jit(lambda q, a, b: checked(q, a, b, rows, documents))
    if kept:
        np.testing.assert_array_equal(run(q, q_at, kv_at), q)
        return
    with pytest.raises(Exception, match="set rows='any'"):
        jax.block_until_ready(run(q, q_at, kv_at))


@pytest.mark.parametrize("rows", ["any", "document", "packed"])
@pytest.mark.parametrize("rule", [Visibility(), Visibility(window=64), Visibility(None)], ids=repr)
def test_cudnn_takes_what_it_is_given(rows, rule, monkeypatch):
    """JAX's binding accepts the call and its gradient, as on a Hopper with cuDNN: shapes, dtypes, masks, lengths."""
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91900)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: False)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    q = jax.ShapeDtypeStruct((2, 255, 4, 64), jnp.bfloat16)
    at = TokenCoords.of_rows(2, 255)

    def loss(q, k, v):
        out = CuDNNAttention(rows, 5)(q, k, v, q_at=at, kv_at=at, rule=rule)
        return out.astype(jnp.float32).sum()

    grads = jax.eval_shape(jax.grad(loss, (0, 1, 2)), q, q, q)
    assert all(grad.shape == q.shape and grad.dtype == q.dtype for grad in grads)


@pytest.mark.parametrize(
    ("part", "site", "words"),
    [
        (CuDNNAttention(), SITE._replace(dtype="float32"), "not float32"),
        (CuDNNAttention(), SITE._replace(head_dim=100), "multiple of 8"),
        (CuDNNAttention(), SITE._replace(q_length=65536, kv_length=65536), "mask of every pair"),
        (CuDNNAttention(), SITE._replace(mesh={"dp": 1, "sp": 4}), "sp=4"),
        (CuDNNAttention("document"), SITE._replace(q_length=1), "its own tokens|own tokens"),
        (CuDNNAttention("packed"), SITE._replace(kv_heads=2), "repeat the key heads"),
        (CuDNNAttention("packed"), SITE._replace(rule=Visibility(16)), "causal blocks of 16"),
        (CuDNNAttention("packed"), SITE._replace(rule=Visibility(None, 16)), "windows to both sides"),
        (CuDNNAttention(), SITE._replace(platform="tpu"), "this is a tpu"),
        (TokamaxAttention(), SITE._replace(platform="cpu"), "NVIDIA GPU"),
    ],
)
def test_refusals_are_sentences(part, site, words):
    support = part.supports(site)
    assert not support.ok
    assert any(word in support.reason for word in words.split("|")), support.reason


def test_bad_options_are_refused_at_once():
    with pytest.raises(RegistryError, match="any.*document.*packed"):
        catalog().build("attention", {"use": "tokamax", "rows": "sorted"})
    with pytest.raises(ValueError, match="positive"):
        CuDNNAttention("packed", 0)
