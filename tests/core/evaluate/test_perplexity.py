"""Perplexity is what a direct computation in float64 gives, wherever the tokens lie."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords
from lwm_core.data import Document, Documents, Row, Span
from lwm_core.evaluate import Perplexity, best_next, token_losses
from lwm_core.layout.base import AbstractLayout
from lwm_core.testing.evaluator import check_evaluator, tiny_subject


TEXTS = ("It was a dark and stormy night; the rain fell.", "Call me Ishmael.", "x" * 40)


@pytest.fixture(scope="module")
def sharp():
    """A subject whose scores differ enough to tell tokens apart."""
    subject = tiny_subject()
    model = eqx.tree_at(lambda m: m.embed, subject.model, 20 * subject.model.embed)
    return replace(subject, model=model)


def direct(subject, text):
    """Loss of tokens 1, 2, ... of one text by the definition, in float64."""
    tokens = jnp.asarray([subject.tokenizer.encode(text)], jnp.int32)
    states = subject.model.hidden(tokens, TokenCoords.of_rows(*tokens.shape)).states
    logits = np.asarray(subject.model.logits(states), np.float64)[0, :-1]
    log_z = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return log_z - logits[np.arange(len(logits)), np.asarray(tokens)[0, 1:]]


def test_perplexity_by_position_matches_float64(sharp):
    context = 20
    found = Perplexity(Documents.of_texts(TEXTS), context=context, chunk=7, batch_tokens=50)(sharp)
    sums, counts = np.zeros(context), np.zeros(context, int)
    for text in TEXTS:
        for start in range(0, len(text), context):
            losses = direct(sharp, text[start : start + context])
            sums[1 : len(losses) + 1] += losses
            counts[1 : len(losses) + 1] += 1
    assert [r["from"] for r in found.records] == list(range(0, 20, 2))
    for record in found.records:
        here = slice(record["from"], record["to"])
        assert record["tokens"] == counts[here].sum()
        assert record["loss"] == pytest.approx(sums[here].sum() / counts[here].sum(), rel=1e-5)
        assert record["perplexity"] == pytest.approx(np.exp(record["loss"]))
    assert found.summary["loss"] == pytest.approx(sums.sum() / counts.sum(), rel=1e-5)


def test_buckets_may_double_and_prompts_do_not_count(sharp):
    document = Document((Span("text", TEXTS[0][:10], loss=0.0), Span("text", TEXTS[0][10:])))
    found = Perplexity(Documents((document,)), context=64, buckets="doublings")(sharp)
    assert [(r["from"], r["to"]) for r in found.records] == [(8, 16), (16, 32), (32, 64)]
    losses = direct(sharp, TEXTS[0])[9:]
    assert found.summary["tokens"] == len(losses)
    assert found.summary["loss"] == pytest.approx(losses.mean(), rel=1e-5)


class Backwards(AbstractLayout):
    """Every token in another slot."""

    def permutation(self, length, shards):
        return np.arange(length)[::-1].copy()


def packed_row():
    rng = np.random.default_rng(0)
    segment = np.repeat(np.int32([1, 2, 0]), [7, 6, 3])
    position = np.concatenate([np.arange(7), np.arange(6), np.zeros(3)]).astype(np.int32)
    return Row(rng.integers(0, 256, 16).astype(np.int32), segment, position, np.ones(16, np.float32))


def test_scores_come_in_document_order_under_every_layout(sharp):
    row, places = packed_row(), np.array([[0, 5, 11]])
    turned = eqx.tree_at(lambda m: m.attention.layout, sharp.model, Backwards())
    plain = token_losses(sharp.model, [row])
    np.testing.assert_allclose(token_losses(turned, [row]), plain, rtol=1e-5)
    assert np.flatnonzero(plain[0] == 0).tolist() == [0, 7, 13, 14, 15], "first tokens and padding have no loss"
    assert np.array_equal(best_next(turned, [row], places), best_next(sharp.model, [row], places))


def test_best_next_is_the_argmax_of_the_scores(sharp):
    row = packed_row()
    tokens, position, segment = (jnp.asarray(x[None]) for x in (row.tokens, row.position, row.segment))
    scores = sharp.model.logits(sharp.model.hidden(tokens, TokenCoords(position, segment)).states)
    places = np.array([[2, 9]])
    assert np.array_equal(best_next(sharp.model, [row], places)[0], np.argmax(np.asarray(scores)[0], -1)[places[0]])


def test_perplexity_keeps_the_contract():
    check_evaluator(Perplexity(Documents.of_texts(TEXTS), context=16, windows=3))


def test_bad_options_and_empty_sources_are_refused(sharp):
    with pytest.raises((TypeError, ValueError), match="tenths"):
        Perplexity(Documents(()), buckets="halves")  # TypeError where types are checked
    with pytest.raises(ValueError, match="context=1"):
        Perplexity(Documents(()), context=1)
    with pytest.raises(ValueError, match="No token to measure"):
        Perplexity(Documents(()))(sharp)
