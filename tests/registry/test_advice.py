"""A refusal names the parts that would accept: asked of the catalog, whoever wrote them."""

import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import (
    AttentionSite,
    BlockwiseKernel,
    LocalAttention,
    TokenCoords,
    UnsupportedSite,
    Visibility,
    require,
)
from lwm_core.attention.advice import advice
from lwm_core.mesh import MeshSpec
from lwm_registry import catalog
from lwm_registry.advice import accepting


SITE = AttentionSite(1, 64, 64, 4, 2, 8, "float32", Visibility(), {"sp": 8}, "cpu")


def refused(spec, heads=(4, 2), dtype="float32"):
    """What a person reads."""
    q, k = (jnp.ones((1, 8, count, 8), dtype) for count in heads)
    at, part = TokenCoords.of_rows(1, 8), catalog().build("attention", spec)
    with jax.set_mesh(MeshSpec(sp=8).make()), pytest.raises(UnsupportedSite) as error:
        part(q, k, k, q_at=at, kv_at=at, rule=Visibility())
    return str(error.value)


def test_a_mesh_that_one_schedule_cannot_use_names_those_that_can():
    said = refused("ulysses")
    assert "2 key heads (per tp shard) do not divide over sp=8" in said
    names = set(said.partition("Every attention here that would: ")[2].rstrip(".").split(", "))
    assert {"all-gather", "ring", "ulysses-ring"} <= names and not {"ulysses", "local"} & names
    assert "ulysses-ring" in refused("local")


def test_a_kernel_that_refuses_is_named_beside_one_that_does_not():
    spec = {"use": "ring", "kernel": {"use": "pallas-tpu"}}
    assert "It would with the kernel 'blockwise'." in refused(spec, dtype="float16")


def test_a_call_that_has_no_meaning_has_no_taker():
    assert refused("ring", (3, 2)).endswith("No attention of the catalog would.")
    with pytest.raises(UnsupportedSite, match="attention of int32 has no meaning: .* No attention of the catalog"):
        require(catalog().build("attention", "ring"), SITE._replace(dtype="int32"))


def test_a_refused_kernel_names_kernels():
    assert accepting(BlockwiseKernel(), SITE._replace(heads=3)) == "No kernel of the catalog would."
    assert "blockwise" in accepting(BlockwiseKernel(), SITE)


def test_an_adviser_that_fails_is_quoted_and_hides_nothing():
    assert advice(LocalAttention(), None).startswith(" (The adviser 'catalog' failed: ")
