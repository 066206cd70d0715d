"""What a compiled program's text says: its collectives, how often each runs, and what runs meanwhile.

Owns the reading of scheduled HLO. Loops are counted by the bound in their condition, so a collective in a loop in a
loop counts as often as it runs; of a choice, every branch counts. What the figures mean for a plan is `account`'s.
"""

import math
import re
from collections import defaultdict
from typing import NamedTuple


_WIDTH = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4,
          "s64": 8, "u64": 8, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1}  # fmt: skip
_OPERATION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# What takes long enough to hide a transfer: a kernel, a loop of them, or one that is chosen; products otherwise.
_COMPUTES = ("conditional", "while", "custom-call", "convolution", "dot")


class Operation(NamedTuple):
    """One line: its name, the shape of its result, what it is, and the rest of the line."""

    name: str
    shape: str
    kind: str
    rest: str


class Collective(NamedTuple):
    """One collective of a program.

    - `kind`: "all-gather", "all-reduce", "reduce-scatter", "all-to-all" or "collective-permute";
    - `group`: how many devices take part together; `times`: how often it runs;
    - `sent`: bytes that each device sends, each time, on a ring of its group;
    - `meanwhile`: what the program does between its start and its end; None where the two are one operation.
    """

    kind: str
    dtype: str
    group: int
    times: int
    sent: int
    meanwhile: tuple[str, ...] | None

    @property
    def hidden(self) -> bool:
        """Whether something is computed while it travels."""
        return any(kind in _COMPUTES for kind in self.meanwhile or ())


def collectives(text: str) -> list[Collective]:
    """Every collective of a scheduled module that runs at all."""
    computations = _computations(text)
    times = _times(computations)
    found = []
    for name, body in computations.items():
        for at, operation in enumerate(body):
            kind = operation.kind.removesuffix("-start")
            if kind in _KINDS and times[name]:
                if math.isnan(times[name]):
                    raise ValueError(f"A collective in a loop whose turns cannot be read: {operation.name}")
                found.append(_collective(kind, operation, body[at + 1 :], int(times[name])))
    return found


def sizes(shape: str) -> list[tuple[str, int]]:
    """(dtype, bytes) of the arrays in a shape."""
    found = []
    for dtype, numbers in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        if dtype in _WIDTH:
            found.append((dtype, _WIDTH[dtype] * math.prod(int(n) for n in numbers.split(",") if n)))
    return found


def _collective(kind: str, operation: Operation, after: list[Operation], times: int) -> Collective:
    started = operation.kind.endswith("-start")
    arrays = sizes(operation.shape)
    if started:  # its shape is (operands, results, contexts)
        arrays = arrays[: len(arrays) // 2] if kind == "reduce-scatter" else arrays
        arrays = [max(arrays, key=lambda item: item[1])] if kind != "all-reduce" else arrays
    size, group = sum(n for _, n in arrays), 2 if kind == "collective-permute" else _group(operation.rest)
    meanwhile = None
    if started:
        end = next((n for n, other in enumerate(after) if f"%{operation.name})" in other.rest or
                    f"%{operation.name}," in other.rest), len(after))  # fmt: skip
        meanwhile = tuple(other.kind for other in after[:end])
    dtype = max(arrays, key=lambda item: item[1], default=("", 0))[0]
    return Collective(kind, dtype, group, times, _sent(kind, size, group, started), meanwhile)


def _sent(kind: str, size: int, group: int, started: bool) -> int:
    """Bytes on a ring of `group` devices, from the size of the result (of the operand, for a started scatter)."""
    if kind == "collective-permute":
        return size
    if kind == "reduce-scatter" and not started:
        return size * (group - 1)
    return size * (group - 1) // max(group, 1) * (2 if kind == "all-reduce" else 1)


def _group(rest: str) -> int:
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest)
    if mesh:
        axes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        return math.prod(int(axes[name]) for name in re.findall(r"'([^']+)'", mesh[2]))
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    if iota:
        return int(iota[1])
    first = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    if first is None:
        raise ValueError(f"A collective whose groups cannot be read: {rest[:200]}")
    return len(first[1].split(","))


def _computations(text: str) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    current = None
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head and not line.startswith(" "):
            current = found.setdefault(("ENTRY" if line.startswith("ENTRY") else head[1]), [])
        elif current is not None and (match := _OPERATION.match(line)):
            current.append(Operation(*match.groups()))
    return found


def _times(computations: dict[str, list[Operation]]) -> dict[str, float]:
    """How often each computation runs in one run of the program; not a number below a loop that does not say."""
    callers: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, body in computations.items():
        for operation in body:
            turns = _turns(operation, computations) if operation.kind == "while" else 1.0
            called = _CALLED.findall(operation.rest)
            branches = _BRANCHES.search(operation.rest)
            if branches:
                called += [branch.strip().lstrip("%") for branch in branches[1].split(",")]
            for target in called:
                callers[target].append((name, turns))
    times: dict[str, float] = {"ENTRY": 1.0}

    def of(name: str) -> float:
        if name not in times:
            times[name] = 0.0  # a computation does not call itself
            times[name] = sum((of(caller) * turns for caller, turns in callers[name]), 0.0)
        return times[name]

    for name in computations:
        of(name)
    return times


def _turns(loop: Operation, computations: dict[str, list[Operation]]) -> float:
    """How often a loop's body runs; not a number where its text does not say, as for one that data ends."""
    known = re.search(r"known_trip_count[^\d]*(\d+)", loop.rest)
    if known:
        return float(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    body = computations.get(condition[1], []) if condition else []
    limits = [float(m[1]) for op in body if op.kind == "constant" and op.shape.startswith(("s32[]", "u32[]"))
              and (m := re.match(r"(\d+)\)", op.rest))]  # fmt: skip
    return limits[0] if len(limits) == 1 else math.nan
