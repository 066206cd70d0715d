"""The conformance kit of attentions, and the float64 oracle that kernels are checked against too.

Owns `check_attention`: outputs and all gradients of an attention against the definition, worked out in numpy
float64, over packed documents with restarting positions, grouped heads, windows, causal blocks, padding, odd
lengths, shuffled order and decoding. It runs under the ambient mesh if there is one.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.attention.base import AbstractAttention, AttentionSite
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.testing.unchecked import excuse


class AttentionCase(NamedTuple):
    """One call to check. `documents` per row; `tail` slots of padding; `dead` makes the last row all padding, and
    `dead_batch` every row; `summed_up` sends summaries of the coordinates along."""

    name: str
    rule: Visibility
    length: int = 40
    keys: int | None = None
    heads: tuple[int, int] = (4, 2)
    documents: int = 3
    tail: int = 3
    dead: bool = False
    shuffled: bool = False
    dtype: str = "float32"
    dead_batch: bool = False
    summed_up: bool = False


CASES = (
    AttentionCase("causal, packed, grouped heads, one empty row", Visibility(), dead=True, summed_up=True),
    AttentionCase("window over an odd length, one key head", Visibility(window=5), length=37, heads=(4, 1)),
    AttentionCase(
        "two-sided window, causal blocks, shuffled order", Visibility(3, 6), tail=0, shuffled=True, summed_up=True
    ),
    AttentionCase("all to all, as many key heads as query heads", Visibility(causal_block=None), heads=(2, 2)),
    AttentionCase("one token against a cache", Visibility(), length=1, keys=32, documents=1, tail=9),
    AttentionCase(
        "a bfloat16 chunk against a cache of odd length",
        Visibility(window=11),
        5,
        39,
        documents=1,
        dtype="bfloat16",
        summed_up=True,
    ),
    AttentionCase("a batch of padding alone", Visibility(), dead_batch=True, summed_up=True),
)


class Answer(NamedTuple):
    """What the definition says: output, log-sum-exp and the gradients of sum(out * dout)."""

    out: np.ndarray
    lse: np.ndarray
    dq: np.ndarray
    dk: np.ndarray
    dv: np.ndarray


class Inputs(NamedTuple):
    """Arrays of one call, on the host; `dout` is the cotangent of the output."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    dout: np.ndarray
    q_at: tuple[np.ndarray, np.ndarray]
    kv_at: tuple[np.ndarray, np.ndarray]

    def coords(self, *, summed_up: bool = False) -> tuple[TokenCoords, TokenCoords]:
        """Of queries and keys; with summaries of every four tokens, as a model makes them of more."""
        q_at, kv_at = (TokenCoords(jnp.asarray(position), jnp.asarray(segment)) for position, segment in self[4:])
        return (q_at.with_extents(4), kv_at.with_extents(4)) if summed_up else (q_at, kv_at)


def check_attention(attention: AbstractAttention, cases: tuple[AttentionCase, ...] = CASES) -> None:
    """Raises AssertionError where the attention differs from the definition, or refuses every case.

    Raises `Unchecked` where it refuses every case on this machine and serves some on another.
    """
    sites, refusals = [], []
    for case in cases:
        inputs = inputs_of(case)
        site = AttentionSite.of(inputs.q, inputs.k, case.rule)
        support = attention.supports(site)
        if not support.ok:
            assert support.reason.strip(), f"{case.name}: a refusal must say why in a sentence."
            refusals.append(f"{case.name}: {support.reason}")
            sites.append(site)
            continue
        _check_case(attention, case, inputs)
    if len(sites) == len(cases):
        excuse(attention, sites, refusals)


def _check_case(attention: AbstractAttention, case: AttentionCase, inputs: Inputs) -> None:
    q, k, v, dout = (jnp.asarray(x) for x in inputs[:4])
    q_at, kv_at = inputs.coords(summed_up=case.summed_up)
    found = _run(attention, case.rule, q, k, v, dout, q_at, kv_at)
    answer = oracle(inputs, case.rule)
    expected = answer.out, answer.dq, answer.dk, answer.dv
    assert found[0].dtype == inputs.q.dtype, f"{case.name}: the output is {found[0].dtype}, q is {inputs.q.dtype}."
    for name, got, want in zip(("out", "dq", "dk", "dv"), found, expected, strict=True):
        assert_near(np.asarray(got, np.float64), want, tolerance(case.dtype), f"{case.name}: {name}")
    empty = np.isneginf(answer.lse).transpose(0, 2, 1)
    blank = np.asarray(found[0], np.float64)[empty]
    assert not blank.any(), f"{case.name}: a query that sees no key must give exactly zero."


