"""Grammars allow exactly what they describe, whatever is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.sample import Frames, Interleave, Run, Within
from lwm_core.vocab import Modality, Vocabulary


VOCABULARY = Vocabulary((Modality("text", 11, {"bos": 0, "eos": 1}), Modality("vision", 9, {"eof": 7, "eov": 8})))
START, EOF, EOV = 11, VOCABULARY.marker("vision.eof"), VOCABULARY.marker("vision.eov")


def spoken(grammar, steps, seed):
    """Ids drawn at random from whatever is allowed; shorter than `steps` when nothing is."""
    rng, state, ids = np.random.default_rng(seed), grammar.init(), []
    mask, advance = jax.jit(grammar.mask), jax.jit(grammar.advance)
    for _ in range(steps):
        allowed = np.flatnonzero(mask(state))
        if not allowed.size:
            break
        ids.append(int(rng.choice(allowed)))
        state = advance(state, jnp.int32(ids[-1]))
    return ids, state


def frames_of(ids):
    """The lengths of the frames in a run of vision ids, and its markers."""
    markers = [i for i in ids if i in (EOF, EOV)]
    stops = [n for n, i in enumerate(ids) if i in (EOF, EOV)]
    return np.diff([-1, *stops]) - 1, markers


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_have_exactly_their_codes_and_markers(frames):
    grammar = Frames.of(VOCABULARY, codes_per_frame=4, frames=frames, codebook_size=6)
    ids, state = spoken(grammar, 100, seed=frames)
    lengths, markers = frames_of(ids)
    assert lengths.tolist() == [4] * frames and markers == [EOF] * (frames - 1) + [EOV]
    assert all(START <= i < START + 6 for i in ids if i not in (EOF, EOV)), "a code outside the codebook"
    assert bool(grammar.complete(state)) and len(ids) == frames * 5


def test_frames_without_a_number_end_where_they_like():
    ids, _ = spoken(Frames.of(VOCABULARY, codes_per_frame=2), 200, seed=0)
    lengths, markers = frames_of(ids)
    assert set(lengths) == {2} and markers[-1] == EOV and EOV not in markers[:-1]


def test_interleaved_text_and_frames_alternate_as_often_as_drawn():
    grammar = Interleave((Run.of(VOCABULARY), Frames.of(VOCABULARY, codes_per_frame=3, frames=2)))
    ids, _ = spoken(grammar, 400, seed=3)
    runs = "".join("t" if i < START else "m" if i in (EOF, EOV) else "c" for i in ids)
    clips = [run for run in runs.split("t") if run]
    whole = "cccmcccm"
    assert len(clips) > 3 and "t" in runs
    assert all(set(clip[i : i + 8] for i in range(0, len(clip), 8)) == {whole} for clip in clips[:-1])


def test_a_further_modality_joins_by_being_one_more_part():
    both = VOCABULARY.with_modality(Modality("action", 5, {}))
    grammar = Interleave((Run.of(both), Frames.of(both, 3, 1, codebook_size=7), Run.of(both, "action")))
    ids, _ = spoken(grammar, 300, seed=1)
    assert {*both.modality_index(np.array(ids))} == {0, 1, 2}


def test_bad_grammars_are_refused():
    with pytest.raises(ValueError, match="markers"):
        Frames.of(VOCABULARY, 4, codebook_size=8)
    with pytest.raises(ValueError, match="codes_per_frame=0"):
        Frames.of(VOCABULARY, 0)
    with pytest.raises(KeyError, match="vision.eov"):
        Frames.of(Vocabulary((Modality("text", 4), Modality("vision", 9, {"eof": 8}))), 4)
    with pytest.raises(ValueError, match="one vocabulary"):
        Interleave((Run.of(VOCABULARY), Run(3, 0, 3)))


@pytest.mark.parametrize("frames", [None, 1, 2])
@pytest.mark.parametrize("room", [1, 4, 9, 30])
def test_within_a_number_of_ids_no_clip_is_cut_off(frames, room):
    grammar = Within(Interleave((Run.of(VOCABULARY), Frames.of(VOCABULARY, codes_per_frame=3, frames=frames))), room)
    for seed in range(4):
        ids, state = spoken(grammar, room, seed)
        assert bool(grammar.complete(state)), "ended in the middle of a frame"
        lengths, markers = frames_of([i for i in ids if i >= START])
        assert set(lengths) <= {3} and len(ids) == room
        assert frames is None or len(markers) % frames == 0
        assert not markers or markers[-1] == EOV


def test_least_is_what_the_shortest_way_out_takes():
    grammar = Frames.of(VOCABULARY, codes_per_frame=3, frames=2)
    state, left = grammar.init(), []
    for token in (START, START, START, EOF, START, START, START, EOV):
        left.append(int(grammar.least(state)))
        state = grammar.advance(state, jnp.int32(token))
    assert left == [8, 7, 6, 5, 4, 3, 2, 1] and int(grammar.least(state)) == 0
    with pytest.raises(ValueError, match="takes 8 ids"):
        Within(grammar, 7)
