"""The decode loop gives what the model would give without it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lwm_core.attention import TokenCoords, Visibility
from lwm_core.model import TransformerFamily
from lwm_core.sample import Categorical, Frames, Greedy, Guidance, generate, generate_frames
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.loop import prefill
from lwm_core.vocab import Modality, Vocabulary


VOCABULARY = Vocabulary((Modality("text", 20), Modality("vision", 12, {"eof": 10, "eov": 11})))
KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def model():
    family = TransformerFamily(vocab_size=32, width=16, layers=2, heads=2, kv_heads=1, ffn=24, init_std=0.4)
    return eqx.filter_jit(family.init)(key=jax.random.key(0))


def prompts(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 32, n).tolist() for n in lengths]


def greedy_without_cache(model, prompt, count):
    """One full forward of everything so far for each new id; what is not yet written, no token sees."""
    total = len(prompt) + count
    scores = jax.jit(lambda tokens: model.logits(model.hidden(tokens, TokenCoords.of_rows(1, total)).states[0]))
    ids = np.zeros((1, total), np.int32)
    ids[0, : len(prompt)] = prompt
    for at in range(len(prompt), total):
        ids[0, at] = int(jnp.argmax(scores(ids)[at - 1]))
    return ids[0, len(prompt) :].tolist()


def greedy(model, rows, **options):
    options = {"max_new": 6, "round_to": 16, **options}
    return [x.tolist() for x in generate(model, rows, sampler=Greedy(), key=KEY, **options)]


def test_greedy_decoding_is_the_argmax_of_full_forwards(model):
    (prompt,) = prompts(9)
    assert greedy(model, [prompt]) == [greedy_without_cache(model, prompt, 6)]


def test_unequal_prompts_together_give_what_each_gives_alone(model):
    rows = prompts(3, 11, 8, 1)
    assert greedy(model, rows) == [greedy(model, [row])[0] for row in rows]


def test_prefill_in_chunks_changes_nothing(model):
    rows = prompts(13, 6)
    assert greedy(model, rows, prefill_chunk=4) == greedy(model, rows)


def test_prefill_in_chunks_takes_the_memory_of_a_chunk(model):
    """The same prompt, read whole and in sixteenths: temporary memory beside the cache falls about as much."""
    length = 4096
    tokens, at = jnp.zeros((1, length), jnp.int32), TokenCoords.of_rows(1, length)

    def used(chunk):
        def read(tokens, at, cache):
            return prefill(model, tokens, at, Visibility(), cache, chunk)[0]

        cache = jax.eval_shape(lambda: model.empty_cache(1, length + 64))
        return jax.jit(read).lower(tokens, at, cache).compile().memory_analysis().temp_size_in_bytes

    cache = 2 * 2 * (length + 64) * 8 * 4
    assert used(256) < 0.5 * used(None) + cache


def test_a_cache_in_eight_bits_draws_what_a_wide_one_does(model):
    rows = prompts(9, 4)
    wide, narrow = greedy(model, rows), greedy(model, rows, cache_dtype="int8", prefill_chunk=4)
    assert [row[:3] for row in wide] == [row[:3] for row in narrow]


def test_a_row_stops_at_a_stop_id_and_others_go_on(model):
    rows = prompts(5, 9)
    free = greedy(model, rows)
    stop = free[0][1]
    cut = [row[: row.index(stop) + 1] if stop in row else row for row in free]
    assert greedy(model, rows, stop=(stop,)) == cut and len(cut[0]) <= 2


def test_the_same_key_draws_the_same_ids_and_another_key_others(model):
    draw = lambda key: generate(model, prompts(5, 9), sampler=Categorical(), key=key, max_new=12)  # noqa: E731
    first, again, other = draw(KEY), draw(KEY), draw(jax.random.key(8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


class Counting(AbstractSampler):
    """Greedy, and counts how often it is traced."""

    note: Callable = eqx.field(static=True)

    def __call__(self, logits, *, key):
        self.note(logits.shape)
        return Greedy()(logits, key=key)


def test_near_lengths_share_one_compilation(model):
    traced = []
    sampler = Counting(traced.append)
    for length, count in ((9, 5), (16, 8), (10, 1)):
        generate(model, prompts(length), sampler=sampler, key=KEY, max_new=count, round_to=8)
    assert len(traced) == 1
    generate(model, prompts(17), sampler=sampler, key=KEY, max_new=8, round_to=8)
    assert len(traced) == 2


def test_guidance_of_scale_one_is_the_conditional_model_and_zero_the_other(model):
    rows, (bare,) = prompts(6, 9), prompts(2)
    guided = lambda scale: greedy(model, rows, guidance=Guidance(scale, [bare]))  # noqa: E731
    assert guided(1.0) == greedy(model, rows)
    assert guided(0.0) == greedy(model, [bare, bare])[:1] * 2
    assert guided(4.0) not in (guided(1.0), guided(0.0))


def test_frames_come_out_whole_from_a_model_that_knows_no_grammar(model):
    codes = generate_frames(
        model,
        prompts(5)[0],
        vocabulary=VOCABULARY,
        codes_per_frame=4,
        frames=3,
        sampler=Categorical(),
        key=KEY,
    )
    assert codes.shape == (3, 4) and codes.min() >= 0 and codes.max() < 10
    grammar = Frames.of(VOCABULARY, 4, 3)
    (ids,) = generate(model, prompts(5), sampler=Categorical(), key=KEY, max_new=99, grammar=grammar)
    assert ids[4::5].tolist() == [30, 30, 31], "end-of-frame, end-of-frame, end-of-vision, and nothing after"
    assert np.array_equal(np.delete(ids, [4, 9, 14]).reshape(3, 4) - 20, codes)


def test_bad_calls_say_what_to_give(model):
    with pytest.raises(ValueError, match="bos"):
        greedy(model, [[]])
    with pytest.raises(ValueError, match="max_new=0"):
        greedy(model, prompts(3), max_new=0)
    with pytest.raises(ValueError, match="prefill_chunk=0"):
        greedy(model, prompts(3), prefill_chunk=0)
    with pytest.raises(ValueError, match="do not belong together"):
        greedy(model, [[1, 40]])
    with pytest.raises(ValueError, match="2 unconditional prompts for 3"):
        greedy(model, prompts(3, 3, 3), guidance=Guidance(2.0, prompts(2, 2)))