@eqx.filter_jit
def _run(attention: AbstractAttention, rule: Visibility, q, k, v, dout, q_at, kv_at):
    """(out, dq, dk, dv); compiled once for cases of one shape and rule."""
    out, pull = jax.vjp(lambda *qkv: attention(*qkv, q_at=q_at, kv_at=kv_at, rule=rule), q, k, v)
    return out, *pull(dout)


def tolerance(dtype: str) -> float:
    """How far from float64 a correct float32 (or bfloat16, by its own rounding) attention may be."""
    return 2e-5 if dtype == "float32" else 4e-2


def assert_near(got: np.ndarray, want: np.ndarray, within: float, what: str) -> None:
    """Difference at most `within`, relative to the largest entry where that exceeds 1. NaN never passes."""
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}."
    worst = np.max(np.abs(got - want), initial=0.0) / max(1.0, np.max(np.abs(want), initial=0.0))
    assert worst <= within, f"{what}: off by {worst:.2e}, allowed {within:.0e}."


def inputs_of(case: AttentionCase, seed: int = 0, batch: int = 2, dim: int = 8) -> Inputs:
    """Random arrays and packed coordinates of a case; with `keys` the queries are the last live tokens."""
    rng = np.random.default_rng(seed)
    keys, dtype = case.keys or case.length, jnp.dtype(case.dtype)
    heads, groups = case.heads
    shapes = [(batch, case.length, heads, dim), *[(batch, keys, groups, dim)] * 2, (batch, case.length, heads, dim)]
    q, k, v, dout = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    rows = [packed_row(rng, keys, case.documents, case.tail) for _ in range(batch)]
    position, segment = (np.stack(parts).astype(np.int32) for parts in zip(*rows, strict=True))
    if case.dead or case.dead_batch:
        rows = slice(None) if case.dead_batch else slice(-1, None)
        position[rows], segment[rows] = 0, 0
    if case.shuffled:
        order = rng.permutation(keys)
        position, segment = position[:, order], segment[:, order]
    live = slice(keys - case.tail - case.length, keys - case.tail) if case.keys else slice(None)
    return Inputs(q, k, v, dout, (position[:, live], segment[:, live]), (position, segment))


def packed_row(rng: np.random.Generator, length: int, documents: int, tail: int) -> tuple[np.ndarray, np.ndarray]:
    """(position, segment) of one row: documents of random lengths, positions restarting, padding at the end."""
    live = length - tail
    cuts = np.sort(rng.choice(np.arange(1, live), size=min(documents, live) - 1, replace=False))
    lengths = np.diff([0, *cuts, live])
    position = np.concatenate([*map(np.arange, lengths), np.zeros(tail, int)])
    return position, np.concatenate([np.repeat(np.arange(1, len(lengths) + 1), lengths), np.zeros(tail, int)])


def oracle(inputs: Inputs, rule: Visibility) -> Answer:
    """Attention by its definition, in numpy float64 and independent of every jax implementation."""
    q, k, v, dout = (np.asarray(x, np.float64) for x in inputs[:4])
    groups, dim = k.shape[2], k.shape[3]
    q, dout = (x.reshape(*x.shape[:2], groups, -1, dim) for x in (q, dout))
    seen = visible_pairs(inputs.q_at, inputs.kv_at, rule)[:, None, None]
    scores = np.einsum("btgrd,bsgd->bgrts", q, k) / np.sqrt(dim)
    top = np.max(scores, axis=-1, keepdims=True, where=seen, initial=-1e300)
    weights = np.where(seen, np.exp(np.where(seen, scores - top, 0)), 0)
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = np.where(total > 0, top + np.log(total), -np.inf)[..., 0]
    weights /= np.where(total > 0, total, 1)
    out = np.einsum("bgrts,bsgd->btgrd", weights, v)
    dweights = np.einsum("btgrd,bsgd->bgrts", dout, v)
    dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True)) / np.sqrt(dim)
    shape = inputs.q.shape
    return Answer(
        out.reshape(shape),
        lse.reshape(shape[0], shape[2], shape[1]),
        np.einsum("bgrts,bsgd->btgrd", dscores, k).reshape(shape),
        np.einsum("bgrts,btgrd->bsgd", dscores, q),
        np.einsum("bgrts,btgrd->bsgd", weights, dout),
    )


def visible_pairs(q_at: tuple[np.ndarray, np.ndarray], kv_at: tuple[np.ndarray, np.ndarray], rule: Visibility):
    """Which pairs see each other, [B, T, S], in numpy: a second writing of `Visibility`'s rule."""
    (i, mine), (j, theirs) = ([x[:, :, None] for x in q_at], [x[:, None, :] for x in kv_at])
    seen = (mine == theirs) & (mine > 0)
    if rule.causal_block is not None:
        seen &= np.floor_divide(j, rule.causal_block) <= np.floor_divide(i, rule.causal_block)
    if rule.window is not None:
        seen &= (i - j < rule.window) & (j - i < rule.window)
    return seen
