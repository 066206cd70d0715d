"""`lwm resume`: goes on with a run that was stopped. The work is `Pipeline.resume`'s, or the run's own trainer's."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lwm_registry.cli.common import CpuDevices, noted, opened, simulate, steps_of
from lwm_registry.cli.problems import INTERRUPTED
from lwm_registry.cli.stopping import stoppable
from lwm_registry.cli.together import Coordinator, Distributed, Process, Processes, Timeout, alone, together


def resume(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Stop after this stage; with a [trainer], after this many steps.")
    ] = None,
    cpu_devices: CpuDevices = None,
    distributed: Distributed = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    timeout: Timeout = 300.0,
) -> None:
    """Go on from a run's newest checkpoint, bit for bit as if it had never stopped.

    An override is for what does not change the numbers, such as another mesh: curriculum.stages.0.mesh=[1,2,1,2].

    Example: lwm resume runs/first
    """
    from lwm_registry import trainers

    try:
        if trainers.is_run(run):
            simulate(cpu_devices)
            alone(coordinator, distributed)
            steps = steps_of(until)
            with noted():
                trainer = trainers.opened(run)
            print(trainer.resume(run, until=steps))
            return
        with together(distributed, coordinator, processes, process, timeout, cpu_devices) as first:
            pipeline = opened(run, overrides or ())
            with stoppable(run) as stop:
                pipeline.resume(run, until=until, stop=stop)
    except KeyboardInterrupt:
        print(f"lwm: stopped. `lwm resume {run}` goes on from the newest checkpoint.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if first:
        print(f"{run} is trained.")
