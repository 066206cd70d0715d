"""The search for a way to fit: mesh, accumulation, what is kept for the backward pass and where, width of the cache.

Owns the order in which ways are tried. What cannot fit by the bytes that stay is not compiled; the compiler decides
about the rest, and its word is final. Cheaper ways come first: keep attention's outputs, keep them in the host's
memory, compute attention twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from lwm_core.mesh import MeshSpec
from lwm_core.model.cache import CacheDtype
from lwm_core.plan.machine import Machine
from lwm_core.plan.plan import Plan, bytes_here, plan
from lwm_core.plan.work import Serving, Training, Work


REMATS = ("attention", "offload", "block")
LOCAL = 32_768  # tokens of a row on a device, above which more of the mesh goes to the sequence
CHUNK = 2_048  # tokens of a row on a device, whose feed-forward columns or scores exist at a time


@dataclass(frozen=True)
class Way:
    """One way to run a program: sizes of the mesh, and what overrides make it so."""

    work: Work
    mesh: MeshSpec
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """What was found: the plan that fits, or None; and a line for each way that did not."""

    found: Plan | None
    tried: tuple[str, ...]
    advice: str = ""


def fit(
    work: Work, machines: Sequence[Machine], overrides: Mapping[str, Any], told: Callable[[str], None] = print
) -> Fit:
    """The first machine, and the first way on it, that the compiler accepts; `told` hears of each that it does not."""
    tried: list[str] = []
    least: list[tuple[int, Machine]] = []

    def say(line: str) -> None:
        tried.append(line)
        told(line)

    for machine in machines:
        for way in ways(work, machine, overrides):
            sizes = "x".join(str(n) for n in (way.mesh.dp, way.mesh.fsdp, way.mesh.tp, way.mesh.sp))
            how = ", ".join(f"{key}={value}" for key, value in way.overrides.items() if key not in overrides)
            label = f"{machine.name}, mesh {sizes}, {how}"
            least_bytes = _least(way, machine)
            if machine.limit is not None and least_bytes > machine.limit:
                least.append((least_bytes, machine))
                say(f"{label}: not compiled, what stays takes {_gib(least_bytes)} of {_gib(machine.limit)} GiB")
                continue
            made = plan(way.work, machine, way.mesh, way.overrides)
            if made.fits:
                return Fit(made, tuple(tried))
            needs = f"needs {_gib(made.peak_bytes_per_chip)} of {_gib(machine.limit)} GiB"
            say(f"{label}: {needs if made.peak_bytes_per_chip else made.reason}")
    return Fit(None, tuple(tried), _advice(least))


def longest(work: Work, machine: Machine, overrides: Mapping[str, Any], told: Callable[[str], None] = print) -> Fit:
    """The longest row, by powers of two, that some way fits on a machine."""
    tried: tuple[str, ...] = ()
    for power in range(26, 9, -1):
        longer = _of_length(work, 2**power)
        found = fit(longer, [machine], {**overrides, "sequence_length": 2**power}, told)
        tried += found.tried
        if found.found is not None:
            return Fit(found.found, tried)
    return Fit(None, tried, "Not even 1,024 tokens fit: take a smaller model, or more chips.")


def ways(work: Work, machine: Machine, overrides: Mapping[str, Any]) -> Iterator[Way]:
    """The ways to run a program on a machine, in the order in which they are to be tried."""
    if isinstance(work, Serving):
        yield from _serving(work, machine, overrides)
    elif isinstance(work, Training):
        yield from _training(work, machine, overrides)


def _training(work: Training, machine: Machine, overrides: Mapping[str, Any]) -> Iterator[Way]:
    rows, length = work.stage.rows, work.stage.sequence_length
    for remat in REMATS:
        for sp in _divisors(machine.chips):
            share = machine.chips // sp
            if rows % share or length % (2 * sp) or (length // sp > LOCAL and sp < machine.chips):
                continue
            accumulate = rows // share
            family = _with(work.family, remat=remat, ffn_chunk=CHUNK)
            objective = _with(work.objective, chunk=CHUNK)
            optimizer = _with(work.optimizer, accumulate=accumulate)
            stage = replace(work.stage, mesh=(1, share, 1, sp))
            yield Way(
                replace(work, family=family, objective=objective, optimizer=optimizer, stage=stage),
                MeshSpec(1, share, 1, sp),
                {**overrides, "model.remat": remat, "model.ffn_chunk": CHUNK, "objective.chunk": CHUNK,
                 "optimizer.accumulate": accumulate, "mesh": [1, share, 1, sp]},
            )  # fmt: skip
            break


def _serving(work: Serving, machine: Machine, overrides: Mapping[str, Any]) -> Iterator[Way]:
    cache = jax.eval_shape(lambda: jax.tree.leaves(_model(work).empty_cache(1, 8, "float32").k)[0])
    heads = cache.shape[3]
    tp = max(n for n in _divisors(machine.chips) if heads % n == 0)
    widths: dict[CacheDtype, None] = dict.fromkeys((work.cache, "int8"))
    for width in widths:
        mesh = MeshSpec(1, 1, tp, machine.chips // tp)
        yield Way(
            replace(work, cache=width), mesh, {**overrides, "mesh": [1, 1, tp, machine.chips // tp], "cache": width}
        )


def _model(work: Work):
    return work.family.init(key=jax.random.key(0))


def _least(way: Way, machine: Machine) -> int:
    """Bytes of a chip that no compiler can do without: what stays, and what the policy holds on to."""
    laid = way.mesh.make(machine.devices)
    stays = sum(bytes_here(tree) for tree in way.work.resident(laid).values())
    offloaded = way.overrides.get("model.remat") == "offload"
    return stays + (0 if offloaded else sum(way.work.kept().values()) // machine.chips)


def _of_length(work: Work, length: int) -> Work:
    if isinstance(work, Serving):
        return replace(work, length=length)
    assert isinstance(work, Training)
    rows = max(1, work.stage.tokens_per_batch // length)
    return replace(work, stage=replace(work.stage, sequence_length=length, rows=rows))


def _advice(least: Sequence[tuple[int, Machine]]) -> str:
    """What would fit, as far as the bytes that stay can say."""
    if not least:
        return "Nothing fits: give a larger slice, or a generation with more memory a chip."
    needed, machine = min(least, key=lambda item: item[0] * item[1].chips)
    assert machine.limit is not None
    chips = -(-needed * machine.chips // machine.limit)
    return (
        f"Nothing fits: what stays alone needs {chips} chips like these, and a program some more; try a larger slice."
    )


def _with(part: Any, **options: Any) -> Any:
    """The part with those of the options that it has."""
    return replace(part, **{name: value for name, value in options.items() if hasattr(part, name)})


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / 2**30:.2f}"
