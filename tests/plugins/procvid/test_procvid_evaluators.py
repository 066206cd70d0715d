"""A model that knows the clips by heart is found right in all, and one that knows others at the level of chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memory import Memory

from lwm_core.data import Renderer
from lwm_core.evaluate import Subject
from lwm_core.sample import Categorical, Greedy
from lwm_core.testing.evaluator import tiny_subject
from lwm_core.text import ByteTokenizer
from lwm_core.vision import vision_modality
from lwm_core.vocab import Modality, Vocabulary
from lwm_procvid.generation import ProcVidGeneration, judged
from lwm_procvid.questions import ProcVidQuestions
from lwm_procvid.source import ProcVid
from lwm_registry import catalog


WEIGHTS = Path(__file__).parents[3] / "assets/procvid/tokenizer.safetensors"
BYTES = ByteTokenizer()


@pytest.fixture(scope="module")
def vision():
    return catalog().build("vision_tokenizer", {"use": "vqgan", "frames_at_once": 64}).restore(WEIGHTS)


@pytest.fixture(scope="module")
def documents(vision):
    """Held-out clips, as captions with clips and as clips with all their questions."""
    told = ProcVid(vision, documents=12, split="held-out", seed=5)
    asked = replace(told, form="questions", asked=1)
    asked.__dict__["table"] = told.table  # both are of one tokenizer, which is asked once
    return told, asked


def vocabulary(vision):
    return Vocabulary((Modality("text", BYTES.size, BYTES.markers), vision_modality(vision)))


def knowing(vision, documents):
    """A subject that knows these documents."""
    ids = vocabulary(vision)
    render = Renderer(ids, BYTES, begin="text.bos", end="text.eos")
    return Subject(Memory([render(document).tokens for document in documents], ids.size), BYTES, ids)


def generation(vision, **options):
    return ProcVidGeneration(vision, prompts=12, seed=5, sampler=Greedy(), batch=5, **options)


@pytest.mark.parametrize("grammar", [True, False])
def test_clips_known_by_heart_are_right_in_full(vision, documents, grammar):
    told, _ = documents
    found = generation(vision, grammar=grammar)(knowing(vision, [told[i] for i in range(12)]))
    assert found.summary["prompts"] == 12 and found.summary["high"] == 1.0 and 0.7 < found.summary["low"] < 0.8
    for record in found.records:
        assert (record["exact"], record["content"], record["right"]) == (1.0, 1.0, 1.0)
    assert sum(record["prompts"] for record in found.records) == 24, "kinds, and all together"


def test_clips_of_other_captions_are_wrong_but_exact(vision, documents):
    told, _ = documents
    captions = [told[i].spans[0] for i in range(12)]
    swapped = [replace(told[i], spans=(captions[(i + 1) % 12], *told[i].spans[1:])) for i in range(12)]
    found = generation(vision)(knowing(vision, swapped)).summary
    assert found["exact"] == 1.0 and found["content"] < 0.1 and found["right"] < 0.1


def test_fresh_weights_make_exact_clips_of_nothing(vision):
    subject = tiny_subject(vision=vision)
    sampler = Categorical(1.0)
    found = replace(generation(vision), sampler=sampler)(subject).summary
    assert (found["exact"], found["right"]) == (1.0, 0.0)
    free = replace(generation(vision, grammar=False), sampler=sampler)(subject).summary
    assert free["exact"] == 0.0, "without the grammar nothing keeps them in the grid"


def test_ids_that_are_no_whole_frames_are_not_exact(vision, documents):
    told, _ = documents
    clip, ids = told.clip(0)[0], vocabulary(vision)
    subject = Subject(tiny_subject(vision=vision).model, BYTES, ids)
    good = ids.to_global("vision", told[0].spans[1].content)
    assert judged(subject, vision, clip, good).verdict.right
    longer = np.concatenate([good[:-1], [ids.marker("vision.eof")], good])
    text = good.copy()
    text[5] = 65
    for bad in (
        good[:-1],
        good[1:],
        good[:17],
        good[:0],
        longer,
        text,
        np.delete(good, 20),
        np.insert(good, 3, good[3]),
    ):
        made = judged(subject, vision, clip, np.asarray(bad, np.int32))
        assert made.pixels is None and not made.verdict.right


def test_answers_known_by_heart_are_right_and_those_of_other_clips_are_not(vision, documents):
    _, asked = documents
    evaluator = ProcVidQuestions(vision, clips=12, seed=5)
    whole = [answered for trial in evaluator.trials() for answered in [evaluator.document(trial.question, trial.clip)]]
    found = evaluator(knowing(vision, whole))
    assert found.summary["right"] == 1.0 and found.summary["questions"] == len(whole) > 24
    assert found.summary["control"] < 0.6, "another clip has another answer, mostly"
    levels = {record["kind"]: record["chance"] for record in found.records}
    assert levels["way"] == 1 / 5 and levels["second"] == 1 / 3 and 0.1 < levels["all"] < 0.4
    assert all(record["constant"] >= record["chance"] - 1e-9 for record in found.records)


def test_fresh_weights_answer_nothing(vision):
    found = ProcVidQuestions(vision, clips=12, seed=5)(tiny_subject(vision=vision)).summary
    assert found["right"] < 0.2


def test_pictures(vision, documents, tmp_path):
    pytest.importorskip("matplotlib")
    told, _ = documents
    subject = knowing(vision, [told[i] for i in range(12)])
    evaluator = generation(vision)
    for path in (
        evaluator.draw(tmp_path / "bars.png", {"before": evaluator(subject), "after": evaluator(subject)}),
        evaluator.show(tmp_path / "clips.png", subject, 6),
    ):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_drawing_seed_alone_decides(vision):
    evaluator = replace(generation(vision), sampler=Categorical(1.0))
    subject = tiny_subject(vision=vision)
    first, again = (evaluator.made(subject)[0].pixels for _ in range(2))
    other = replace(evaluator, draw_seed=1).made(subject)[0].pixels
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_bad_options_are_refused(vision):
    for options in ({"prompts": 0}, {"batch": 0}, {"frames": 9}):
        with pytest.raises(ValueError, match="give"):
            ProcVidGeneration(vision, **options)
    with pytest.raises(ValueError, match="give"):
        ProcVidQuestions(vision, clips=0)
