"""What every packer needs: pieces of samples, as arrays or as JSON, and rows built from them.

Owns how a row looks and how a remainder is kept. Which pieces share a row is each packer's business.
"""

import binascii
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lwm_core.data.base import Row, Sample
from lwm_core.data.weighting import Weighting, segment_scale


BLOCK = 256  # kept pieces are copied a block at a time, so a push stays cheap with 100,000 pieces waiting


class Piece(NamedTuple):
    """A sample or a stretch of one, which becomes one segment: int32 [n], and float32 [n] or one for all."""

    tokens: np.ndarray
    loss: np.ndarray | float


def pieces_of(sample: Sample, first: int, length: int) -> list[Piece]:
    """The sample cut into at most `first` tokens, then at most `length` each."""
    size = len(sample.tokens)
    if size <= first:
        return [Piece(sample.tokens, sample.loss)]
    edges = [*range(first, size, length), size]
    return [Piece(sample.tokens[a:b], sample.loss[a:b]) for a, b in zip([0, *edges], edges, strict=False)]


def check_sample(sample: Sample, length: int, may_cut: bool) -> None:
    """Raises `ValueError` for a sample that no packer takes, or that this one may not cut."""
    size = len(sample.tokens)
    if 0 < size == len(sample.loss) and (size <= length or may_cut):
        return
    name = sample.name or "(unnamed)"
    if size == len(sample.loss) and size > length:
        raise ValueError(
            f"Sample {name} has {size} tokens, the row {length}, and cut='error': shorten it, set length to "
            f"{size} or more, or let the packer cut."
        )
    raise ValueError(
        f"Sample {name} has {size} tokens and {len(sample.loss)} loss weights: give as many of the one as of "
        "the other, and at least one."
    )


def check_options(length: int, cut: str, cuts: Sequence[str]) -> None:
    if length < 2:
        raise ValueError(f"length={length}: a row holds at least 2 tokens, one to read and one to predict.")
    if cut not in cuts:
        raise ValueError(f"cut={cut!r}: give {' or '.join(cuts)}.")


def row_of(pieces: Sequence[Piece], length: int, weighting: Weighting) -> Row:
    """One row: the pieces one after the other as segments 1, 2, ..., then padding."""
    sizes = np.asarray([len(p.tokens) for p in pieces])
    stops = np.cumsum(sizes)
    starts, filled = stops - sizes, int(stops[-1])
    tokens, segment, position = (np.zeros(length, np.int32) for _ in range(3))
    weights = np.zeros(length, np.float32)
    np.concatenate([p.tokens for p in pieces], out=tokens[:filled])
    for piece, start, stop in zip(pieces, starts.tolist(), stops.tolist(), strict=True):
        weights[start:stop] = piece.loss
    segment[:filled] = np.repeat(np.arange(1, len(pieces) + 1, dtype=np.int32), sizes)
    position[:filled] = np.arange(filled, dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes)
    weights[starts] = 0.0  # nothing in its own segment comes before it
    if weighting != "token":
        sums = np.add.reduceat(weights[:filled], starts, dtype=np.float64)
        weights[:filled] *= np.repeat(segment_scale(sums, weighting).astype(np.float32), sizes)
    return Row(tokens, segment, position, weights)


def to_json(piece: Piece) -> dict[str, Any]:
    """The piece as JSON: ids as base64 (little-endian int32), loss as one number where one is enough."""
    loss = np.ascontiguousarray(piece.loss, "<f4").tobytes()
    constant = loss[4:] == loss[-4:] * (len(loss) // 4 - 1)  # the first token's does not matter
    return {
        "length": len(piece.tokens),
        "tokens": _text(np.ascontiguousarray(piece.tokens, "<i4").tobytes()),
        "loss": struct.unpack("<f", loss[-4:])[0] if constant else _text(loss),
    }


def from_json(kept: dict[str, Any]) -> Piece:
    """The piece again; the loss of its first token, which never counts, may differ."""
    loss = kept["loss"]
    return Piece(_array(kept["tokens"], "<i4"), _array(loss, "<f4") if isinstance(loss, str) else loss)


def append(blocks: list[list[dict]], kept: dict) -> list[list[dict]]:
    """New blocks with one more piece at the end; the given ones stay as they are."""
    if blocks and len(blocks[-1]) < BLOCK:
        return [*blocks[:-1], [*blocks[-1], kept]]
    return [*blocks, [kept]]


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _array(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(binascii.a2b_base64(text), dtype)
