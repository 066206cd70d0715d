"""`lwm resume`: goes on with a run that was stopped. The work is `Pipeline.resume`'s."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import CpuDevices, opened, simulate
from lwm_registry.cli.problems import INTERRUPTED


def resume(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    until: Annotated[str | None, typer.Option("--until", help="Stop after this stage.")] = None,
    cpu_devices: CpuDevices = None,
) -> None:
    """Go on from a run's newest checkpoint, bit for bit as if it had never stopped.

    Example: lwm resume runs/first
    """
    simulate(cpu_devices)
    pipeline = opened(run, ())
    try:
        pipeline.resume(run, until=until)
    except KeyboardInterrupt:
        print(f"lwm: stopped. `lwm resume {run}` goes on from the newest checkpoint.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(f"{run} is trained.")
