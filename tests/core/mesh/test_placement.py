"""Where weights and moments lie: by declaration, by a rule from outside, by size; the same numbers wherever it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from lwm_core.attention import LocalAttention
from lwm_core.curriculum import Stage
from lwm_core.mesh import MeshSpec, gathered, logical, made, outlined, placed, shardings
from lwm_core.model import TransformerFamily
from lwm_core.objective import CrossEntropy
from lwm_core.testing.objective import VOCABULARY, a_batch
from lwm_core.train.optimizer import AdamW
from lwm_core.train.step import init_state, make_step, reported
from lwm_ring.ring import RingAttention


class Outsider(eqx.Module):
    """A part that knows nothing of meshes, but for one field."""

    kernel: Float[Array, "I O"]
    scale: Float[Array, " O"]
    table: Float[Array, "V E"] = eqx.field(metadata=logical("vocab", "embed"))


def outsider():
    return Outsider(jnp.ones((96, 256)), jnp.ones(256), jnp.ones((10, 64)))


def family(**more):
    return TransformerFamily(vocab_size=VOCABULARY.size, width=32, heads=4, kv_heads=2, ffn=48, init_std=0.3, **more)


def test_what_nobody_described_is_cut_along_its_largest_dimension():
    mesh = MeshSpec(fsdp=4, tp=2).make()
    found = shardings({"part": outsider()}, mesh)["part"]
    assert found.kernel.spec == PartitionSpec(None, "fsdp") and found.scale.spec == PartitionSpec()
    assert found.table.spec == PartitionSpec("tp", "fsdp")


def test_a_rule_from_outside_overrules_the_part():
    mesh = MeshSpec(fsdp=4, tp=2).make()
    rules = {"*": (None,), "kernel": ("ffn", "embed"), "part.table": (None, None)}
    found = shardings({"part": outsider()}, mesh, rules)["part"]
    assert found.kernel.spec == PartitionSpec("tp", "fsdp") and found.table.spec == PartitionSpec()
    assert found.scale.spec == PartitionSpec()
    with pytest.raises(ValueError, match=r"part.scale has shape \[256\].*2 axes ffn, embed: give at most 1"):
        shardings({"part": outsider()}, mesh, {"*": ("ffn", "embed")})
    with pytest.raises(ValueError, match="no logical axis 'ffm'"):
        shardings({"part": outsider()}, mesh, {"kernel": ("ffm",)})


def test_every_device_keeps_its_share_of_weights_and_moments_alone():
    """By bytes, so that nothing large is whole anywhere; the outline says the same as the arrays."""
    mesh = MeshSpec(fsdp=2, tp=2, sp=2).make()
    state = placed(init_state(family().init(key=jax.random.key(0)), AdamW().build(_stage())), mesh)
    arrays = jax.tree.leaves(eqx.filter(state, eqx.is_array))
    whole = sum(x.nbytes for x in arrays)
    here = sum(x.addressable_shards[0].data.nbytes for x in arrays)
    assert here < 1.2 * whole / 8
    outline = jax.tree.leaves(eqx.filter(outlined(state, mesh), lambda x: isinstance(x, jax.ShapeDtypeStruct)))
    assert [x.sharding for x in outline] == [x.sharding for x in arrays]


def test_a_model_is_made_in_its_place_with_the_same_numbers():
    plain = family().init(key=jax.random.key(3))
    mesh = MeshSpec(fsdp=4, sp=2).make()
    with jax.set_mesh(mesh):
        spread = made(lambda key: family().init(key=key), jax.random.key(3))
    assert spread.blocks.q.sharding.spec == PartitionSpec(None, ("fsdp", "sp"))
    plain, spread = (eqx.filter(model, eqx.is_array) for model in (plain, spread))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, spread)


def test_gathered_weights_are_whole_and_rounded_once_and_their_gradient_comes_back_in_pieces():
    mesh = MeshSpec(fsdp=4, tp=2).make()
    block = jax.tree.map(lambda x: x[0], family().init(key=jax.random.key(0)).blocks)

    def total(block):
        seen = gathered(block, "bfloat16")
        return sum((x**2).sum() for x in jax.tree.leaves(seen)), seen

    with jax.set_mesh(mesh):
        grads, seen = jax.jit(jax.grad(total, has_aux=True))(placed(block, mesh))
    assert seen.q.sharding.is_equivalent_to(jax.NamedSharding(mesh, PartitionSpec(None, "tp", None)), 3)
    assert grads.q.sharding.is_equivalent_to(jax.NamedSharding(mesh, PartitionSpec("fsdp", "tp", None)), 3)
    np.testing.assert_array_equal(seen.q, block.q.astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(grads.ffn.up, 2 * block.ffn.up, rtol=1e-2)


@pytest.mark.parametrize("sizes", [(2, 1, 1, 2), (1, 2, 2, 2)])
def test_twenty_steps_have_the_same_losses_on_every_mesh(sizes):
    def losses(mesh, accumulate):
        attention = LocalAttention() if mesh is None else RingAttention()
        batch = a_batch(rows=4, length=32)
        optimizer = AdamW().build(_stage())
        step = make_step(CrossEntropy(chunk=8), optimizer, VOCABULARY, accumulate)
        state = placed(
            init_state(family(attention=attention, remat="attention").init(key=jax.random.key(1)), optimizer), mesh
        )
        found = []
        for _ in range(20):
            state, metrics = step(state, batch)
            found.append(reported(metrics))
        assert step.compiled._cached._cache_size() == 1, "compiled once"
        return found, state

    mesh = MeshSpec(*sizes).make_within(jax.devices())
    plain, _ = losses(None, 1)
    with jax.set_mesh(mesh):
        spread, state = losses(mesh, 2)
    for name, close in (("loss", 1e-5), ("gradient_norm", 1e-4), ("parameter_norm", 1e-5)):
        np.testing.assert_allclose([m[name] for m in spread], [m[name] for m in plain], rtol=close, err_msg=name)
    assert state.model.blocks.q.sharding == placed(state.model, mesh).blocks.q.sharding, "it stays in its place"


def _stage():
    return Stage("s", 32, 1e4, 4, 20, 1e-3)
