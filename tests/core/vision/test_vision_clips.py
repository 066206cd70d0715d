"""Frames as ids, captions, and a clip as documents."""

import json
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm_core.testing.source import check_source
from lwm_core.testing.vision_tokenizer import check_vision_tokenizer
from lwm_core.vision import PatchMean, PatchMeanFamily, frames_to_ids, ids_to_frames, vision_modality
from lwm_core.vision.captions import Cue, caption_for, read_captions, sidecar
from lwm_core.vision.clips import ClipSource
from lwm_core.vision.documents import chat_spans, description_prompt, generation_prompt


CLIP = Path(__file__).parents[3] / "assets" / "clip" / "big_buck_bunny.mp4"
SMALL = PatchMean(16, 8, 3)  # 27 codes, 4 a frame


@pytest.mark.parametrize("family", [PatchMeanFamily(), PatchMeanFamily(frame=12, patch=3, levels=2)])
def test_patch_mean_keeps_the_contract(family):
    check_vision_tokenizer(family)


def test_patch_mean_is_the_mean_colour_of_each_patch():
    frame = np.zeros((1, 16, 16, 3), np.float32)
    frame[0, :8, 8:] = (1.0, 0.5, 0.1)
    codes = SMALL.encode(jnp.asarray(frame))
    assert codes.tolist() == [[0, 2 * 9 + 1 * 3 + 0, 0, 0]]
    assert np.allclose(SMALL.decode(codes)[0, 0, 15], (5 / 6, 3 / 6, 1 / 6))


@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_ids_of_frames_have_their_markers_and_come_back(count, random):
    codes = np.array([[random.randrange(27) for _ in range(4)] for _ in range(count)])
    ids = frames_to_ids(codes, SMALL)
    assert ids.dtype == np.int32 and len(ids) == 5 * count
    assert ids[4::5].tolist() == [27] * (count - 1) + [28]
    assert np.array_equal(ids_to_frames(ids, SMALL), codes)
    assert vision_modality(SMALL).markers == {"eof": 27, "eov": 28} and vision_modality(SMALL).size == 29


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 2, 3, 27], "Id 27 at 4 .*marker 28"),
        ([0, 1, 2, 28, 28], "Id 28 at 3 .*a code belongs"),
        ([0, 1, 2, 3, 28, 0, 0, 0, 0, 28], "Id 28 at 4 .*marker 27"),
        ([0, 1, 2, 3], "whole frames of 5 ids"),
    ],
)
def test_an_id_out_of_place_is_named(ids, message):
    with pytest.raises(ValueError, match=message):
        ids_to_frames(np.array(ids), SMALL)


