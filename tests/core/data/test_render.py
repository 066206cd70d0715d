"""Rendering: ids of the one id space, loss by span, markers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.data import Document, Renderer, Span
from lwm_core.data.base import Texts, documents_of
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary


BYTES = ByteTokenizer()
VOCABULARY = Vocabulary((Modality("text", 258, BYTES.markers), Modality("vision", 10, {"eov": 9})))
RENDER = Renderer(VOCABULARY, BYTES)


def test_spans_keep_their_order_their_modality_and_their_loss():
    spans = (Span("text", "ab", 0.0), Span("vision", np.array([0, 9])), Span("text", np.array([99]), 0.5))
    sample = RENDER(Document(spans, "d"))
    assert sample.tokens.tolist() == [97, 98, 258, 267, 99, 257] and sample.tokens.dtype == np.int32
    assert sample.loss.tolist() == [0, 0, 1, 1, 0.5, 0.5] and sample.loss.dtype == np.float32
    assert sample.name == "d"


def test_markers_are_put_where_asked_and_a_first_token_is_no_target():
    document = Document.of_text("hi")
    plain = replace(RENDER, end=None)(document)
    assert plain.tokens.tolist() == [104, 105] and plain.loss.tolist() == [0, 1]
    both = replace(RENDER, begin="text.bos", end="vision.eov")(document)
    assert both.tokens.tolist() == [256, 104, 105, 267] and both.loss.tolist() == [0, 1, 1, 1]


def test_an_empty_document_is_named_or_left_out():
    empty = Document((Span("text", ""),), "nothing.txt:3")
    with pytest.raises(ValueError, match="nothing.txt:3 is empty"):
        RENDER(empty)
    assert replace(RENDER, empty="skip")(empty) is None


@pytest.mark.parametrize(
    "span, message",
    [
        (Span("vision", "words"), "d: a vision span holds a string"),
        (Span("audio", np.array([1])), "d: No modality 'audio'"),
        (Span("vision", np.array([10])), r"d: A vision id lies outside 0..9"),
    ],
)
def test_spans_that_do_not_belong_are_refused_by_name(span, message):
    with pytest.raises(ValueError, match=message):
        RENDER(Document((span,), "d"))


def test_an_unknown_marker_is_refused_at_once():
    with pytest.raises(KeyError, match="No marker 'text.end'"):
        Renderer(VOCABULARY, BYTES, end="text.end")


@given(
    texts=st.lists(st.text(max_size=9)),
    begin=st.sampled_from([None, "text.bos"]),
    end=st.sampled_from([None, "text.eos"]),
)
def test_a_block_of_texts_renders_as_its_documents_do(texts, begin, end):
    block = documents_of([(text, f"d:{at}") for at, text in enumerate(texts)])
    assert isinstance(block, Texts)
    render = replace(RENDER, begin=begin, end=end, empty="skip")
    apart = [render(Document.of_text(text, f"d:{at}")) for at, text in enumerate(texts)]
    for one, other in zip(render.many(block, "s"), apart, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.tokens, other.tokens)
            np.testing.assert_array_equal(one.loss, other.loss)
            assert (one.loss.dtype, one.name, one.source) == (other.loss.dtype, other.name, "s")
