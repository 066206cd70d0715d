"""Options of the commands that can run as one of several processes, and what happens to an error then.

Owns no command. How processes meet, and how one's failure ends them all, is `lwm_core.processes`'s.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated

import typer

from lwm_registry.cli.common import simulate
from lwm_registry.cli.problems import told
from lwm_registry.errors import RegistryError


Distributed = Annotated[
    bool | None,
    typer.Option(
        "--distributed/--no-distributed",
        help="Run as one of the processes that Slurm, Open MPI, Kubernetes or a TPU pod started. Without either, "
        "this is done where Slurm, Open MPI or the TPU's environment names several processes.",
        show_default=False,
    ),
]
Coordinator = Annotated[
    str | None, typer.Option("--coordinator", metavar="HOST:PORT", help="Where process 0 listens; told by hand.")
]
Processes = Annotated[int | None, typer.Option("--processes", help="How many processes; with --coordinator.")]
Process = Annotated[int | None, typer.Option("--process", help="Which one this is, from 0; with --coordinator.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for the other processes at the start.")]


@contextlib.contextmanager
def together(
    distributed: bool | None,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    timeout: float,
    cpu_devices: int | None,
) -> Iterator[bool]:
    """Joins the other processes where asked, or where it is evident; inside, an error ends them all.

    Gives whether this process is the one that speaks: process 0, or the only one.
    """
    simulate(cpu_devices)
    told_by_hand = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in told_by_hand.items() if value is None]
    if 0 < len(missing) < len(told_by_hand):
        raise RegistryError(f"{', '.join(missing)} is missing: give --coordinator, --processes and --process together.")
    if distributed is False and not missing:
        raise RegistryError("--no-distributed and --coordinator: give one of them.")
    from lwm_core.processes import Manual, evident, join

    # The three are there or missing together.
    by_hand = Manual(coordinator, processes, process) if coordinator and processes and process is not None else None
    seen = None if distributed is False else evident()
    if by_hand is None and not distributed and seen is None:
        yield True
        return
    among = join(by_hand, timeout)
    print(f"lwm: process {among.index} of {among.count}: {among.found}", file=sys.stderr, flush=True)
    try:
        yield among.index == 0
    except typer.Exit:
        among.star.leave()
        raise
    except BaseException as error:
        _end_all(among, error)
    among.star.leave()


def alone(coordinator: str | None, distributed: bool | None) -> None:
    """Raises `RegistryError` where a recipe that trains in one process is asked to run in several."""
    if coordinator is not None or distributed:
        raise RegistryError("A recipe with a [trainer] trains in one process: leave out --distributed, --coordinator.")


def _end_all(among, error: BaseException) -> None:
    text, code = told(error) if isinstance(error, Exception) else (type(error).__name__, 130)
    if os.environ.get("LWM_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"lwm: process {among.index} of {among.count}: {text}", file=sys.stderr, flush=True)
    among.star.fail(error, code)
