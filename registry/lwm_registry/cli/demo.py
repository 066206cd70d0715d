"""`lwm demo`: the whole job on the real book and clip of this repository.

Owns the words around it; the work is `lwm_registry.demo`'s.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import simulate
from lwm_registry.errors import RegistryError


SIMULATED_DEVICES = 4


def demo(
    out: Annotated[Path, typer.Option("--out", help="The run's folder; it must not hold a run.")] = Path("runs/demo"),
    recipe: Annotated[str, typer.Option("--recipe", help="A recipe like `demo`.")] = "demo",
) -> None:
    """Extend a small base model to a long context, add vision, measure, generate, and write a report.

    On a machine without accelerators the ring runs over four simulated devices.

    Example: lwm demo --out runs/demo
    """
    simulate(SIMULATED_DEVICES)
    from lwm_registry.demo import run

    if (out / "recipe.json").exists():
        raise RegistryError(f"{out} already holds a run: give another folder with --out, or remove this one.")
    report = run(out, recipe)
    found = {when: _share(report[f"needle_{when}"]) for when in ("before", "after")}
    print(f"needle found in {found['before']:.0%} of the trials before extension, {found['after']:.0%} after")
    for name in ("report.html", "report.json"):
        print(out / name)
    sys.stdout.flush()


def _share(records) -> float:
    return sum(record["correct"] for record in records) / sum(record["total"] for record in records)
