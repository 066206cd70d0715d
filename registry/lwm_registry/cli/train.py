"""`lwm train`: a recipe to a run. The work is `Pipeline.train`'s."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.catalog import catalog
from lwm_registry.cli.common import CpuDevices, overrides_of
from lwm_registry.cli.problems import INTERRUPTED
from lwm_registry.cli.stopping import stoppable
from lwm_registry.cli.together import Coordinator, Distributed, Process, Processes, Timeout, together


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml file.")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Stop after this stage.")] = None,
    cpu_devices: CpuDevices = None,
    distributed: Distributed = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    timeout: Timeout = 300.0,
) -> None:
    """Train through a recipe's stages into a folder; an override is a dotted key and a TOML value.

    Example: lwm train tiny-text --out runs/first attention.use=ring seed=3
    """
    from lwm_registry.lacking import check_whole
    from lwm_registry.pipelines import compose
    from lwm_registry.recipes import read

    given = overrides_of(overrides or ())
    check_whole(recipe, read(recipe, catalog(), given), catalog(), until)
    try:
        with together(distributed, coordinator, processes, process, timeout, cpu_devices) as first:
            pipeline = compose(recipe, given)
            with stoppable(out) as stop:
                pipeline.train(out, until=until, stop=stop)
    except KeyboardInterrupt:
        print(f"lwm: stopped. `lwm resume {out}` goes on from the newest checkpoint.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if first:
        print(f"{out} is trained. `lwm sample {out} 'Once'` writes with it, `lwm evaluate {out}` measures it.")
