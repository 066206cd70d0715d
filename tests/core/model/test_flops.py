"""Operations by definition against XLA's own count, and against the published count of a 7B."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from lwm_core.attention import DenseAttention, TokenCoords, Visibility
from lwm_core.model import TransformerFamily
from lwm_core.model.flops import CountsFlops, training_flops


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_model_counts_what_xla_counts_where_every_pair_is_seen(kv_heads):
    # One layer: XLA's analysis counts the body of a loop once.
    sizes = {"vocab_size": 512, "width": 256, "layers": 1, "kv_heads": kv_heads, "ffn": 512}
    model = TransformerFamily(DenseAttention(), **sizes).init(key=jax.random.key(0))
    rows, length = 2, 256
    at = TokenCoords(jnp.tile(jnp.arange(length, dtype=jnp.int32), (rows, 1)), jnp.ones((rows, length), jnp.int32))

    @eqx.filter_jit
    def scores(model, tokens):
        return model.logits(model.hidden(tokens, at, Visibility(causal_block=None)).states)

    cost = scores.lower(model, jnp.zeros((rows, length), jnp.int32)).compile().compiled.cost_analysis()
    # The rest is soft-max, norms and activations, which are no products.
    assert cost["flops"] == pytest.approx(model.flops(rows * length, rows * length * length), rel=0.05)
    assert cost["flops"] >= model.flops(rows * length, rows * length * length)


def test_a_7b_costs_six_operations_a_weight_and_token_and_attention_beside():
    family = TransformerFamily(width=4096, layers=32, heads=32, kv_heads=32, ffn=11008, vocab_size=32_000)
    model = eqx.filter_eval_shape(family.init, key=jax.random.key(0))
    assert isinstance(model, CountsFlops)
    weights = 6_738_415_616 - 32_000 * 4096 - 65 * 4096  # Llama-2 7B without its embedding table and its norms
    assert training_flops(model, 1, 0) == 6 * weights
    assert training_flops(model, 0, 10) == 12 * 32 * 4096 * 10
