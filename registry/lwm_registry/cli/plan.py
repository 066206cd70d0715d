"""`lwm plan`: whether a recipe's step fits a machine, by that machine's own compiler. The work is `lwm_core.plan`'s."""

import sys
from typing import Annotated, Any

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import CpuDevices, overrides_of, print_json, print_table, simulate
from lwm_registry.errors import BadOption


DOES_NOT_FIT = 1
PEAKS = ("compute", "memory", "links")


def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    topology: Annotated[
        str, typer.Option("--topology", help="v4:4x4x2, v5e:64, ... or here; with --fit also v4, every slice of it.")
    ] = "here",
    stage: Annotated[str | None, typer.Option("--stage", help="Which stage's step; the last by default.")] = None,
    mesh: Annotated[
        str | None, typer.Option("--mesh", help="Sizes of dp,fsdp,tp,sp, one of them -1; the stage's by default.")
    ] = None,
    serve: Annotated[
        int | None, typer.Option("--serve", min=1, help="Plan generation with a cache of so many tokens, not training.")
    ] = None,
    cache: Annotated[str, typer.Option("--cache", help="float32, bfloat16 or int8; with --serve.")] = "int8",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows served together; with --serve.")] = 1,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Tokens read in one step, as in prefill; with --serve.")
    ] = 1,
    fit: Annotated[
        bool, typer.Option("--fit", help="Search for a way to fit, on the smallest slice that has one.")
    ] = False,
    longest: Annotated[bool, typer.Option("--longest", help="Search for the longest row that fits.")] = False,
    cpu_devices: CpuDevices = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Compile a recipe's real step for a machine that need not be here; say what it takes, exit 1 if it does not fit.

    Example: lwm plan lwm-text-1m --topology v4:32 --mesh 1,1,1,32 optimizer.accumulate=4
    """
    from lwm_core.mesh import MeshSpec
    from lwm_core.plan import GENERATIONS, SLICES, machine, ways
    from lwm_core.plan import fit as search
    from lwm_core.plan import longest as search_longest
    from lwm_core.plan import plan as compiled
    from lwm_registry.planning import sketch

    simulate(cpu_devices)
    _check_search(fit, longest, mesh)
    every = topology in GENERATIONS
    if every and not fit:
        raise BadOption(f"--topology {topology} names no slice: write {topology}:{SLICES[topology][2]}, or add --fit.")
    machines = [machine(f"{topology}:{shape}") for shape in SLICES[topology]] if every else [machine(topology)]
    given = sketch(recipe, overrides_of(overrides or ()), machines[0].platform, catalog=catalog())
    work: Any = given.training(stage) if serve is None else given.serving(serve, batch, tokens, cache)
    if longest or fit:
        found = (
            search_longest(work, machines[-1], given.overrides, _tell)
            if longest
            else search(work, machines, given.overrides, _tell)
        )
        if found.found is None:
            _say_nothing_fits(found, machines[-1], as_json)
            raise typer.Exit(DOES_NOT_FIT)
        made = found.found
    else:
        sizes = _sizes(mesh) if mesh else getattr(getattr(work, "stage", None), "mesh", None)
        here = machines[0]
        if sizes is None and serve is not None:
            spec = next(ways(work, here, given.overrides)).mesh
            sizes = (spec.dp, spec.fsdp, spec.tp, spec.sp)
        elif sizes is None and topology == "here":  # as training would
            sizes, here = (1, 1, 1, 1), here._replace(devices=here.devices[:1])
        spec = MeshSpec(*sizes) if sizes else MeshSpec(sp=here.chips)
        made = compiled(work, here, spec, {**given.overrides, **({"mesh": list(sizes)} if mesh and sizes else {})})
    _show(recipe, made, given.assumed, as_json)
    if not made.fits:
        raise typer.Exit(DOES_NOT_FIT)


def _sizes(text: str) -> tuple[int, int, int, int]:
    try:
        dp, fsdp, tp, sp = (int(part) for part in text.split(","))
    except ValueError:
        raise BadOption(f"--mesh {text}: give four whole numbers, dp,fsdp,tp,sp, such as 1,4,1,8.") from None
    return dp, fsdp, tp, sp


def _tell(line: str) -> None:
    print(f"lwm: {line}", file=sys.stderr, flush=True)


def _check_search(fit: bool, longest: bool, mesh: str | None) -> None:
    if fit and longest:
        raise BadOption("--fit and --longest search for different things: give one of them.")
    if mesh and (fit or longest):
        raise BadOption(
            f"--mesh {mesh}: --fit and --longest choose the mesh themselves; leave it out, or leave them out."
        )


def _say_nothing_fits(found: Any, largest: Any, as_json: bool) -> None:
    """The keys of a plan, of the largest machine that was tried; what only a program that fits would tell is null."""
    if as_json:
        unknown = dict.fromkeys(("peak_bytes_per_chip", "bytes_by_kind", "collective_bytes", "flops", "mesh"))
        limits = {"topology": largest.name, "chips": largest.chips, "limit_bytes_per_chip": largest.limit}
        print_json({"fits": False, **limits, **unknown, "tried": found.tried, "advice": found.advice})
    else:
        print(found.advice)


def _show(recipe: str, made: Any, assumed: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json({"recipe": recipe, **made.data(), "assumed": assumed})
        return
    gib = 2**30
    limit = made.limit_bytes_per_chip
    peak = f"{made.peak_bytes_per_chip / gib:.2f} GiB" if made.peak_bytes_per_chip else "more"
    verdict = "fits" if made.fits else "does not fit"
    print(f"{recipe}: {made.name} {verdict} {made.topology} ({made.chips} chips, mesh {_mesh(made.mesh)})")
    print(
        f"needs {peak} of a chip's {limit / gib:.2f} GiB" if limit else f"needs {peak} a device; its limit is not known"
    )
    if made.reason:
        print(made.reason)
    rows = [(kind.replace("_", " "), f"{size / gib:.3f}") for kind, size in made.bytes_by_kind.items()]
    print_table(("a chip's memory", "GiB"), rows)
    rows = [(kind, f"{size / gib:.2f}") for kind, size in made.collective_bytes.items()]
    if rows:
        print_table(("sent by a chip in a step", "GiB"), rows)
    if made.hops.get("all"):
        print(f"{made.hops['under_compute']} of {made.hops['all']} ring hops travel while something is computed")
    if made.flops:
        print(f"{made.flops:.3g} operations in a step, of all chips, by definition")
    if made.estimate:
        low, high, *peaks = (f"{getattr(made.estimate, name):.3g}" for name in ("low", "high", *PEAKS))
        at_peak = ", ".join(f"{name} {seconds} s" for name, seconds in zip(PEAKS, peaks, strict=True))
        print(f"estimate, not measured: {low} to {high} s a step; at peak: {at_peak}")
    if made.overrides:
        print("overrides: " + " ".join(f"{key}={value}" for key, value in made.overrides.items()))
    for line in assumed:
        print(line)


def _mesh(sizes: dict[str, int]) -> str:
    return " x ".join(f"{name} {size}" for name, size in sizes.items())
