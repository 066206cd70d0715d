"""Prompts of any lengths in, drawn ids out.

Owns batching of unequal prompts, the room in the cache, stop ids and the watching of a long run. What one turn does is
`loop`'s; what may come next is a grammar's business, which id is drawn a sampler's. It knows no tokenizer.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from lwm_core.attention import TokenCoords, Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.model.cache import CacheDtype
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.grammar import AbstractGrammar
from lwm_core.sample.guidance import Guidance, Ids
from lwm_core.sample.loop import Loop, Rules, begin, turns


Watch = Callable[[list[np.ndarray]], bool | None]


def generate(
    model: AbstractSequenceModel,
    prompts: Sequence[Ids],
    *,
    sampler: AbstractSampler,
    key: PRNGKeyArray,
    max_new: int,
    stop: Sequence[int] = (),
    grammar: AbstractGrammar | None = None,
    guidance: Guidance | None = None,
    rule: Visibility = Visibility(),
    prefill_chunk: int | None = None,
    cache_dtype: CacheDtype | None = None,
    round_to: int = 64,
    watch: Watch | None = None,
    every: int = 16,
) -> list[np.ndarray]:
    """The ids drawn after each prompt (int32, prompt not included, a stop id included as the last).

    A row ends at a stop id, where its grammar allows nothing more, or after `max_new` ids. The same key gives
    the same ids. Rows are padded on the left with segment 0, which attention does not see, so a prompt's
    greedy continuation does not depend on its company.

    - `prefill_chunk`: read the prompts this many ids at a time (less memory); None reads them in one call;
    - `cache_dtype`: what keys and values are kept in, "int8" for a quarter of float32; None for the activations' own;
    - `round_to`: prompt and new lengths are rounded up to a multiple of this, so that near lengths share one
      compilation;
    - `watch`: hears the ids drawn so far, of every row, after each `every` ids; True from it ends the run. The ids
      are the same with it and without.
    """
    if max_new < 1:
        raise ValueError(f"max_new={max_new}: give a positive number of ids to draw.")
    if every < 1:
        raise ValueError(f"every={every}: give a positive number of ids between two looks.")
    if prefill_chunk is not None and prefill_chunk < 1:
        raise ValueError(f"prefill_chunk={prefill_chunk}: give a positive number of ids, or None for one call.")
    rows = [*prompts, *_unconditional(guidance, len(prompts))]
    tokens, at = _left_padded(rows, model.vocab_size, prefill_chunk or round_to)
    scale = None if guidance is None else jnp.float32(guidance.scale)
    fixed = Rules(model, sampler, grammar, jnp.asarray(stop, jnp.int32), scale, key)
    room = -(-max_new // round_to) * round_to
    options = {"room": room, "chunk": prefill_chunk, "cache_dtype": cache_dtype, "batch": len(prompts)}
    return run(fixed, begin(model, tokens, at, grammar, rule=rule, **options), max_new, rule, watch, every).rows()


def run(fixed: Rules, now: Loop, max_new: int, rule: Visibility, watch: Watch | None, every: int) -> Loop:
    """The loop after at most `max_new` turns, with a look at it after each `every`."""
    step = max_new if watch is None else every
    for until in range(step, max_new + step, step):
        now = turns(fixed, now, jnp.int32(min(until, max_new)), rule=rule)
        if watch is not None and (watch(now.rows()) or not bool(now.open.any())):
            break
    return now


def _unconditional(guidance: Guidance | None, rows: int) -> list[Ids]:
    if guidance is None:
        return []
    prompts = list(guidance.prompts)
    if len(prompts) not in (1, rows):
        raise ValueError(f"{len(prompts)} unconditional prompts for {rows} prompts: give {rows}, or one for all.")
    return prompts * rows if len(prompts) == 1 else prompts


def _left_padded(prompts: list[Ids], vocab_size: int, multiple: int) -> tuple[Array, TokenCoords]:
    lengths = [len(prompt) for prompt in prompts]
    if not lengths or min(lengths) == 0:
        raise ValueError("An empty prompt: give at least one id in each, such as the tokenizer's bos marker.")
    width = -(-max(lengths) // multiple) * multiple
    tokens, position, segment = (np.zeros((len(prompts), width), np.int32) for _ in range(3))
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = prompt
        position[row, width - len(prompt) :] = np.arange(len(prompt))
        segment[row, width - len(prompt) :] = 1
    check_ids(tokens, vocab_size)
    return jnp.asarray(tokens), TokenCoords(jnp.asarray(position), jnp.asarray(segment))


def check_ids(ids: np.ndarray, vocab_size: int) -> None:
    """Raises `ValueError` for ids that the model does not have."""
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError(
            f"Prompt ids {ids.min()}..{ids.max()} for a model of {vocab_size} ids: "
            "the tokenizer and the model do not belong together."
        )
