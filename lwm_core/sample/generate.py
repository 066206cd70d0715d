"""Prefill and the decode loop: prompts of any lengths in, drawn ids out, in one compiled program.

Owns batching of unequal prompts, the key/value cache's room, stop ids and the loop. What may come next is a
grammar's business, which id is drawn a sampler's. It knows no tokenizer: ids in, ids out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, PRNGKeyArray

from lwm_core.attention import TokenCoords, Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.model.cache import CacheDtype, KVCache
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.grammar import AbstractGrammar
from lwm_core.sample.guidance import Guidance, Ids, guide


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
) -> list[np.ndarray]:
    """The ids drawn after each prompt (int32, prompt not included, a stop id included as the last).

    A row ends at a stop id, where its grammar allows nothing more, or after `max_new` ids. The same key gives
    the same ids. Rows are padded on the left with segment 0, which attention does not see, so a prompt's
    greedy continuation does not depend on its company.

    - `prefill_chunk`: read the prompts this many ids at a time (less memory); None reads them in one call;
    - `cache_dtype`: what keys and values are kept in, "int8" for a quarter of float32; None for the activations' own;
    - `round_to`: prompt and new lengths are rounded up to a multiple of this, so that near lengths share one
      compilation.
    """
    if max_new < 1:
        raise ValueError(f"max_new={max_new}: give a positive number of ids to draw.")
    if prefill_chunk is not None and prefill_chunk < 1:
        raise ValueError(f"prefill_chunk={prefill_chunk}: give a positive number of ids, or None for one call.")
    rows = [*prompts, *_unconditional(guidance, len(prompts))]
    tokens, at = _left_padded(rows, model.vocab_size, prefill_chunk or round_to)
    drawn, counts = _decode(
        model,
        tokens,
        at,
        sampler,
        grammar,
        jnp.asarray(stop, jnp.int32),
        None if guidance is None else jnp.float32(guidance.scale),
        jnp.int32(max_new),
        key,
        rule=rule,
        room=-(-max_new // round_to) * round_to,
        chunk=prefill_chunk,
        cache_dtype=cache_dtype,
    )
    drawn, counts = np.asarray(drawn), np.asarray(counts)
    return [row[:count] for row, count in zip(drawn, counts, strict=True)]


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
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(
            f"Prompt ids {tokens.min()}..{tokens.max()} for a model of {vocab_size} ids: "
            "the tokenizer and the model do not belong together."
        )
    return jnp.asarray(tokens), TokenCoords(jnp.asarray(position), jnp.asarray(segment))


class _Loop(NamedTuple):
    """What one turn hands to the next; R rows of the model, B of them drawn (R = 2B with guidance)."""

    step: Int32[Array, ""]
    states: Float[Array, "R E"]
    position: Int32[Array, " R"]
    cache: KVCache
    drawn: Int32[Array, "B room"]
    counts: Int32[Array, " B"]
    open: Bool[Array, " B"]
    grammar: Int32[Array, "B K"] | None


@eqx.filter_jit
def _decode(model, tokens, at, sampler, grammar, stop, scale, limit, key, *, rule, room, chunk, cache_dtype):
    rows, width = tokens.shape
    batch = rows if scale is None else rows // 2
    # Asked for by name alone where it is asked for: a model without a choice of bits can still be sampled.
    bits = {} if cache_dtype is None else {"dtype": cache_dtype}
    cache = model.empty_cache(rows, width + room, **bits)
    states, cache = prefill(model, tokens, at, rule, cache, chunk)

    def turn(now: _Loop) -> _Loop:
        token = _draw(model, sampler, grammar, scale, now, jax.random.fold_in(key, now.step))
        drawn = now.drawn.at[:, now.step].set(jnp.where(now.open, token, 0))
        state, still = _advance(grammar, stop, now, token)
        hidden = _append(model, token, now, rule)
        return _Loop(
            now.step + 1, hidden.states[:, 0], now.position + 1, hidden.cache, drawn, now.counts + now.open,
            still, state,
        )  # fmt: skip

    first = _Loop(
        jnp.int32(0),
        states,
        at.position[:, -1] + 1,
        cache,
        jnp.zeros((batch, room), jnp.int32),
        jnp.zeros(batch, jnp.int32),
        jnp.ones(batch, bool),
        None if grammar is None else jnp.broadcast_to(grammar.init(), (batch, *grammar.init().shape)),
    )
    last = jax.lax.while_loop(lambda now: (now.step < limit) & now.open.any(), turn, first)
    return last.drawn, last.counts


def prefill(model, tokens, at, rule, cache, chunk) -> tuple[Float[Array, "R E"], KVCache]:
    """The state of each row's last token, and the cache with the prompts in it; `chunk` divides their length, None
    reads them in one call."""
    rows, width = tokens.shape
    if chunk is None:
        hidden = model.hidden(tokens, at, rule, cache=cache)
        return hidden.states[:, -1], hidden.cache

    def read(cache, now):
        part, position, segment = now
        hidden = model.hidden(part, TokenCoords(position, segment), rule, cache=cache)
        return hidden.cache, hidden.states[:, -1]

    parts = [x.reshape(rows, width // chunk, chunk).swapaxes(0, 1) for x in (tokens, at.position, at.segment)]
    cache, last = jax.lax.scan(read, cache, tuple(parts))
    return last[-1], cache


def _draw(model, sampler, grammar, scale, now: _Loop, key) -> Int32[Array, " B"]:
    logits: Float32[Array, "R V"] = model.logits(now.states)
    if scale is not None:
        conditional, unconditional = jnp.split(logits, 2)
        logits = guide(conditional, unconditional, scale)
    if grammar is not None:
        logits = jnp.where(jax.vmap(grammar.mask)(now.grammar), logits, -jnp.inf)
    return sampler(logits, key=key)


def _advance(grammar, stop, now: _Loop, token):
    """The grammars' states after `token`, and which rows go on."""
    still = now.open & ~(token[:, None] == stop).any(axis=-1)
    if grammar is None:
        return None, still
    state = jax.vmap(grammar.advance)(now.grammar, token)
    return state, still & jax.vmap(grammar.mask)(state).any(axis=-1)


def _append(model, token, now: _Loop, rule):
    """Feeds the drawn ids to every row; an ended row gets segment 0 and leaves no trace."""
    copies = now.position.shape[0] // token.shape[0]
    fed, live = jnp.tile(jnp.where(now.open, token, 0), copies), jnp.tile(now.open, copies)
    at = TokenCoords(now.position[:, None], live[:, None].astype(jnp.int32))
    return model.hidden(fed[:, None], at, rule, cache=now.cache)
