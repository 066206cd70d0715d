"""Examples are made from (seed, index) alone: true to their documents, as long as asked, free of what is withheld."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm_core.data import Document, Documents, Renderer, TextFiles
from lwm_core.evaluate import Perplexity
from lwm_core.testing.source import check_source
from lwm_core.text import ByteTokenizer
from lwm_core.vocab import Modality, Vocabulary
from lwm_needle.evaluator import Needle
from lwm_synthesis.base import Chunk, Context, Pair
from lwm_synthesis.chunks import Chunker
from lwm_synthesis.guard import Guard
from lwm_synthesis.sentences import sentences, squeezed
from lwm_synthesis.source import Synthesis
from lwm_synthesis.tasks import UNKNOWN, FillIn, Keyword, Position, Questions, Reorder, Unanswerable


BOOK = Path(__file__).parents[3] / "assets" / "book" / "moby-dick.txt"
BYTES = ByteTokenizer()
TASKS = {
    "questions": Questions(4), "unanswerable": Unanswerable(), "keyword": Keyword(), "position": Position(),
    "fill-in": FillIn(), "reorder": Reorder(3),
}  # fmt: skip


def source(**changes):
    book = TextFiles((BOOK,), "chapters", start=0.1, stop=0.3)
    return Synthesis(book, BYTES, **{"examples": 30, "length": 4096, "chunk": 600, "tasks": TASKS, **changes})


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab é. \n猫"), max_size=300), st.integers(4, 40))
def test_chunks_are_the_document_and_none_is_too_long(text, size):
    chunks = list(Chunker(Documents(()), BYTES, size).cut(Document.of_text(text, "d")))
    assert "".join(chunk.text for chunk in chunks) == (text if text.strip() else "")
    for chunk in chunks:
        assert chunk.tokens == len(BYTES.encode(chunk.text)) <= size
    assert len({chunk.name for chunk in chunks}) == len(chunks)


def test_chunks_of_prose_are_full():
    (book,) = TextFiles((BOOK,), "files", stop=0.05)
    *whole, _ = Chunker(Documents(()), BYTES, 1000).cut(book)
    assert len(whole) > 50 and min(chunk.tokens for chunk in whole) >= 950


def test_examples_are_a_source_like_any_other():
    made = source()
    check_source(made)
    other = source(seed=1)
    assert made[3].spans != other[3].spans and made[3].spans == source(examples=4)[3].spans


def test_every_task_is_asked_by_its_share_and_only_answers_count():
    made = source(shares={**dict.fromkeys(TASKS, 0.1), "questions": 0.5})
    documents = [made[i] for i in range(30)]
    tasks = [document.meta["task"] for document in documents]
    assert set(tasks) == set(TASKS) and abs(tasks.count("questions") - 15) <= 1
    render = Renderer(Vocabulary((Modality("text", BYTES.size, BYTES.markers),)), BYTES, begin="text.bos")
    for document in documents:
        sample = render(document)
        assert len(sample) == document.meta["tokens"] <= 4096 and len(sample) > 0.8 * 4096
        assert (sample.loss > 0).sum() == pytest.approx(document.meta["answer_tokens"], abs=document.meta["pairs"])
        answers = [span.content for span in document.spans if span.loss > 0]
        assert len(answers) == document.meta["pairs"] and all(span.loss == 1 for span in document.spans[1::2])


def asked(task, text, *, elsewhere="", pairs=()):
    context = Context((Chunk(text, "here", 1),), Chunk(elsewhere, "there", 1) if elsewhere else None)
    return [made for s in range(8) if (made := task.make(context, pairs, np.random.default_rng(s))) is not None]


STORY = " ".join(f"Sailor number{i} keeps the lamp{i} near pier{i} at night." for i in range(9))


def test_answers_are_true():
    for made in asked(Keyword(3), STORY):
        for question, answer in made.pairs:
            first, second = question.split('"')[1::2]
            assert answer in STORY and first in answer and second in answer
    told = [squeezed(STORY[s.start : s.stop]) for s in sentences(STORY)]
    for made in asked(Position(3), STORY):
        for question, answer in made.pairs:
            step = 1 if "after" in question else -1
            assert told.index(answer) == told.index(question.split('"')[1]) + step
    for made in asked(FillIn(2), STORY):
        assert made.text.count("[...]") == 1 and made.text.replace("[...]", made.pairs[0].answer) == STORY
    for made in asked(Reorder(3), STORY):
        parts = dict(part.removeprefix("Part ").split(": ", 1) for part in made.text.split("\n\n"))
        order = made.pairs[0].answer.split(", ")
        assert order != ["1", "2", "3"] and " ".join(parts[number] for number in order) == STORY


def test_what_the_text_does_not_say_is_said_not_to_be_there():
    pairs = (Pair("Who sold kettles?", "Tamsin"), Pair("Who keeps lamp2?", "Sailor number2"))
    for made in asked(Unanswerable(1), STORY, elsewhere="Tamsin sold kettles.", pairs=pairs):
        assert dict(made.pairs) == {"Who sold kettles?": UNKNOWN, "Who keeps lamp2?": "Sailor number2"}
    assert not asked(Unanswerable(), STORY + " Tamsin was there.", elsewhere="x", pairs=pairs)


def test_what_evaluations_withhold_is_left_out_and_counted():
    needle = Needle(BOOK, start=0.9, contexts=(256,), trials=3)
    number = needle.withheld().words[-1]
    assert number.isdigit() and "Stockholm" in needle.withheld().words
    guard = Guard({"needle": needle}, words=("New Bedford",))
    made = source(tasks={"questions": Questions(1)}, guard=guard)
    draft = made.draft(0, 0)
    for answer, kept in (("a whale", True), (number, False), ("in Stockholm!", False), ("new bedford", False)):
        result = made.finish(draft, [Pair("What?", answer)])
        assert (not isinstance(result, str)) is kept, answer
        assert kept or "withholds" in result
    copied = Guard({"loss": Perplexity(made.documents)})
    spoilt = dataclasses.replace(made, guard=copied)
    assert "words in a row" in spoilt.finish(spoilt.draft(0, 0), [Pair("What?", "That.")])
    with pytest.raises(ValueError, match=r"Example 0 could not be made in 50 tries: overlap: 13 words in a row"):
        spoilt[0]
    strict = dataclasses.replace(made, guard=dataclasses.replace(copied, overlap="fail"))
    with pytest.raises(ValueError, match=r"overlaps with an evaluation: 13 words in a row"):
        strict[0]


def test_the_held_out_part_of_the_same_book_does_not_overlap():
    made = source(guard=Guard({"needle": Needle(BOOK, start=0.9)}))
    assert all(made[i].meta.get("left_out") is None for i in range(3))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"length": 512}, "holds no chunk of 600"),
        ({"tasks": {}}, "No task"),
        ({"shares": {"questions": 1.0}}, "differ: give each task its share"),
        ({"shares": dict.fromkeys(TASKS, 0.2)}, "sum to 1.2"),
        ({"examples": 0}, "examples=0"),
    ],
)
def test_options_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        source(**changes)
