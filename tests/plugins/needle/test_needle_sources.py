"""Needle documents hold what they say: exact lengths, needles at their depth, answers only there."""

import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lwm_core.data import Renderer
from lwm_core.testing.source import check_source
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary
from lwm_needle.cities import HELD_OUT, TRAINING
from lwm_needle.haystack import Book, Passage, hide, place
from lwm_needle.practice import CopyDocuments, Passages
from lwm_needle.source import NeedleDocuments
from lwm_needle.wording import Wording
from lwm_text.bpe import BPETokenizer


ASSETS = Path(__file__).parents[3] / "assets/book"
BOOK = str(ASSETS / "moby-dick.txt")
TOKENIZERS = {"bytes": ByteTokenizer(), "bpe": BPETokenizer(str(ASSETS / "bpe-2048.json"))}


@pytest.fixture(params=TOKENIZERS)
def source(request):
    shortest = 400 if request.param == "bytes" else 96
    return NeedleDocuments(
        TOKENIZERS[request.param], BOOK, stop=0.1, shortest=shortest, longest=3 * shortest, markers=2
    )


def render(source):
    tokenizer = source.tokenizer
    vocabulary = Vocabulary((Modality("text", tokenizer.size, tokenizer.markers),))
    return Renderer(vocabulary, tokenizer, begin="text.bos", end="text.eos")


def test_lengths_are_exact_with_the_markers_that_rendering_adds(source):
    to_sample = render(source)
    lengths = [len(to_sample(source[i])) for i in range(60)]
    assert min(lengths) >= source.shortest and max(lengths) <= source.longest and len(set(lengths)) > 30
    full = replace(source, full=1.0)
    assert {len(to_sample(full[i])) for i in range(20)} == {source.longest}


def test_answers_carry_the_loss_and_stand_in_the_needle_and_nowhere_else(source):
    decode = source.tokenizer.decode
    for index in range(40):
        document = source[index]
        facts, pieces = document.meta["facts"], document.meta["pieces"]
        answers = [decode(s.content) for s in document.spans if s.loss == source.answer_loss]
        assert len(answers) == document.meta["asked"] >= 1
        body = [decode(span.content) for span in document.spans[: len(pieces)]]
        hidden = {which: text for text, which in zip(body, pieces, strict=True) if which is not None}
        assert all(f"{decode(fact.city)} number is: {fact.number}." in hidden[i] for i, fact in enumerate(facts))
        filler = "".join(text for text, which in zip(body, pieces, strict=True) if which is None)
        numbers = {fact.number for fact in facts}
        assert set(answers) <= numbers and not any(number in filler for number in numbers)
        asked = "".join(decode(span.content) for span in document.spans[len(pieces) :])
        for answer in answers:
            (fact,) = [fact for fact in facts if fact.number == answer]
            assert f"number?{' The special magic'}{decode(fact.city)} number is: {answer}." in asked


def test_sources_keep_the_contract(source):
    check_source(source)
    check_source(CopyDocuments(source.tokenizer, BOOK, stop=0.1))
    check_source(Passages(source.tokenizer, BOOK, stop=0.1))


def test_documents_depend_on_seed_and_index_alone(source):
    again, other = pickle.loads(pickle.dumps(source)), replace(source, seed=1)
    ids = lambda source, i: np.concatenate([span.content for span in source[i].spans])  # noqa: E731
    source[5]
    assert np.array_equal(ids(source, 3), ids(again, 3))
    assert not np.array_equal(ids(source, 3), ids(other, 3)) and not np.array_equal(ids(source, 3), ids(source, 4))
    with pytest.raises(IndexError):
        source[len(source)]


def test_training_draws_documents_fast_enough():
    source = NeedleDocuments(TOKENIZERS["bpe"], BOOK, shortest=1024, longest=1024)
    source[0]
    start = time.perf_counter()
    for index in range(100):
        source[index]
    assert time.perf_counter() - start < 1.0, "a document of 1024 tokens should take well under 10 ms"


def test_a_needle_moves_back_to_the_sentence_before_its_depth():
    breaks = np.array([0, 10, 40, 100])
    passage = Passage(np.arange(100), breaks)
    assert [place(passage, at, slack=24) for at in (0, 9, 10, 30, 39, 99, 100)] == [0, 0, 10, 10, 39, 99, 100]
    pieces = hide(passage, [np.array([-1]), np.array([-2]), np.array([-3])], [1.0, 0.3, 0.0], slack=24)
    assert [p.needle for p in pieces] == [2, None, 1, None, 0]
    assert np.concatenate([p.ids for p in pieces]).tolist() == [-3, *range(10), -2, *range(10, 100), -1]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_passage_breaks_where_sentences_end(tokenizer):
    book = Book(BOOK, tokenizer, 0.1, 0.2)
    passage = book.passage(np.random.default_rng(0), 700)
    assert len(passage.tokens) == 700 and len(passage.breaks) > 3
    for at in passage.breaks[1:-1]:
        assert tokenizer.decode(passage.tokens[:at]).rstrip()[-1] in ".!?\"'”’"
    with pytest.raises(ValueError, match="longer book"):
        book.passage(np.random.default_rng(0), 1 << 22)


def test_a_tokenizer_that_joins_a_field_with_its_neighbours_is_refused():
    class Pairs:
        """Two characters an id: " {city}" and what follows share one."""

        size, markers = 1 << 16, {}

        def encode(self, text):
            return [sum(map(ord, text[i : i + 2])) for i in range(0, len(text), 2)]

        def decode(self, ids):
            return "ab" * len(ids)

    with pytest.raises(ValueError, match="joins"):
        Wording(Pairs())
    with pytest.raises(ValueError, match="number"):
        Wording(ByteTokenizer(), needle="No fields here.")


def test_cities_to_train_on_and_to_measure_with_share_nothing():
    assert not set(TRAINING) & set(HELD_OUT)
    assert len(set(TRAINING)) == len(TRAINING) and len(set(HELD_OUT)) == len(HELD_OUT)


def test_copies_repeat_their_run_and_only_what_can_be_foreseen_counts():
    source = CopyDocuments(TOKENIZERS["bpe"], BOOK, stop=0.1, shortest=48, longest=90, markers=0)
    for index in range(20):
        document = source[index]
        ids, run = np.concatenate([span.content for span in document.spans]), document.meta["run"]
        assert 48 <= len(ids) <= 90 and 6 <= run <= 32 and np.array_equal(ids[run:], ids[:-run])
        assert [len(span.content) for span in document.spans] == [run + 1, len(ids) - run - 1]
        assert [span.loss for span in document.spans] == [0.0, 1.0]


def test_passages_are_the_book():
    source = Passages(TOKENIZERS["bpe"], BOOK, stop=0.1, shortest=50, longest=60, markers=0)
    text = source.tokenizer.decode(Book(BOOK, source.tokenizer, 0.0, 0.1).tokens)
    assert all(source.tokenizer.decode(source[i].spans[0].content).strip("�") in text for i in range(10))
    assert {len(source[i].spans[0].content) for i in range(60)} == set(range(50, 61))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"shortest": 20}, "shortest=20 does not hold one fact"),
        ({"shortest": 300}, "longest=288"),
        ({"digits": 0}, "digits=0"),
        ({"most_needles": 5, "cities": ("Rome",)}, "1 cities for 5"),
        ({"documents": 0}, "documents=0"),
    ],
)
def test_bad_options_are_refused(bad, message):
    source = NeedleDocuments(TOKENIZERS["bpe"], BOOK, stop=0.1, shortest=96, longest=288)
    with pytest.raises(ValueError, match=message):
        replace(source, **bad)
