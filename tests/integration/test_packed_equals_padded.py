"""Packing, sequence parallelism, data parallelism and accumulation change no loss and no gradient.

Each is compared with the same documents alone in padded rows on one device, in float32, within 1e-5.
"""

import contextlib
from functools import lru_cache

import equinox as eqx
import jax
import numpy as np
import pytest

from lwm_core.attention import LocalAttention
from lwm_core.data import PaddingPacker, Row, Sample
from lwm_core.mesh import MeshSpec
from lwm_core.model import TransformerFamily
from lwm_core.objective import CrossEntropy, ReleasedCrossEntropy
from lwm_core.testing.objective import VOCABULARY
from lwm_core.train.feed import to_batch
from lwm_registry import catalog


LENGTH, PACKED, PADDED = 32, 8, 28  # rows are filled up with empty ones, so that shapes are few
WEIGHTINGS = ("token", "example", "sqrt")
KERNEL = {"use": "blockwise", "block_q": 8, "block_k": 8}
# (attention, mesh as (dp, fsdp, tp, sp)); "ring" 1 is a ring of one device
SPREADS = {
    "one device": ("local", None),
    "ring 1": ("ring", (1, 1, 1, 1)),
    "ring 4 striped": ("striped", (1, 1, 1, 4)),
    "dp 2, ring 4 zigzag": ("zigzag", (2, 1, 1, 4)),
}


def samples_of(kind: str, seed: int = 0) -> list[Sample]:
    """Documents of text, of vision or of both, none longer than a row; some count in a few tokens, one in none."""
    random = np.random.default_rng(seed)
    samples = []
    for index, size in enumerate([2, 9, 14, 32, 5, 21, 11, 3, 27, 16, 7, 12]):
        text, vision = random.integers(0, 19, size), random.integers(20, 32, size)
        tokens = {"text": text, "vision": vision, "mixed": np.where(np.arange(size) < size // 2, vision, text)}[kind]
        loss = (random.random(size) < (1.0, 0.3)[index % 2]).astype(np.float32) * (index != 4)
        samples.append(Sample(tokens.astype(np.int32), loss, f"{kind} {index}"))
    return samples


def packer_of(name: str, weighting: str):
    """The catalog's packer for rows of this file; one around another weighs as its inner one does."""
    example = dict(catalog().find("packer", name).example)
    options = {"length": LENGTH, "weighting": weighting}
    if "inner" in example:
        options = {"length": LENGTH, "inner": {**example["inner"], **options}}
    return catalog().build("packer", {"use": name, **example, **options})


def pack(packer, samples) -> list[Row]:
    state, rows = packer.init(), []
    for sample in samples:
        state, complete = packer.push(state, sample)
        rows += complete
    return rows + packer.flush(state)[1]


def pieces(rows: list[Row]) -> list[Sample]:
    """Every segment as a sample of its own: with its loss mask, and not its weights."""
    found = [(row, row.segment == s) for row in rows for s in range(1, row.segment.max() + 1)]
    return [Sample(row.tokens[at], (row.loss[at] > 0).astype(np.float32)) for row, at in found]


def filled(rows: list[Row], count: int) -> list[Row]:
    assert len(rows) <= count, f"{len(rows)} rows: make room"
    zeros = np.zeros(LENGTH, np.int32)
    return [*rows, *[Row(zeros, zeros, zeros, np.zeros(LENGTH, np.float32))] * (count - len(rows))]


@lru_cache
def model():
    family = TransformerFamily(
        LocalAttention(catalog().build("kernel", KERNEL)),
        vocab_size=VOCABULARY.size,
        width=16,
        heads=2,
        kv_heads=1,
        ffn=24,
        init_std=0.3,
        remat="none",
    )
    return family.init(key=jax.random.key(0))


@lru_cache
def attention(name):
    if name == "local":
        return model().attention
    layout = {} if name == "ring" else {"layout": {"use": name}}
    return catalog().build("attention", {"use": "ring", "kernel": KERNEL, **layout})


OBJECTIVES = {
    "cross-entropy": CrossEntropy(chunk=8),
    "released": ReleasedCrossEntropy(chunk=8),
    "paper": ReleasedCrossEntropy("segment", mask="segment", chunk=8),
}


@lru_cache
def compiled(objective):
    """(loss, parts, gradients) of a batch under the objective of that name."""
    objective = OBJECTIVES[objective]

    @eqx.filter_jit
    def call(model, batch):
        def mean(model):
            found = objective(model, batch, VOCABULARY)
            return found.mean, found.parts

        (loss, parts), grads = eqx.filter_value_and_grad(mean, has_aux=True)(model)
        return loss, parts, jax.tree.leaves(eqx.filter(grads, eqx.is_array))

    return call


def measured(rows, spread="one device", objective="cross-entropy"):
    name, sizes = SPREADS[spread]
    with contextlib.ExitStack() as stack:
        mesh = None
        if sizes is not None:
            mesh = MeshSpec(*sizes).make(jax.devices()[: int(np.prod(sizes))])
            stack.enter_context(jax.set_mesh(mesh))
        own = eqx.tree_at(lambda m: m.attention, model(), attention(name))
        return jax.device_get(compiled(objective)(own, to_batch(rows, own.attention.layout, mesh)))


def assert_same(found, expected):
    (loss, parts, grads), (loss_there, parts_there, grads_there) = found, expected
    np.testing.assert_allclose(loss, loss_there, atol=1e-5, rtol=0)
    assert max(np.abs(g).max() for g in grads) > 1e-2, "gradients of nothing prove nothing"
    for own, there in zip(grads, grads_there, strict=True):
        np.testing.assert_allclose(own, there, atol=1e-5, rtol=0)
    for name, part in parts_there.items():
        if not name.startswith("position"):  # that is where packing puts a document
            np.testing.assert_allclose(parts[name], part, atol=1e-4, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["text", "vision", "mixed"])
@pytest.mark.parametrize("packer", sorted(set(catalog().names("packer")) - {"padding"}))
def test_packed_equals_padded(packer, kind):
    for weighting in WEIGHTINGS:
        rows = pack(packer_of(packer, weighting), samples_of(kind))
        alone = pack(PaddingPacker(LENGTH, weighting=weighting), pieces(rows))
        assert len(rows) < len(alone)
        assert_same(measured(filled(rows, PACKED)), measured(filled(alone, PADDED)))


@pytest.mark.parametrize("spread", list(SPREADS)[1:])
def test_spread_over_devices_equals_padded_on_one(spread):
    """Weights differ between ranks: one of two data-parallel ranks has most of the targets, and an empty row."""
    for weighting in WEIGHTINGS:
        rows = pack(packer_of("best-fit", weighting), samples_of("mixed"))
        rows.sort(key=lambda row: -np.count_nonzero(row.loss))
        alone = pack(PaddingPacker(LENGTH, weighting=weighting), pieces(rows))
        assert_same(measured(filled(rows, PACKED), spread), measured(filled(alone, PADDED)))


def test_the_papers_rule_equals_the_released_loss_on_padded_rows():
    """Masked packing by segment is the released code's loss where each example has a row of its own."""
    rows = pack(packer_of("best-fit", "token"), samples_of("mixed"))
    alone = pack(PaddingPacker(LENGTH), pieces(rows))
    assert_same(measured(filled(rows, PACKED), objective="paper"), measured(alone, objective="released"))
