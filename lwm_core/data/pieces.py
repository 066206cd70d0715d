"""A sample, or a stretch of one, as it waits in a packer's state: plain JSON that is cheap to write and to read back.

Owns that form. An id is one character of a string, so that a million ids are one string, strings of several pieces
are joined as fast as memory allows, and a trip through JSON keeps them exactly. How rows are built is `rows`'s.
"""

import binascii
from codecs import utf_32_le_decode, utf_32_le_encode
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lwm_core.data.base import Sample


Piece = dict[str, Any]  # {"length", "tokens" or "wide", "loss"}, and "rest"; see `piece_of` and `pieces_of`
Blocks = list[list[Piece]]
BLOCK = 512  # waiting pieces are copied a block at a time, so a push stays cheap with 100,000 of them
_IDS, _WEIGHTS = np.dtype("<i4"), np.dtype("<f4")
_FEW = 16384  # weights up to which comparing bytes costs less than a call of numpy
_LOW, _HIGH = 15, 0xE000  # a wide id: its low 15 bits, and the rest lifted over the code points that stand for no text


def piece_of(tokens: np.ndarray, loss: np.ndarray, name: str = "") -> Piece:
    """The ids and their weights as JSON.

    `tokens` is a string with a character an id. Ids that are no code point make it `wide`: two characters an id.
    `loss` is one number where one is enough (the first token's does not matter), else base64 of float32.
    Raises `ValueError` for a weight that is negative or not finite.
    """
    ids = (tokens if tokens.dtype == _IDS else _narrow(tokens, name)).tobytes()
    try:
        text, key = utf_32_le_decode(ids)[0], "tokens"
    except UnicodeDecodeError:
        text, key = _wide(ids), "wide"
    return {"length": len(tokens), key: text, "loss": _weights(loss, name)}


def pieces_of(sample: Sample, first: int, length: int) -> list[Piece]:
    """The sample cut into at most `first` tokens, then at most `length` each; the last of several is its `rest`."""
    tokens, loss, size = sample.tokens, sample.loss, len(sample.tokens)
    if size <= first:
        return [piece_of(tokens, loss, sample.name)]
    edges = [0, *range(first, size, length), size]
    pieces = [piece_of(tokens[a:b], loss[a:b], sample.name) for a, b in pairwise(edges)]
    pieces[-1]["rest"] = True
    return pieces


def ids_of(pieces: Sequence[Piece]) -> np.ndarray:
    """int32 [n], read-only: the ids of all pieces, one after the other."""
    try:
        return _decoded("".join([piece["tokens"] for piece in pieces]))
    except KeyError:
        return np.concatenate([_decoded(p["tokens"]) if "tokens" in p else _narrowed(p["wide"]) for p in pieces])


def weights_of(piece: Piece) -> np.ndarray | float:
    """float32 [n], read-only, or one number for all; what it says of the first token never counts."""
    loss = piece["loss"]
    return np.frombuffer(binascii.a2b_base64(loss), _WEIGHTS) if isinstance(loss, str) else loss


def append(blocks: Blocks, piece: Piece) -> Blocks:
    """New blocks with one more piece at the end; the given ones stay as they are."""
    if blocks and len(blocks[-1]) < BLOCK:
        return [*blocks[:-1], [*blocks[-1], piece]]
    return [*blocks, [piece]]


def waiting(blocks: Blocks) -> list[Piece]:
    """The pieces in order."""
    return [piece for block in blocks for piece in block]


def blocks_of(pieces: Sequence[Piece]) -> Blocks:
    """The pieces in blocks, as `append` would have put them."""
    return [list(pieces[start : start + BLOCK]) for start in range(0, len(pieces), BLOCK)]


def _weights(loss: np.ndarray, name: str) -> float | str:
    loss = loss if loss.dtype == _WEIGHTS else np.asarray(loss, _WEIGHTS)
    if len(loss) < _FEW:
        raw = loss.tobytes()
        constant = raw[4:-4] == raw[8:]
    else:
        constant = bool((loss[1:] == loss[-1]).all())
    if constant:
        weight = float(loss[-1])
        if not 0 <= weight < float("inf"):
            _refuse_weights(name)
        return weight
    if not (loss[1:].min() >= 0 and loss[1:].max() < np.inf):
        _refuse_weights(name)
    return binascii.b2a_base64(loss.tobytes(), newline=False).decode("ascii")


def _refuse_weights(name: str) -> None:
    raise ValueError(
        f"Sample {name or '(unnamed)'} has a loss weight that is negative or not finite: give 0 for a token that is "
        "no target, 1 for one that is."
    )


def _narrow(tokens: np.ndarray, name: str) -> np.ndarray:
    if tokens.dtype.kind not in "iu" or tokens.min() < -(2**31) or tokens.max() >= 2**31:
        raise ValueError(
            f"Sample {name or '(unnamed)'} has ids of {tokens.dtype}: give whole numbers that int32 holds."
        )
    return tokens.astype(_IDS)


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(utf_32_le_encode(text)[0], _IDS)


def _wide(ids: bytes) -> str:
    numbers = np.frombuffer(ids, "<u4")
    pairs = np.empty((len(numbers), 2), "<u4")
    pairs[:, 0] = numbers & ((1 << _LOW) - 1)
    pairs[:, 1] = (numbers >> _LOW) + _HIGH
    return utf_32_le_decode(pairs.tobytes())[0]


def _narrowed(text: str) -> np.ndarray:
    pairs = np.frombuffer(utf_32_le_encode(text)[0], "<u4").reshape(-1, 2)
    return (pairs[:, 0] | (pairs[:, 1] - np.uint32(_HIGH)) << np.uint32(_LOW)).view(_IDS)
