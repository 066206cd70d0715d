"""Documents of clips: the same every time, exact through the tokenizer's ids, weighted where they should be."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.testing.source import check_source
from lwm_core.vision import PatchMeanFamily
from lwm_core.vision.tokens import ids_to_frames
from lwm_procvid.source import ProcVid
from lwm_procvid.world import render
from lwm_registry import catalog


VISION = PatchMeanFamily()
SMALL = ProcVid(VISION, documents=64)


@pytest.mark.parametrize("form", ["generate", "questions"])
def test_the_contract_is_kept(form):
    check_source(ProcVid(VISION, form, documents=16), at_most=8)


def text(document):
    return "".join(span.content if isinstance(span.content, str) else "#" for span in document.spans)


def test_a_caption_and_its_clip():
    tokenizer = VISION.init(key=jax.random.key(0))
    for index in range(16):
        document, (clip, _) = SMALL[index], SMALL.clip(index)
        assert text(document) == f"{clip.caption} <vision>#</vision>"
        assert [span.loss for span in document.spans] == [0.0, 1.0, 1.0]
        codes = ids_to_frames(document.spans[1].content, tokenizer)
        assert np.array_equal(codes, tokenizer.encode(jnp.stack([render(frame) for frame in clip.frames])))
        assert document.meta["seconds"] == (0.0, 1.0, 2.0, 3.0) and document.meta["caption"] == clip.caption


def test_a_clip_and_its_questions():
    source = ProcVid(VISION, "questions", documents=64, asked=2, vision_loss=0.25, answer_loss=4.0)
    orders = set()
    for index in range(32):
        document, (clip, _) = source[index], source.clip(index)
        said = re.fullmatch(r"<vision>#</vision>((?: [^?]+\? \w+){1,2})", text(document))
        assert said, text(document)
        pairs = re.findall(r" ([^?]+\?) (\w+)", said[1])
        assert len(pairs) == min(2, len(clip.questions))
        assert set(pairs) <= {(question.text, question.answer) for question in clip.questions}
        assert [span.loss for span in document.spans] == [0.0, 0.25, 0.0, *[0.0, 4.0] * len(pairs)]
        orders.add(document.meta["answers"] and pairs[0][0])
    assert len(orders) > 4, "questions come in random order"


def test_seeds_and_splits_are_apart():
    captions = {split: {ProcVid(None, documents=80, split=split).clip(i)[0].caption for i in range(80)}
                for split in ("train", "held-out")}  # fmt: skip
    assert not captions["train"] & captions["held-out"] and min(map(len, captions.values())) > 40
    assert text(SMALL[0]) + text(SMALL[1]) != "".join(text(ProcVid(VISION, documents=64, seed=9)[i]) for i in (0, 1))


def test_only_the_kinds_that_are_asked_for_are_shown():
    source = ProcVid(VISION, documents=64, kinds=("count", "move"), about=("shape",))
    clips = [source.clip(i)[0] for i in range(64)]
    assert {clip.kind for clip in clips} == {"count", "move"}
    assert all(any(question.kind == "shape" for question in clip.questions) for clip in clips)


def test_a_pickled_source_carries_codes_and_no_tokenizer():
    copy = pickle.loads(pickle.dumps(SMALL))
    assert copy.vision is None and np.array_equal(copy[3].spans[1].content, SMALL[3].spans[1].content)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": 1}, "give 2 to 6"),
        ({"frames": 7}, "give 2 to 6"),
        ({"documents": 0}, "give at least 1"),
        ({"asked": 0}, "give at least 1"),
        ({"kinds": ("moves",)}, "kinds='moves': give kinds of clip, move, change, cut, count"),
        ({"about": ("when",)}, "about='when': give kinds of question"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ProcVid(VISION, **options)


def test_what_cannot_be_encoded_says_so():
    with pytest.raises(ValueError, match="patch-mean"):
        ProcVid(PatchMeanFamily(frame=16), documents=2)[0]
    with pytest.raises(ValueError, match="no vision tokenizer"):
        ProcVid(None, documents=2)[0]
    with pytest.raises(IndexError, match="of 64"):
        SMALL[64]


def test_a_recipe_names_it_with_the_pipelines_tokenizer():
    built = catalog().build("source", {"use": "procvid", "vision": "patch-mean", "form": "questions", "documents": 4})
    assert len(built) == 4
