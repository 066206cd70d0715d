"""The table's sizes have the parameter counts that the world knows, counted without allocating a weight."""

import equinox as eqx
import jax
import pytest

from lwm_llama.family import LlamaFamily


def count(family):
    shapes = eqx.filter_eval_shape(family.init, key=jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes) if isinstance(leaf, jax.ShapeDtypeStruct))


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("7b", 6_738_415_616), ("13b", 13_015_864_320), ("65b", 65_285_660_672)],  # LLaMA (Touvron et al. 2023)
)
def test_parameter_counts(size, parameters):
    assert count(LlamaFamily(size=size)) == parameters


def test_the_vision_model_has_both_tables():
    """LWM's vision checkpoints hold 6.807e9 numbers: 8448 more rows in the table and in the head."""
    assert count(LlamaFamily(size="7b", vocab_size=32_000 + 8_448)) == 6_738_415_616 + 2 * 8_448 * 4_096


def test_overrides_and_grouped_heads():
    family = LlamaFamily(size="debug", heads=8, kv_heads=2, layers=3)
    assert family.sizes[:5] == (256, 3, 8, 2, 256)
    assert LlamaFamily(size="debug", heads=4).sizes.kv_heads == 4


def test_an_unknown_size_lists_the_known():
    with pytest.raises(ValueError, match="8b.*debug.*65b"):
        LlamaFamily(size="8b")
