"""What every packer needs beside pieces: which samples it takes, what it counts, and rows built from pieces.

Owns how a row looks. How a piece waits is `pieces`'s, and which pieces share a row is each packer's business.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lwm_core.data.base import Row, Sample
from lwm_core.data.pieces import Piece, ids_of, weights_of
from lwm_core.data.weighting import Weighting, check_weighting, segment_scale


def check_options(length: int, cut: str, cuts: Sequence[str], weighting: str) -> None:
    if length < 2:
        raise ValueError(f"length={length}: a row holds at least 2 tokens, one to read and one to predict.")
    if cut not in cuts:
        raise ValueError(f"cut={cut!r}: give {', '.join(cuts[:-1])} or {cuts[-1]}.")
    check_weighting(weighting)


def takes(sample: Sample, length: int, cut: str) -> bool:
    """Whether the packer takes the sample; False where `cut` says to skip one that is longer than the row.

    Raises `ValueError` for a sample that no packer takes, or that this one may neither cut nor skip.
    """
    size = len(sample.tokens)
    if size and sample.tokens.shape == sample.loss.shape == (size,):
        if size <= length or cut not in ("error", "skip"):
            return True
        if cut == "skip":
            return False
        raise ValueError(
            f"Sample {sample.name or '(unnamed)'} has {size} tokens, the row {length}, and cut='error': shorten it, "
            f"set length to {size} or more, or let the packer cut (cut='long') or leave it out (cut='skip')."
        )
    flat = sample.tokens.ndim == sample.loss.ndim == 1
    shapes = "" if flat else f", of shapes {sample.tokens.shape} and {sample.loss.shape}"
    raise ValueError(
        f"Sample {sample.name or '(unnamed)'} has {size} tokens and {len(sample.loss)} loss weights{shapes}: give as "
        "many of the one as of the other, at least one, in arrays of one dimension."
    )


def nothing_skipped() -> dict[str, int]:
    return {"samples": 0, "tokens": 0}


def skipping(state: dict[str, Any], sample: Sample) -> dict[str, Any]:
    """The state with one more sample counted as skipped."""
    skipped = state["skipped"]
    counts = {"samples": skipped["samples"] + 1, "tokens": skipped["tokens"] + len(sample.tokens)}
    return {**state, "skipped": counts}


def check_held(tokens: int, length: int) -> None:
    """Raises for what a row cannot hold, which no packer of this length puts into its state."""
    if tokens > length:
        raise ValueError(
            f"A row of {length} tokens was to hold {tokens}: the state is of a packer with longer rows. Continue with "
            "that length, or start from `init`."
        )


def row_of(pieces: Sequence[Piece], length: int, weighting: Weighting) -> Row:
    """One row: the pieces one after the other as segments 1, 2, ..., then padding."""
    filled = sum([piece["length"] for piece in pieces])
    check_held(filled, length)
    block = np.empty((4, length), np.int32)
    tokens, segment, position, loss = block
    tokens[:filled] = ids_of(pieces)
    weights = loss.view(np.float32)
    if len(pieces) == 1:  # most rows of long documents: worth a short way
        starts: np.ndarray | int = 0
        segment[:filled] = 1
        position[:filled] = _count(length)[:filled]
        weights[:filled] = weights_of(pieces[0])
    else:
        sizes = np.array([piece["length"] for piece in pieces])
        starts = sizes.cumsum() - sizes
        segment[:filled] = np.arange(1, len(pieces) + 1, dtype=np.int32).repeat(sizes)
        np.subtract(_count(length)[:filled], starts.astype(np.int32).repeat(sizes), out=position[:filled])
        weights[:filled] = _weights(pieces, sizes, starts)
    if filled < length:
        block[:, filled:] = 0
    weights[starts] = 0.0  # nothing in its own segment comes before it
    if weighting != "token":
        _scale(weights[:filled], np.atleast_1d(starts), weighting)
    return Row(tokens, segment, position, weights)


@lru_cache(maxsize=4)
def _count(length: int) -> np.ndarray:
    """int32: 0, 1, ... length - 1, which every row of this length reads."""
    return np.arange(length, dtype=np.int32)


def _weights(pieces: Sequence[Piece], sizes: np.ndarray, starts: np.ndarray) -> np.ndarray | float:
    each = [piece["loss"] for piece in pieces]
    if each.count(each[0]) == len(each) and not isinstance(each[0], str):
        return each[0]
    weights = np.repeat(np.array([0.0 if isinstance(loss, str) else loss for loss in each], np.float32), sizes)
    for start, size, piece in zip(starts.tolist(), sizes.tolist(), pieces, strict=True):
        if isinstance(piece["loss"], str):
            weights[start : start + size] = weights_of(piece)
    return weights


def _scale(weights: np.ndarray, starts: np.ndarray, weighting: Weighting) -> None:
    """Weighs every segment by the rule, in place."""
    sums = np.add.reduceat(weights, starts, dtype=np.float64)
    weights *= np.repeat(segment_scale(sums, weighting).astype(np.float32), np.diff(starts, append=len(weights)))
