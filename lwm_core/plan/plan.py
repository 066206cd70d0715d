"""A plan: what a program takes on a machine, by the compiler that would run it there.

Owns the record and its making. The compiler says what fits; nothing here guesses memory. Times are a range from peaks
and counted work, and are marked as such. What the program is, is `work`'s; the search for one that fits is `fit`'s.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax

from lwm_core.mesh import MeshSpec, compile_ahead
from lwm_core.plan.estimate import Estimate, estimate
from lwm_core.plan.hlo import Collective, collectives
from lwm_core.plan.machine import Machine
from lwm_core.plan.work import Work


@dataclass(frozen=True)
class Plan:
    """All bytes are of one chip.

    - `fits`: whether the compiler accepts the program; `reason`: what it says where it does not, or fails;
    - `limit_bytes_per_chip`: what a chip gives its programs, None where nothing says;
    - `peak_bytes_per_chip`: what stays and temporaries at their most;
    - `bytes_by_kind`: weights, optimiser, batch or kv_cache are exact; activations are what the policy holds on to,
      spread evenly; temporaries are the compiler's other scratch; host is memory of the host;
    - `collective_bytes`: what each chip sends in a step, by kind; `hops`: permutes of a ring, and how many of them are
      scheduled while something is computed;
    - `flops`: of all chips in a step, by definition (`lwm_core.model.flops`);
    - `mesh`: sizes of dp, fsdp, tp and sp; `overrides`: what makes the recipe into this program.
    """

    name: str
    topology: str
    chips: int
    mesh: dict[str, int]
    fits: bool
    limit_bytes_per_chip: int | None
    peak_bytes_per_chip: int | None
    bytes_by_kind: dict[str, int]
    collective_bytes: dict[str, int] = field(default_factory=dict)
    hops: dict[str, int] = field(default_factory=dict)
    flops: float | None = None
    estimate: Estimate | None = None
    compile_seconds: float = 0.0
    reason: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def plan(work: Work, machine: Machine, mesh: MeshSpec, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Compiles `work` for `machine` and reads off what it takes.

    Raises `ValueError` where sizes do not match (devices and mesh, rows, heads), in the words of the part that says so.
    """
    laid = mesh.make(machine.devices)
    began = time.monotonic()
    lowered, flops = work.lowered(laid), work.flops()
    resident = {kind: bytes_here(tree) for kind, tree in work.resident(laid).items()}
    made = Plan(work.name, machine.name, machine.chips, dict(laid.shape), False, machine.limit, None, resident,
                flops=flops, overrides=dict(overrides or {}))  # fmt: skip
    try:
        compiled = compile_ahead(lowered)
    except jax.errors.JaxRuntimeError as error:
        needed, reason = _refused(error), str(error).splitlines()[0][:400]
        return replace(made, peak_bytes_per_chip=needed, reason=reason, compile_seconds=time.monotonic() - began)
    memory: Any = compiled.memory_analysis()
    found, unread = _read(compiled)
    stays = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = stays + memory.temp_size_in_bytes
    fits = machine.limit is None or peak <= machine.limit
    return replace(
        made,
        fits=fits,
        peak_bytes_per_chip=peak,
        bytes_by_kind=_by_kind(work, machine, resident, memory),
        collective_bytes=_sent(found),
        hops=_hops(found),
        estimate=None if unread else estimate(machine, flops, resident, found),  # without its links it would be a guess
        compile_seconds=time.monotonic() - began,
        reason=unread if fits else f"It needs {peak} bytes of a chip's {machine.limit}.",
    )


def _read(compiled: jax.stages.Compiled) -> tuple[list[Collective], str]:
    """The program's collectives; and why there are none, where its text cannot be had (libtpu 0.0.52 writes some
    programs with work on the host in a form that it cannot read) or does not say how often one runs."""
    try:
        return collectives(compiled.as_text() or ""), ""
    except jax.errors.JaxRuntimeError as error:
        return [], f"It fits; its collectives are not known: the compiler gives no text of it ({str(error)[:160]})."
    except ValueError as error:
        return [], f"It fits; its collectives are not known: {error}"


def _sent(found: Sequence[Collective]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in found:
        total[one.kind] += one.times * one.sent
    return dict(total)


def _hops(found: Sequence[Collective]) -> dict[str, int]:
    ring = [one for one in found if one.kind == "collective-permute"]
    return {"all": sum(hop.times for hop in ring), "under_compute": sum(hop.times for hop in ring if hop.hidden)}


def _by_kind(work: Work, machine: Machine, resident: dict[str, int], memory: Any) -> dict[str, int]:
    kept = {kind: size // machine.chips for kind, size in work.kept().items()}
    temporaries, host = memory.temp_size_in_bytes, memory.host_temp_size_in_bytes
    if host:  # what is held on to is there
        kept = {}
    held = min(sum(kept.values()), temporaries)
    kinds = {**resident, **{kind: min(size, held) for kind, size in kept.items()}, "temporaries": temporaries - held}
    return {**kinds, "host": host} if host else kinds


def bytes_here(tree: Any) -> int:
    """Bytes of each device's piece of a tree of outlines."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
            size = leaf.dtype.itemsize
            for n in shape:
                size *= n
            total += size
    return total


def _refused(error: Exception) -> int | None:
    """The bytes that a program would have needed, by the compiler's refusal; None where it failed otherwise."""
    text = str(error)
    found = re.search(r"\((\d+(?:\.\d+)?)([KMGT])\) exceeds available", text) or re.search(
        r"Used (\d+(?:\.\d+)?)([KMGT]) of", text
    )
    return None if found is None else int(float(found[1]) * {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}[found[2]])
