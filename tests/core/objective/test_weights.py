"""What an objective divides by what: weights per modality, modalities that are absent, and LWM's released loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords
from lwm_core.data import Row
from lwm_core.layout import Zigzag
from lwm_core.mesh import MeshSpec
from lwm_core.model import TransformerFamily
from lwm_core.objective import CrossEntropy, ReleasedCrossEntropy, parts_of
from lwm_core.objective.parts import length_buckets
from lwm_core.pipeline import Pipeline
from lwm_core.testing.objective import VOCABULARY, a_batch, check_objective
from lwm_core.text import ByteTokenizer
from lwm_core.train.feed import to_batch


TEXT, VISION = range(20), range(20, 32)


@pytest.fixture(scope="module")
def model():
    family = TransformerFamily(vocab_size=VOCABULARY.size, width=16, heads=2, kv_heads=1, ffn=24, init_std=0.3)
    return family.init(key=jax.random.key(1))


def losses_of(model, batch, per_modality=False):
    """The loss of each target, float64."""
    scores = np.asarray(model.logits(model.hidden(batch.tokens, batch.at).states), np.float64)
    targets = np.asarray(batch.targets)
    if per_modality:
        own = VOCABULARY.modality_index(np.arange(VOCABULARY.size)) == VOCABULARY.modality_index(targets)[..., None]
        scores = np.where(own, scores, -np.inf)
    return np.log(np.exp(scores).sum(-1)) - np.take_along_axis(scores, targets[..., None], -1)[..., 0]


def released(losses, masks, targets):
    """tux's cross_entropy_loss, for each modality, and LWM's half of the sum."""
    total = 0.0
    for modality in (TEXT, VISION):
        valid = masks * np.isin(targets, modality)
        total += 0.5 * np.mean((losses * valid).sum(-1) / np.maximum(valid.sum(-1), 1e-10))
    return total


def of_text(batch):
    return eqx.tree_at(lambda b: b.targets, batch, batch.targets % len(TEXT))


@pytest.mark.parametrize("weights", [{"vision": 0.5}, {"text": 0.0, "vision": 3.0}])
def test_a_modalitys_weight_enters_sum_and_denominator(model, weights):
    batch = a_batch()
    losses, targets = losses_of(model, batch), np.asarray(batch.targets)
    factor = np.where(np.isin(targets, VISION), weights.get("vision", 1.0), weights.get("text", 1.0))
    w = np.asarray(batch.weights) * factor
    found = CrossEntropy(modality_weights=weights)(model, batch, VOCABULARY)
    np.testing.assert_allclose(found.mean, (w * losses).sum() / w.sum(), rtol=1e-5)
    plain = CrossEntropy()(model, batch, VOCABULARY).parts
    jax.tree.map(np.testing.assert_array_equal, found.parts, plain)  # so that runs of other weights compare


def test_an_absent_modality_dilutes_nothing_unless_asked(model):
    batch = of_text(a_batch())
    losses, weights = losses_of(model, batch), np.asarray(batch.weights)
    mean = (weights * losses).sum() / weights.sum()
    for given in ({}, {"vision": 0.5}):
        np.testing.assert_allclose(CrossEntropy(modality_weights=given)(model, batch, VOCABULARY).mean, mean, rtol=1e-5)
    counts, omitted = (ReleasedCrossEntropy(absent=a)(model, batch, VOCABULARY).mean for a in ("counts", "omitted"))
    np.testing.assert_allclose(2 * counts, omitted, rtol=1e-5)


def test_the_released_loss_is_what_lwm_computes(model):
    batch = a_batch(rows=4, length=12)
    masks = np.asarray(batch.weights > 0, np.float32)
    masks[2] = 0  # a row without a target counts in the mean
    masks[3] *= np.isin(np.asarray(batch.targets[3]), TEXT)  # and so does one without vision
    batch = eqx.tree_at(lambda b: b.weights, batch, jnp.asarray(masks))
    expected = released(losses_of(model, batch, per_modality=True), masks, np.asarray(batch.targets))
    np.testing.assert_allclose(ReleasedCrossEntropy()(model, batch, VOCABULARY).mean, expected, rtol=1e-5)


def test_released_rows_see_all_of_themselves(model):
    """mask="none" is one document a row, whatever the segments say."""
    batch = a_batch()
    apart = eqx.tree_at(lambda b: b.at, batch, TokenCoords(batch.at.position % 5, 1 + batch.at.position // 5))
    one, two = (ReleasedCrossEntropy()(model, b, VOCABULARY).mean for b in (batch, apart))
    np.testing.assert_array_equal(one, two)
    assert abs(ReleasedCrossEntropy(mask="segment")(model, apart, VOCABULARY).mean - one) > 1e-4
    with pytest.raises(ValueError, match=r"mask='none' needs Batch.origin"):
        CrossEntropy(mask="none")(model, eqx.tree_at(lambda b: b.origin, batch, None), VOCABULARY)


def test_the_other_form_of_the_released_loss_conforms():
    check_objective(ReleasedCrossEntropy("segment", "omitted", mask="segment"))


def test_parts_are_sums_over_their_tokens_in_any_order():
    """Against a loop over tokens, for packed rows, padding and a zigzag order."""
    random, length = np.random.default_rng(0), 144
    cuts = [(70, 3, 60), (144,), (65, 64)]
    rows = []
    for sizes in cuts:
        segment = np.pad(np.repeat(np.arange(1, len(sizes) + 1), sizes), (0, length - sum(sizes)))
        tokens = random.integers(0, VOCABULARY.size, length) * (segment > 0)
        loss = random.integers(0, 3, length) * (segment > 0)
        rows.append(Row(*(x.astype(np.int32) for x in (tokens, segment, segment * 0)), loss.astype(np.float32)))
    mesh = MeshSpec(1, 1, 1, 4).make(jax.devices()[:4])
    batch = to_batch(rows, Zigzag(), mesh)
    losses = random.random((3, length)).astype(np.float32)
    order = Zigzag().permutation(length, 4)
    found = parts_of(batch, jnp.asarray(losses[:, order]), VOCABULARY)
    expected = {name: np.zeros(3) for name in found}
    for b, (row, sizes) in enumerate(zip(rows, cuts, strict=True)):
        for t in range(length - 1):
            if row.segment[t] and row.segment[t] == row.segment[t + 1] and row.loss[t + 1]:
                size = sizes[row.segment[t] - 1]
                bucket = next(n for n in length_buckets(length) if n >= size)
                kinds = "text" if row.tokens[t + 1] in TEXT else "vision", f"position/{t * 10 // length}"
                names = *kinds, {64: "length/1-64", 128: "length/65-128", 256: "length/129-256"}[bucket]
                for name in names:
                    expected[name] += np.array([row.loss[t + 1] * losses[b, t], row.loss[t + 1], 1])
    assert {name.partition("/")[0] for name in found} == {"text", "vision", "length", "position"}
    for name, part in found.items():
        np.testing.assert_allclose(part, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_weight_that_means_nothing_is_refused():
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"modality_weights=\{{vision: {weight}\}}"):
            CrossEntropy(modality_weights={"vision": weight})


def test_a_modality_that_a_run_never_has_is_refused_by_name():
    family = TransformerFamily(width=16, heads=2, kv_heads=1, ffn=16)
    Pipeline(family, ByteTokenizer(), objective=CrossEntropy(modality_weights={"text": 0.5}))
    with pytest.raises(ValueError, match="The objective names modality 'visoin'; this pipeline has text"):
        Pipeline(family, ByteTokenizer(), objective=CrossEntropy(modality_weights={"visoin": 0.5}))
