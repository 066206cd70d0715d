"""The detector sees what is there, also through a tokenizer, and says no to whatever is not."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from lwm_procvid.clips import draw_clip
from lwm_procvid.detector import judge, see
from lwm_procvid.source import code_table
from lwm_procvid.world import BACKGROUND, FRAME, LOOKS, SIDE, Look, Thing, every_frame, render
from lwm_registry import catalog


WEIGHTS = Path(__file__).parents[3] / "assets/procvid/tokenizer.safetensors"


@pytest.fixture(scope="module")
def tokenizer():
    return catalog().build("vision_tokenizer", {"use": "vqgan", "frames_at_once": 64}).restore(WEIGHTS)


def right(seen, frame):
    return seen.clear and set(seen.things) == set(frame) and len(seen.things) == len(frame)


def some_frames(every=31):
    return list(every_frame())[::every]


def clips(count, seed=0):
    return [draw_clip(np.random.default_rng([seed, index]), 4) for index in range(count)]


def shown(clip):
    return np.stack([render(frame) for frame in clip.frames])


def test_drawn_frames_are_seen_exactly():
    assert all(right(see(render(frame)), frame) for frame in some_frames())


def test_things_are_seen_at_any_pixel_and_of_several_kinds_at_once():
    generator = np.random.default_rng(0)
    for _ in range(20):
        looks = [LOOKS[i] for i in generator.integers(len(LOOKS), size=4)]
        corners = [(x, y) for x in (0, FRAME // 2) for y in (0, FRAME // 2)]
        room = FRAME // 2 - SIDE + 1
        frame = tuple(
            Thing(look, x + int(generator.integers(room)), y + int(generator.integers(room)))
            for look, (x, y) in zip(looks, corners, strict=True)
        )
        assert right(see(render(frame)), frame)


@pytest.mark.parametrize("blur", ["noise", "faded", "soft"])
def test_a_worse_picture_of_the_same_thing_is_still_seen(blur):
    generator = np.random.default_rng(0)
    for frame in some_frames(61):
        pixels = render(frame)
        if blur == "noise":
            pixels = np.clip(pixels + 0.04 * generator.standard_normal(pixels.shape), 0, 1)
        elif blur == "faded":
            pixels = BACKGROUND + 0.85 * (pixels - BACKGROUND)
        else:
            soft = sum(np.roll(pixels, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 4
            pixels = 0.5 * pixels + 0.5 * soft
        assert right(see(pixels), frame), frame


def test_reconstructed_frames_are_seen_exactly(tokenizer):
    table = code_table(tokenizer)
    chosen = slice(0, None, 9)
    pixels = np.asarray(tokenizer.decode(jnp.asarray(table.codes[chosen])))
    found = [right(see(one), frame) for one, frame in zip(pixels, list(every_frame())[chosen], strict=True)]
    assert np.mean(found) == 1.0, f"{np.mean(found):.2%} of the frames survive the tokenizer"


def test_what_is_no_frame_of_the_world_is_not_clear():
    generator = np.random.default_rng(0)
    grey = np.full((FRAME, FRAME, 3), 0.5)
    gradient = np.broadcast_to(np.linspace(0, 1, FRAME)[:, None, None], grey.shape)
    noise = generator.random(grey.shape)
    two = render((Thing(Look("square", "red"), 4, 4),))
    two[6:18, 8:20] = render((Thing(Look("circle", "blue"), 8, 6),))[6:18, 8:20]  # overlapping
    half = render((Thing(Look("circle", "blue"), 8, 8),))
    half[14:] = BACKGROUND
    orange = render((Thing(Look("square", "red"), 4, 4),))
    orange[4:16, 4:16] = (0.95, 0.5, 0.1)
    for pixels in (grey, gradient, noise, two, half, orange):
        assert not see(pixels).clear
    assert see(np.broadcast_to(np.asarray(BACKGROUND), grey.shape)).things == ()


def test_a_clip_is_judged_by_its_caption():
    for clip in clips(16):
        verdict = judge(clip, shown(clip))
        assert verdict.right and verdict.content and len(verdict.frames) == 4


def test_wrong_clips_are_refused():
    for clip in clips(16):
        pixels = shown(clip)
        assert not judge(clip, pixels[:3]).right, "a frame is missing"
        spoilt = pixels.copy()
        spoilt[2] = BACKGROUND
        verdict = judge(clip, spoilt)
        assert verdict.frames == (True, True, False, True) and not verdict.right
        if clip.motion and any(clip.motion):
            back = judge(replace(clip, motion=clip.motion._replace(x=-clip.motion.x, y=-clip.motion.y)), pixels)
            assert back.content and not back.right, "the other way"
        if clip.second is not None:
            assert not judge(clip, np.concatenate([pixels[:1], pixels[:3]])).right, "a second late"
            assert not judge(clip, pixels[::-1]).right, "backwards"


def test_a_clip_of_another_caption_is_refused():
    drawn = clips(30)
    fooled = [judge(one, shown(other)).right for one, other in zip(drawn, drawn[1:], strict=False)
              if one.caption != other.caption]  # fmt: skip
    assert not any(fooled) and len(fooled) > 25
