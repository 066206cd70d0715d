"""The conformance kit of layouts: a permutation for every length it takes, and a helpful refusal otherwise.

Owns no test runner.
"""

import numpy as np

from lwm_core.layout.base import AbstractLayout


def check_layout(layout: AbstractLayout, shard_counts: tuple[int, ...] = (1, 2, 3, 4, 8)) -> None:
    """Raises AssertionError unless every accepted length is permuted and every refusal names its multiple."""
    for shards in shard_counts:
        step, refusals = _smallest(layout, shards)
        assert step % shards == 0, f"{layout} took {step} tokens on {shards} shards, which are not equal shares."
        for message in refusals:
            assert str(step) in message, f"{layout}: a refusal must name the multiple {step}; it says {message!r}."
        for length in (step, 2 * step, 5 * step):
            order = layout.permutation(length, shards)
            assert order.dtype == np.int64, f"{layout}: indices must be int64, not {order.dtype}."
            assert np.array_equal(np.sort(order), np.arange(length)), f"{layout}: {length} is not permuted."
            assert np.array_equal(order, layout.permutation(length, shards)), f"{layout} must be deterministic."


def _smallest(layout: AbstractLayout, shards: int, limit: int = 4096) -> tuple[int, list[str]]:
    """The smallest length that the layout takes, and what it said of the shorter ones."""
    refusals: list[str] = []
    for length in range(1, limit):
        try:
            layout.permutation(length, shards)
        except ValueError as error:
            refusals.append(str(error))
        else:
            return length, refusals
    raise AssertionError(f"{layout} takes no length below {limit} on {shards} shards: {refusals[-1]}")
