"""What every packer needs: pieces of samples, as arrays or as JSON, and rows built from them.

Owns how a row looks and how a remainder is kept. Which pieces share a row is each packer's business.
"""

import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data.base import Row, Sample
from lwm_core.data.weighting import Weighting, segment_scale


BLOCK = 256  # kept pieces are copied a block at a time, so a push stays cheap with 100,000 pieces waiting


class Piece(NamedTuple):
    """A sample or a stretch of one, which becomes one segment: int32 [n] and float32 [n]."""

    tokens: np.ndarray
    loss: np.ndarray


def pieces_of(sample: Sample, first: int, length: int) -> list[Piece]:
    """The sample cut into at most `first` tokens, then at most `length` each."""
    edges = [0, *range(min(first, len(sample)), len(sample), length), len(sample)]
    return [Piece(sample.tokens[a:b], sample.loss[a:b]) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def check_sample(sample: Sample, length: int, may_cut: bool) -> None:
    """Raises `ValueError` for a sample that no packer takes, or that this one may not cut."""
    name = sample.name or "(unnamed)"
    if not len(sample) or len(sample.tokens) != len(sample.loss):
        raise ValueError(
            f"Sample {name} has {len(sample.tokens)} tokens and {len(sample.loss)} loss weights: give "
            "as many of the one as of the other, and at least one."
        )
    if len(sample) > length and not may_cut:
        raise ValueError(
            f"Sample {name} has {len(sample)} tokens, the row {length}, and cut='error': shorten it, "
            f"set length to {len(sample)} or more, or let the packer cut."
        )


def check_options(length: int, cut: str, cuts: Sequence[str]) -> None:
    if length < 2:
        raise ValueError(f"length={length}: a row holds at least 2 tokens, one to read and one to predict.")
    if cut not in cuts:
        raise ValueError(f"cut={cut!r}: give {' or '.join(cuts)}.")


def row_of(pieces: Sequence[Piece], length: int, weighting: Weighting) -> Row:
    """One row: the pieces one after the other as segments 1, 2, ..., then padding."""
    sizes = np.asarray([len(p.tokens) for p in pieces])
    starts = np.cumsum(sizes) - sizes
    filled = int(sizes.sum())
    tokens, segment, position = (np.zeros(length, np.int32) for _ in range(3))
    weights = np.zeros(length, np.float32)
    np.concatenate([p.tokens for p in pieces], out=tokens[:filled])
    np.concatenate([p.loss for p in pieces], out=weights[:filled])
    segment[:filled] = np.repeat(np.arange(1, len(pieces) + 1, dtype=np.int32), sizes)
    position[:filled] = np.arange(filled, dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes)
    weights[starts] = 0.0  # nothing in its own segment comes before it
    if weighting != "token":
        sums = np.add.reduceat(weights[:filled], starts, dtype=np.float64)
        weights[:filled] *= np.repeat(segment_scale(sums, weighting).astype(np.float32), sizes)
    return Row(tokens, segment, position, weights)


def to_json(piece: Piece) -> dict[str, Any]:
    """The piece as JSON: ids as base64 (little-endian int32), loss as one number where one is enough."""
    loss = piece.loss
    constant = len(loss) < 2 or bool((loss[1:] == loss[1]).all())
    return {
        "length": len(piece.tokens),
        "tokens": _text(piece.tokens, "<i4"),
        "loss": float(loss[-1]) if constant else _text(loss, "<f4"),
    }


def from_json(kept: dict[str, Any]) -> Piece:
    """The piece again; the loss of its first token, which never counts, may differ."""
    loss = kept["loss"]
    if isinstance(loss, str):
        weights = _array(loss, "<f4")
    else:
        weights = np.full(kept["length"], loss, np.float32)
    return Piece(_array(kept["tokens"], "<i4"), weights)


def append(blocks: list[list[dict]], kept: dict) -> list[list[dict]]:
    """New blocks with one more piece at the end; the given ones stay as they are."""
    if blocks and len(blocks[-1]) < BLOCK:
        return [*blocks[:-1], [*blocks[-1], kept]]
    return [*blocks, [kept]]


def _text(array: np.ndarray, dtype: str) -> str:
    return binascii.b2a_base64(np.ascontiguousarray(array, dtype), newline=False).decode("ascii")


def _array(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(binascii.a2b_base64(text), dtype)
