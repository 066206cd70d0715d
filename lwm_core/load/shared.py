"""The blocks of a source, each read and rendered by one process and handed to the others as tokens.

Owns who makes which block and what a block is on its way. So every process packs the same rows in the same order, how
many processes there are, and reads, renders and tokenises its share only.
"""

import json
import struct
import zlib
from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lwm_core.data import Sample
from lwm_core.load.blocks import Block
from lwm_core.load.prefetch import Ahead


@runtime_checkable
class Exchange(Protocol):
    """Parcels between `count` processes, of which this is `index`; `lwm_core.processes` has one."""

    @property
    def index(self) -> int: ...

    @property
    def count(self) -> int: ...

    def put(self, name: str, data: bytes) -> None:
        """Has it ready for the others."""
        ...

    def get(self, owner: int, name: str) -> bytes:
        """What `owner` put under this name; waits for it."""
        ...

    def close(self) -> None:
        """Forgets what is left, and frees whoever waits."""
        ...


def mine(source: str, exchange: Exchange) -> tuple[int, int]:
    """(first, step): this process makes blocks first, first + step, ... Sources begin with different processes."""
    return (exchange.index - zlib.crc32(source.encode())) % exchange.count, exchange.count


class SharedBlocks:
    """An endless iterator of blocks in order, of which `own` gives those that this process makes.

    - `source`, `first`, `size`: what the blocks are of; all processes must mean the same;
    - `ahead`: how many of its own blocks this process has ready before they are asked for.
    """

    def __init__(self, own: Iterator, exchange: Exchange, source: str, first: int, size: int, ahead: int):
        self._exchange, self._name = exchange, f"{source}/{first}/{size}"
        self._offset, self._source = mine(source, exchange), source
        self._index = 0
        self._inner = own
        self._own = Ahead(self._given(own), max(1, ahead))

    def __iter__(self) -> "SharedBlocks":
        return self

    def __next__(self) -> Block:
        index, (offset, count) = self._index, self._offset
        self._index += 1
        if index % count == offset:
            return next(self._own)
        owner = (self._exchange.index + index - offset) % count
        return unpacked(self._exchange.get(owner, f"{self._name}/{index}"), f"process {owner}")

    def close(self) -> None:
        """Stops the thread and what reads for it."""
        self._own.close()
        self._inner.close()  # pyright: ignore[reportAttributeAccessIssue]  (Grain's iterators have it)

    def _given(self, own: Iterator) -> Generator[Block]:
        index, count = self._offset
        for made in own:
            block = made if isinstance(made, Block) else Block.together(made)
            self._exchange.put(f"{self._name}/{index}", packed(block))
            yield block
            index += count


_HEAD = struct.Struct("!I")


def packed(block: Block) -> bytes:
    """The block as bytes: ids in two bytes where they fit, weights as runs of equal ones."""
    parts = block.apart()
    tokens, loss = parts["tokens"], parts["loss"]
    narrow = not len(tokens) or (int(tokens.min()) >= 0 and int(tokens.max()) < 2**16)
    starts = np.flatnonzero(np.concatenate([[True], loss[1:] != loss[:-1]])) if len(loss) else np.zeros(0, np.int64)
    error = block.error
    head = {
        "tokens": len(tokens),
        "narrow": narrow,
        "runs": len(starts),
        "samples": [None if s is None else (len(s), s.name, s.source) for s in block.samples],
        "error": None if error is None else _spelt(error),
    }
    said = json.dumps(head).encode()
    counts = np.diff(starts, append=len(loss))
    data = [tokens.astype("<u2" if narrow else "<i4"), loss[starts].astype("<f4"), counts.astype("<i4")]
    return b"".join([_HEAD.pack(len(said)), said, *(array.tobytes() for array in data)])


def unpacked(data: bytes, maker: str) -> Block:
    """The block in `packed` bytes; an error that ended it says who met it."""
    (length,) = _HEAD.unpack_from(data)
    head: dict[str, Any] = json.loads(data[_HEAD.size : _HEAD.size + length])
    at = _HEAD.size + length
    tokens = np.frombuffer(data, "<u2" if head["narrow"] else "<i4", head["tokens"], at)
    at += tokens.nbytes
    values = np.frombuffer(data, "<f4", head["runs"], at)
    loss = np.repeat(values, np.frombuffer(data, "<i4", head["runs"], at + values.nbytes))
    tokens = tokens.astype(np.int32)
    samples: list[Sample | None] = []
    start = 0
    for facts in head["samples"]:
        stop = start if facts is None else start + facts[0]
        samples.append(None if facts is None else Sample(tokens[start:stop], loss[start:stop], *facts[1:]))
        start = stop
    error = None if head["error"] is None else ValueError(f"{maker} could not read: {head['error']}")
    return Block(samples, error)


def _spelt(error: Exception) -> str:
    return " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
