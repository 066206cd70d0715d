"""Bytes on the wire, counted from the traced program.

Owns the walk over a jaxpr that adds up what each device sends in its collectives, loops multiplied by their
length. It counts what the program asks for; a compiler may do otherwise (XLA on CPU widens bfloat16 to float32).
"""

import math
from collections import Counter

import numpy as np


# What one device sends, in shares of its own operand, when n devices take part.
_SENT = {
    "ppermute": lambda n: 1.0 if n > 1 else 0.0,
    "all_gather": lambda n: n - 1.0,
    "all_to_all": lambda n: (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "psum": lambda n: 2 * (n - 1) / n,
    "pmax": lambda n: 2 * (n - 1) / n,
    "pmin": lambda n: 2 * (n - 1) / n,
}
# Spellings of the same collectives under checked shard_maps.
_ALIASES = {
    "psum_invariant": "psum",
    "psum2": "psum",
    "all_gather_invariant": "all_gather",
    "psum_scatter": "reduce_scatter",
}


def wire_bytes(jaxpr, sizes: dict[str, int]) -> Counter:
    """Bytes that each device sends, by (collective, "float" or "integer").

    **Arguments:**

    - `jaxpr`: a closed jaxpr, as `jax.jit(f).trace(...).jaxpr`;
    - `sizes`: devices along each mesh axis.

    Raises `ValueError` for a collective in a loop whose length is not known.
    """
    return _walk(getattr(jaxpr, "jaxpr", jaxpr), sizes)


def _walk(jaxpr, sizes: dict[str, int]) -> Counter:
    total: Counter = Counter()
    for equation in jaxpr.eqns:
        name = str(equation.primitive.name)
        name = _ALIASES.get(name, name)
        if name in _SENT:
            total.update(_collective(name, equation, sizes))
            continue
        inner = [_walk(getattr(body, "jaxpr", body), sizes) for body in _bodies(equation.params)]
        total.update(_of_control(name, equation.params, inner))
    return total


def _collective(name: str, equation, sizes: dict[str, int]) -> Counter:
    axes = equation.params.get("axis_name", equation.params.get("axes"))
    axes = axes if isinstance(axes, tuple) else (axes,)
    groups = equation.params.get("axis_index_groups")
    devices = len(groups[0]) if groups else math.prod(sizes[axis] for axis in axes if axis in sizes)
    sent: Counter = Counter()
    for operand in equation.invars:
        kind = "integer" if np.issubdtype(operand.aval.dtype, np.integer) else "float"
        sent[name, kind] += operand.aval.size * operand.aval.dtype.itemsize * _SENT[name](devices)
    return sent


def _of_control(name: str, params: dict, inner: list[Counter]) -> Counter:
    """What the bodies of one equation send: a scan its length over, a choice its dearest branch."""
    if name == "cond":
        return max(inner, key=lambda sent: sum(sent.values()), default=Counter())
    total: Counter = Counter()
    for sent in inner:
        total.update(sent)
    if name == "scan":
        return Counter({key: count * params["length"] for key, count in total.items()})
    if name == "while" and sum(total.values()):
        raise ValueError("A collective stands in a loop of unknown length, so its bytes cannot be counted.")
    return total


def _bodies(params: dict):
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if hasattr(part, "eqns") or hasattr(getattr(part, "jaxpr", None), "eqns"):
                yield part
