"""From a prompt to pixels, and from a film to an answer, with a model that has learnt nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords
from lwm_core.model import TransformerFamily
from lwm_core.pipeline import Pipeline
from lwm_core.sample import (
    ByModality,
    Categorical,
    Clip,
    Conversation,
    Greedy,
    Run,
    Wording,
    draw_clips,
    generate,
    generate_any,
    generate_image,
    generate_video,
)
from lwm_core.sample.world import encoded
from lwm_core.text import ByteTokenizer
from lwm_core.vision.patch_mean import PatchMean


@pytest.fixture(scope="module")
def world():
    """258 ids of bytes, then 8 codes in frames of 4, and their markers."""
    family = TransformerFamily(vocab_size=268, width=16, layers=1, heads=2, kv_heads=1, ffn=24, init_std=0.4)
    return Pipeline(family, ByteTokenizer(), vision=PatchMean(8, 4, 2), sampler=Categorical())


PAIR = Wording("pair")


def test_every_clip_has_exactly_its_codes_whatever_is_drawn_and_its_pixels_are_theirs(world):
    for seed in range(5):
        for temperature in (0.2, 5.0):
            sampler = ByModality(world.vocabulary, vision=Categorical(temperature))
            clips = draw_clips(world, "a cat", frames=3, count=2, sampler=sampler, seed=seed, context=200)
            for clip in clips:
                assert clip.codes.shape == (3, 4) and 0 <= clip.codes.min() and clip.codes.max() < 8
                assert np.array_equal(clip.pixels, np.asarray(world.vision.decode(jnp.asarray(clip.codes))))
    assert not np.array_equal(clips[0].codes, clips[1].codes), "two draws of one prompt are two draws"


def test_guidance_of_one_is_none_and_its_batched_rows_are_what_two_calls_would_be(world):
    def draw(scale):
        return draw_clips(world, "a cat", frames=2, guidance=scale, wording=PAIR, sampler=Greedy())[0].codes

    vocabulary, model = world.vocabulary, world.model
    texts = ("a cat <vision>", "<vision>")
    ids = {text: [vocabulary.marker("text.bos"), *ByteTokenizer().encode(text)] for text in texts}

    def scores(before):
        hidden = model.hidden(jnp.asarray([before]), TokenCoords.of_rows(1, len(before)))
        return np.asarray(model.logits(hidden.states[0, -1]))[258:266]

    drawn = []
    for frame in range(2):
        for _ in range(4):
            c, u = (scores([*ids[text], *drawn]) for text in ids)
            drawn.append(258 + int(np.argmax(u + 4 * (c - u))))
        drawn.append(266 + frame)
    assert draw(4.0).reshape(-1).tolist() == [i - 258 for i in drawn if i < 266]
    assert np.array_equal(draw(1.0), generate_video(world, "a cat", 2, wording=PAIR, sampler=Greedy()).codes)
    assert not np.array_equal(draw(4.0), draw(1.0))


def test_a_clip_goes_on_from_pictures_as_from_frames_it_had_drawn_itself(world):
    whole = generate_video(world, "a cat", 4, wording=PAIR, sampler=Greedy())
    again = generate_video(world, "a cat", 2, wording=PAIR, sampler=Greedy(), start=whole.pixels[:2])
    assert again.given == 2 and np.array_equal(again.codes, whole.codes[2:])
    assert np.array_equal(again.pixels, whole.pixels)


def test_text_and_clips_come_as_the_model_likes_and_every_clip_is_whole(world):
    kinds = set()
    for seed in range(6):
        heard: list[int] = []
        parts = generate_any(
            world, "hello", tokens=60, seed=seed, watch=lambda parts, heard=heard: heard.append(len(parts))
        )
        kinds |= {type(part) for part in parts}
        assert all(part.codes.shape[1] == 4 for part in parts if isinstance(part, Clip))
        assert heard == sorted(heard) and heard[-1] <= len(parts)
    assert kinds == {str, Clip}
    (only,) = {len(p.codes) for p in generate_any(world, "x", tokens=99, frames=2, seed=1) if isinstance(p, Clip)}
    assert only == 2


def test_a_conversation_answers_as_reading_all_of_it_anew_would(world):
    talk = Conversation(world, context=400, sampler=Greedy(), wording=Wording())
    film = np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    talk.show(film)
    told = [256]
    for turn, question in enumerate(("What is it?", "And then?")):
        ids = encoded(world, talk.wording.asking(question, talk._shown, first=turn == 0))
        answer = talk.ask(question, tokens=5)
        (wanted,) = generate(world.model, [[*told, *ids]], sampler=Greedy(), key=jax.random.key(0), max_new=5,
                             stop=[257], grammar=Run.of(world.vocabulary, "text"))  # fmt: skip
        assert answer.text == ByteTokenizer().decode(wanted).strip() and answer.read == len(ids)
        told += [*ids, *wanted[: answer.written].tolist()]
        assert talk.session.ids == told and answer.left == 400 - len(told)
    assert [turn["question"] for turn in talk.turns] == ["What is it?", "And then?"]


def test_an_answer_ends_where_the_next_turn_would_begin_and_leaves_no_trace_of_it(world):
    free = Conversation(world, context=300, sampler=Greedy())
    text = free.ask("Hi", tokens=12).text
    cut = Conversation(world, context=300, sampler=Greedy(), stops=(text[3:5],))
    answer = cut.ask("Hi", tokens=12)
    assert answer.ended and answer.text == text[: text.index(text[3:5])].strip()
    assert cut.session.ids[-answer.written :] == free.session.ids[-12:][: answer.written]


def test_frames_that_fit_do_fit_and_one_more_does_not(world):
    talk = Conversation(world, context=200, sampler=Greedy(), wording=Wording())
    fit = talk.frames_that_fit("What?", 10)
    film = np.zeros((fit + 1, 8, 8, 3), np.float32)
    talk.show(film[:fit])
    assert talk.ask("What?", tokens=10).left >= 0 and talk.turns
    ids = encoded(world, talk.wording.asking("What?", np.zeros((fit + 1) * 5, np.int32), first=True))
    assert 200 - 1 - len(ids) < 10


def test_bad_calls_say_what_to_give(world):
    with pytest.raises(ValueError, match="0 frames"):
        generate_video(world, "a", 0)
    with pytest.raises(ValueError, match=r"\(N, 8, 8, 3\)"):
        generate_video(world, "a", 1, start=np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="guidance=-1"):
        generate_image(world, "a", guidance=-1.0)
    with pytest.raises(ValueError, match="a context of 111"):
        generate_video(world, "a", 5, wording=PAIR, context=30, start=np.zeros((15, 8, 8, 3), np.float32))
    blind = dataclasses.replace(world, vision=None)
    with pytest.raises(ValueError, match="no vision tokenizer"):
        generate_image(blind, "a")
    talk = Conversation(world, context=40)
    with pytest.raises(ValueError, match="begin again"):
        talk.ask("a very long question, longer than there is room for")
