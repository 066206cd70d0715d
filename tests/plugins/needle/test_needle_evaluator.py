"""The needle test finds what is there, and nothing where nothing is."""

from dataclasses import replace
from pathlib import Path

import pytest
from oracle import Oracle

from lwm_core.testing.evaluator import check_evaluator, tiny_subject
from lwm_needle.evaluator import Needle, wilson
from lwm_needle.haystack import Book
from lwm_needle.wording import Wording


BOOK = str(Path(__file__).parents[3] / "assets/book/moby-dick.txt")
SMALL = Needle(BOOK, start=0.95, contexts=(256, 320), depths=(0.0, 0.5, 1.0), trials=4)


def with_model(model):
    return replace(tiny_subject(), model=model)


def shares(evaluation, kind="needle"):
    return {(r["context"], r["depth"]): r["correct"] / r["total"] for r in evaluation.records if r["kind"] == kind}


@pytest.mark.parametrize("distractors", [0, 1])
def test_a_model_that_looks_up_finds_all_and_none_in_the_control(distractors):
    found = replace(SMALL, distractors=distractors)(with_model(Oracle()))
    assert set(shares(found).values()) == {1.0} and len(shares(found)) == 6
    assert set(shares(found, "control").values()) == {0.0} and len(shares(found, "control")) == 6
    assert found.summary["accuracy"] == {"256": 1.0, "320": 1.0} and found.summary["chance"] == 1e-5


def test_a_model_that_forgets_finds_only_what_is_near():
    found = shares(SMALL(with_model(Oracle(reach=170))))
    assert found[320, 0.0] == found[320, 0.5] == 0 and found[320, 1.0] == 1
    assert found[256, 0.0] == 0 and found[256, 0.5] == 1, "half of a shorter context is nearer"


@pytest.mark.parametrize("reach", [1 << 20, 170])
def test_decoding_hits_exactly_where_the_forced_answer_does(reach):
    subject = with_model(Oracle(reach=reach))
    forced, decoded = SMALL(subject), replace(SMALL, scoring="generate")(subject)
    assert forced == decoded and 0 < sum(r["correct"] for r in forced.records)


def test_fresh_weights_find_nothing_and_the_contract_is_kept():
    evaluator = replace(SMALL, contexts=(256,), trials=1, control_trials=1, begin="text.bos")
    check_evaluator(evaluator)
    assert set(shares(evaluator(tiny_subject())).values()) == {0.0}


def test_trials_have_the_context_exactly_and_batches_do_not_matter():
    subject = tiny_subject()
    book, wording = Book(BOOK, subject.tokenizer, 0.95), Wording(subject.tokenizer)
    trials = list(replace(SMALL, begin="text.bos")._trials(subject, book, wording, 256))
    assert len(trials) == 3 * (4 + 2) and {len(trial.tokens) for trial in trials} == {256}
    assert all(trial.tokens[0] == subject.vocabulary.marker("text.bos") for trial in trials)
    for trial in trials:
        text = subject.tokenizer.decode(trial.tokens)
        number = subject.tokenizer.decode(trial.answer)
        assert len(number) == 5 and text.endswith(f"number is: {number}")
        assert text.count(number) == (2 if trial.kind == "needle" else 1), "the answer is only in the needle"
    subject = with_model(Oracle())
    assert replace(SMALL, batch_tokens=1)(subject) == SMALL(subject)


def test_wilson_bounds_hold_the_share():
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(9, 10) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"depths": (0.0, 50.0)}, "from 0"),
        ({"contexts": ()}, "contexts"),
        ({"scoring": "judge"}, "forced"),
        ({"distractors": 10}, "cities"),
        ({"trials": 0}, "trials=0"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):  # TypeError where types are checked
        replace(SMALL, **bad)


def test_contexts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="take .* tokens"):
        replace(SMALL, contexts=(64,))(tiny_subject())
    with pytest.raises(ValueError, match="longer book"):
        replace(SMALL, contexts=(1 << 20,))(tiny_subject())
