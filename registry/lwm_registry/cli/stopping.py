"""How a command that trains is stopped: what is said, and with which exit code. The signals are `lwm_core`'s."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer


if TYPE_CHECKING:
    from lwm_core.train.stopping import Stop


@contextmanager
def stoppable(run: Path) -> Iterator["Stop"]:
    """SIGTERM or ctrl-C ends what is within after a step and a checkpoint, with exit code 143 or 130."""
    from lwm_core.train.stopping import Stopped, stopped_by_signals

    try:
        with stopped_by_signals() as stop:
            yield stop
    except Stopped as stopped:
        print(f"lwm: {stopped} `lwm resume {run}` goes on from there.", file=sys.stderr)
        raise typer.Exit(stopped.code) from None