def test_codes_of_another_tokenizer_are_refused():
    with pytest.raises(ValueError, match="not all below 27"):
        frames_to_ids(np.full((1, 4), 27), SMALL)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", "1\n00:00:00,000 --> 00:00:02,500\nA red\nball.\n\n2\n00:00:02,500 --> 00:01:00,000\nA dog.\n"),
        ("a.json", json.dumps([{"start": 0, "stop": 2.5, "text": "A red ball."}, {"start": 2.5, "text": "A dog."}])),
    ],
)
def test_captions_by_time(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    cues = read_captions(sidecar(tmp_path / "a.mp4"))
    assert cues[0] == Cue(0.0, 2.5, "A red ball.") and cues[1].text == "A dog."
    assert caption_for(cues, 0.0, 4.0) == "A red ball." and caption_for(cues, 2.0, 4.0) == "A dog."
    assert caption_for(cues[:1], 3.0, 4.0) == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.srt", "1\nno time here\nA dog.", r"a\.srt: no line `00"),
        ("a.json", "[{]", r"a\.json:1: not JSON"),
        ("a.json", '[{"start": 1}]', r"a\.json: caption 0 has no `text`"),
        ("a.json", '{"start": NaN, "stop": 1, "text": "x"}', r"a\.json: caption 0 has the start nan: give seconds"),
        ("a.json", '{"start": "0", "text": "x"}', "has the start '0'"),
        ("a.json", '{"start": true, "text": "x"}', "has the start True"),
        ("a.json", '{"start": -5, "text": "x"}', "has the start -5"),
        ("a.json", '{"strat": 3, "text": "x"}', "the key 'strat'.*did you mean 'start'"),
        ("a.json", '{"start": 3, "stop": 3, "text": "x"}', "does not stop after it starts"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.txt", "  \n", r"a\.txt holds no caption"),
    ],
)
def test_captions_that_cannot_be_read_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_captions(tmp_path / name)


def test_a_clip_without_captions_says_what_to_write(tmp_path):
    with pytest.raises(ValueError, match=r"keep one of a\.srt, a\.json, a\.txt"):
        sidecar(tmp_path / "a.mp4")


def test_a_clip_that_is_not_there_is_named_before_it_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No clip .*none\.mp4"):
        ClipSource(tmp_path / "none.mp4", SMALL)


@pytest.fixture(scope="module")
def source() -> ClipSource:
    return ClipSource(CLIP, SMALL, frames=4, fps=2.0, stride=2)


def test_the_clip_source_keeps_the_contract(source):
    check_source(source)


def test_windows_cover_the_clip_with_their_captions(source):
    assert len(source) == (90 - 4) // 2 + 1
    document = source[5]
    assert document.meta["seconds"] == (5.0, 7.0) and "blue sky" in document.meta["caption"]
    (ids,) = [span.content for span in document.spans if span.modality == "vision"]
    assert ids_to_frames(ids, SMALL).shape == (4, 4)
    overlap = next(s.content for s in source[6].spans if s.modality == "vision")
    assert np.array_equal(ids_to_frames(ids, SMALL)[2:], ids_to_frames(overlap, SMALL)[:2])


def test_text_and_vision_swap_by_seed(source):
    orders = [source[i].meta["text_first"] for i in range(len(source))]
    assert min(Counter(orders).values()) > 10
    for index, first in enumerate(orders[:6]):
        texts = [span.content for span in source[index].spans if span.modality == "text"]
        assert texts[0].endswith("<vision>") and texts[1].startswith("</vision>")
        assert (texts[0] != "<vision>") == first and (texts[1] == "</vision>") == first
    other = ClipSource(CLIP, SMALL, frames=4, fps=2.0, stride=2, seed=1)
    assert [other[i].meta["text_first"] for i in range(len(other))] != orders


def test_only_answers_count_in_a_chat():
    ids = frames_to_ids(np.zeros((2, 4), int), SMALL)
    made = chat_spans("a dog", ids, frames=2, text_first=True)
    assert (
        made[0].content
        == generation_prompt("a dog", 2)
        == ("You are a helpful assistant. USER: Generate a video of a dog ASSISTANT: <vision>")
    )
    assert [span.loss for span in made] == [0.0, 1.0, 1.0]
    told = chat_spans("a dog", ids, frames=1, text_first=False)
    assert (told[0].content, told[2].content) == description_prompt(1) and "Describe the image." in told[0].content
    assert [span.loss for span in told] == [0.0, 0.0, 0.0, 1.0] and told[3].content == " a dog"


def test_pictures_unconditional_and_too_long_windows(tmp_path):
    pictures = ClipSource(CLIP, SMALL, frames=1, fps=1.0, form="vision", order="text-first", stop=3.0)
    assert len(pictures) == 3
    assert [span.content for span in pictures[0].spans if span.modality == "text"] == ["<vision>", "</vision>"]
    with pytest.raises(ValueError, match="gives 3 frames at 1 a second, fewer than a window of 4"):
        len(ClipSource(CLIP, SMALL, frames=4, fps=1.0, stop=3.0))
    with pytest.raises(IndexError, match=r"has 3 windows: give 0\.\.2, not 3"):
        pictures[3]
