"""A closed walk over the chips of a torus, each a neighbour of the next: the order of a ring.

Owns the walk. A hop between neighbours takes one link, and libtpu sends some others without letting the program compute
meanwhile (v5e from 4 x 8 chips on, by rows). It knows no JAX; `MeshSpec` lays an axis along it.
"""

from collections.abc import Sequence


Place = tuple[int, ...]


def closed_walk(places: Sequence[Place]) -> list[int]:
    """The order in which to visit places that fill a box, so that each step, the last one home too, is by one along one
    axis. As they are given where there is no such walk: in a line, or where every side of the box is odd."""
    sides = [sorted(set(values)) for values in zip(*places, strict=True)]
    where = {place: n for n, place in enumerate(places)}
    across = next((n for n, side in enumerate(sides) if len(side) % 2 == 0), None)
    rest = [side for n, side in enumerate(sides) if n != across]
    lines = _line(rest)
    if across is None or len(lines) == 1 or len(where) != len(lines) * len(sides[across]):
        return list(range(len(places)))
    walk = _loop(len(sides[across]), len(lines))
    visited = [(*lines[b][:across], sides[across][a], *lines[b][across:]) for a, b in walk]
    return [where[place] for place in visited]


def _line(sides: Sequence[Sequence[int]]) -> list[Place]:
    """Every place of a box, to and fro, each a neighbour of the one before."""
    if not sides:
        return [()]
    inner = _line(sides[1:])
    return [(value, *place) for n, value in enumerate(sides[0]) for place in (inner if n % 2 == 0 else inner[::-1])]


def _loop(rows: int, columns: int) -> list[tuple[int, int]]:
    """A closed walk over an even number of rows: to and fro over all columns but the first, and home along that."""
    out = [(a, b) for a in range(rows) for b in (range(1, columns) if a % 2 == 0 else range(columns - 1, 0, -1))]
    return out + [(a, 0) for a in range(rows - 1, -1, -1)]
