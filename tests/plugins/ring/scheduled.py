"""What a scheduled HLO text says of collectives: what stands between their start and their end, and their bytes.

Owns the reading of the text, for tests of compiled schedules.
"""

import re
from typing import NamedTuple


_WIDTH = {"pred": 1, "s32": 4, "u32": 4, "f32": 4, "bf16": 2}
_LINE = re.compile(r"^\s*(?:ROOT )?%(\S+) = (.*?) (collective-permute-start|collective-permute-done|conditional|while|"
                   r"all-to-all|all-gather|all-reduce)\((%[\w.\-]+)")  # fmt: skip


class Hop(NamedTuple):
    """One collective permute: what is sent, how often, and the operations between its start and its end."""

    dtype: str
    bytes: int
    times: int
    meanwhile: tuple[str, ...]


def hops(text: str) -> list[Hop]:
    """Every collective permute of a scheduled module."""
    found = []
    for name, body in _computations(text):
        order = [match.groups() for match in map(_LINE.match, body) if match]
        names = [entry[0] for entry in order]
        for at, (_, _, kind, operand) in enumerate(order):
            if kind == "collective-permute-done":
                start = names.index(operand.lstrip("%"))
                dtype, size = _sizes(order[start][1])[0]
                meanwhile = tuple(entry[2] for entry in order[start + 1 : at])
                found.append(Hop(dtype, size, _times(text, name), meanwhile))
    return found


def received(text: str, kind: str) -> int:
    """Bytes of the results of every collective of a kind outside loops."""
    lines = [match.groups() for _, body in _computations(text) for match in map(_LINE.match, body) if match]
    return sum(size for _, shape, op, _ in lines if op == kind for _, size in _sizes(shape))


def _computations(text: str):
    for part in filter(None, map(str.strip, text.split("\n\n"))):
        head, *body = part.splitlines()
        yield head.split(" (")[0].removeprefix("ENTRY ").lstrip("%"), body


def _sizes(shape: str) -> list[tuple[str, int]]:
    """(dtype, bytes) of the arrays in a shape."""
    sizes = []
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        size = _WIDTH[dtype]
        for dim in filter(None, dims.split(",")):
            size *= int(dim)
        sizes.append((dtype, size))
    return sizes


def _times(text: str, computation: str) -> int:
    """How often a loop's body runs, read off its condition; 1 outside loops."""
    loop = re.search(rf"condition=%([\w.\-]+), body=%{re.escape(computation)}[,\s]", text)
    if loop is None:
        return 1
    condition = next("\n".join(body) for name, body in _computations(text) if name == loop[1])
    (limit,) = re.findall(r"constant\((\d+)\)", condition)
    return int(limit)
