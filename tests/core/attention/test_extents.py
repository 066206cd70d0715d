"""Summaries of coordinates: equal to reading every token, made once per step, and carried to every shard."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from lwm_core.attention import BlockwiseKernel, Extent, LocalAttention, TokenCoords, Visibility, visible_blocks
from lwm_core.attention.extent import any_visible
from lwm_core.attention.placement import Placement
from lwm_core.model import TransformerFamily
from lwm_core.testing.attention import packed_row, visible_pairs


LENGTH = 500
extent = jax.jit(Extent.of, static_argnums=1)
with_extents = jax.jit(TokenCoords.with_extents, static_argnums=1)
RULES = [Visibility(), Visibility(None, 7), Visibility(8, 30)]


def rows(seed: int, shuffled: bool = False) -> TokenCoords:
    """A packed row, and one of padding alone."""
    rng = np.random.default_rng(seed)
    position, segment = packed_row(rng, LENGTH, int(rng.integers(1, 9)), int(rng.integers(0, 200)))
    order = rng.permutation(LENGTH) if shuffled else np.arange(LENGTH)
    empty = np.zeros(LENGTH, int)
    return TokenCoords(
        *(jnp.asarray(np.stack([x[order], empty]), jnp.int32) for x in (position, segment)),
    )


@pytest.mark.parametrize("shuffled", [False, True])
def test_summaries_of_summaries_are_those_of_tokens(shuffled):
    for seed in range(5):
        at = rows(seed, shuffled)
        for granule, block in ((8, 8), (20, 100), (64, 512)):
            made, read = extent(with_extents(at, granule), block), extent(at, block)
            jax.tree.map(np.testing.assert_array_equal, made, read)
            assert made.size == read.size == block


def test_blocks_that_are_no_whole_number_of_summaries_are_read_from_tokens():
    at = rows(0)
    jax.tree.map(np.testing.assert_array_equal, extent(with_extents(at, 64), 40), extent(at, 40))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_hop_is_empty_only_if_no_pair_is_visible(rule):
    """Halves of rows against each other, as shards of a ring meet."""
    skipped, sees = 0, jax.jit(partial(any_visible, rule=rule))
    for seed in range(20):
        at = rows(seed)
        half = [jax.tree.map(lambda x, part=part: x[:, part], at) for part in (slice(None, 250), slice(250, None))]
        pairs = [tuple(map(np.asarray, (x.position, x.segment))) for x in half]
        for q, k in ((0, 1), (1, 0), (0, 0)):
            truly = visible_pairs(pairs[q], pairs[k], rule).any()
            for coords in (half, [with_extents(x, 8) for x in half]):
                found = bool(sees(coords[q], coords[k]))
                assert found or not truly, "a hop with visible pairs would be skipped"
                skipped += not found
    if rule == Visibility():
        assert skipped >= 30, "early queries see no late keys"


def test_padding_a_row_keeps_its_summaries():
    at = with_extents(rows(3), 50)
    fitted = Placement({"dp": 3, "sp": 4}, "sp", "sp").fit(at, "sp")
    assert fitted.position.shape == (3, 500) and fitted.extents is None, "125 slots per shard hold no whole 50s"
    fitted = Placement({"dp": 3, "sp": 8}, "sp", "sp").fit(with_extents(rows(3), 7), "sp")
    assert fitted.position.shape == (3, 504) and fitted.extents.whole.shape == (3, 72)
    plain = TokenCoords(fitted.position, fitted.segment)
    jax.tree.map(np.testing.assert_array_equal, fitted.extents, extent(plain, 7))


def test_a_cut_keeps_the_summaries_that_it_divides_none_of():
    at = with_extents(rows(2), 20)
    part = at.cut(100, 240)
    jax.tree.map(np.testing.assert_array_equal, part, with_extents(TokenCoords(part.position, part.segment), 20))
    assert at.cut(0, 250).extents is None and at.cut(10, 30).extents is None


def integer_reductions(jaxpr, least: int, looped: bool = False) -> list[bool]:
    """For every reduction of at least so many integers or truths: whether it stands in a loop."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith(("reduce_", "arg", "sort")):
            found += [looped for v in equation.invars if v.aval.dtype.kind in "ib" and v.aval.size >= least]
        inside = looped or equation.primitive.name in ("scan", "while")
        for body in jaxprs_in_params(equation.params):
            found += integer_reductions(body, least, inside)
    return found


@pytest.mark.parametrize("backward", [False, True])
def test_tokens_are_summed_up_once_per_step_and_not_by_every_layer(backward):
    """Read off the program: five reductions over the tokens, none of them in the loop over layers."""
    kernel = BlockwiseKernel(128, 128)
    family = TransformerFamily(vocab_size=31, width=16, heads=4, kv_heads=2, ffn=24, attention=LocalAttention(kernel))
    model = family.init(key=jax.random.key(0))
    tokens, at = jnp.zeros((2, 1024), jnp.int32), TokenCoords.of_rows(2, 1024)

    def step(embed, at):
        return eqx.tree_at(lambda m: m.embed, model, embed).hidden(tokens, at, Visibility()).states.sum()

    program = jax.make_jaxpr(jax.grad(step) if backward else step)(model.embed, at)
    assert integer_reductions(program.jaxpr, tokens.size) == [False] * 5


def test_an_extent_is_data_for_any_kernel():
    at = with_extents(rows(1))
    some, every = visible_blocks(extent(at, 128), extent(at, 64), Visibility())
    assert some.shape == every.shape == (2, 4, 8)
    assert not some[1].any(), "a row of padding has nothing to visit"
