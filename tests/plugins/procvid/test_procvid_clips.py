"""What a clip is said to show is what it shows, read off its frames again by other means."""

from collections import Counter

import numpy as np
import pytest

from lwm_procvid.clips import COLOURS, KINDS, MOVES, NUMBERS, SHAPES, draw_clip
from lwm_procvid.world import DIGITS, FRAME, SIDE, WHITE, every_frame, render


def clips(count, frames=4, seed=0):
    return [draw_clip(np.random.default_rng([seed, index]), frames) for index in range(count)]


@pytest.fixture(scope="module")
def drawn():
    return clips(2000)


def truth(clip):
    """The answers, from the frames alone."""
    first, last = clip.frames[0], clip.frames[-1]
    names = {thing.look.name for frame in clip.frames for thing in frame}
    found = {
        "first": first[0].look.colour,
        "last": last[0].look.colour,
        "colour": first[0].look.colour,
        "count": NUMBERS[len(first) - 1],
        "shape": next(iter(names & set(SHAPES)), None),
        "digit": next(iter(names & set(DIGITS)), None),
    }
    looks = [frame[0].look for frame in clip.frames]
    found["second"] = next((str(t) for t in range(1, len(looks)) if looks[t] != looks[t - 1]), None)
    step = tuple(np.sign([last[0].x - first[0].x, last[0].y - first[0].y]).tolist())
    found["way"] = next((way for way, sign in MOVES.items() if sign == step), None)
    return found


@pytest.mark.parametrize("frames", [2, 4, 6])
def test_every_answer_is_what_the_frames_say(frames):
    for clip in clips(150, frames):
        assert len(clip.frames) == frames and all(frame in every_frame() for frame in clip.frames)
        found = truth(clip)
        assert clip.questions
        for question in clip.questions:
            assert question.answer == found[question.kind], (clip.caption, question)
            assert question.answer in question.choices


def test_every_word_of_a_caption_holds(drawn):
    for clip in drawn[:400]:
        words, first, last = clip.caption.split(), clip.frames[0], clip.frames[-1]
        assert words[1:2] == [first[0].look.colour]
        assert words[2].startswith(first[0].look.name)
        if clip.kind == "count":
            assert NUMBERS.index(words[0]) + 1 == len(first) and len(set(clip.frames)) == 1
        elif clip.kind == "cut":
            assert words[5:7] == [last[0].look.colour, last[0].look.name] and words[-1] == truth(clip)["second"]
        else:
            assert words[3:5] == (["moves", truth(clip)["way"]] if "moves" in words else ["stays", *words[4:5]])
        if clip.kind == "change":
            assert words[words.index("turns") + 1] == last[0].look.colour and words[-1] == truth(clip)["second"]


def test_all_kinds_ways_seconds_and_answers_occur_about_evenly(drawn):
    kinds = Counter(clip.kind for clip in drawn)
    assert all(abs(kinds[kind] / len(drawn) - share) < 0.04 for kind, share in KINDS.items())
    answers = {}
    for clip in drawn:
        for question in clip.questions:
            answers.setdefault(question.kind, Counter())[question.answer] += 1
            assert set(question.choices) >= set(answers[question.kind])
    for kind, counts in answers.items():
        choices = {"way": 5, "digit": 10, "shape": 4, "colour": 5, "first": 5, "last": 5, "count": 4, "second": 3}[kind]
        assert len(counts) == choices and max(counts.values()) < 1.4 * sum(counts.values()) / choices, kind


def test_one_caption_in_eight_is_held_out_and_always_the_same(drawn):
    out = {clip.caption for clip in drawn if clip.held_out}
    assert not out & {clip.caption for clip in drawn if not clip.held_out}
    assert 0.09 < len(out) / len({clip.caption for clip in drawn}) < 0.16
    assert {clip.caption for clip in drawn if clip.held_out and clip.kind == "count"}


def test_the_same_draw_gives_the_same_clip_and_others_differ():
    assert clips(20) == clips(20) and clips(20) != clips(20, seed=1)


def test_things_stay_in_the_frame_apart_from_each_other_and_differ():
    frames = list(every_frame())
    for frame in frames:
        covered = np.zeros((FRAME, FRAME), int)
        for thing in frame:
            covered[thing.y : thing.y + SIDE, thing.x : thing.x + SIDE] += 1
        assert covered.sum() == len(frame) * SIDE**2 and covered.max() == 1
    assert len({render(frame).tobytes() for frame in frames}) == len(frames), "two frames look the same"
    assert WHITE not in COLOURS
