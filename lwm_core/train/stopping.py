"""Stopping a run from outside: SIGTERM or ctrl-C once, and it saves after the step under way; twice, and it quits.

Owns the signals, and the step at which several processes agree to stop. The command line installs them; a program
that trains keeps its own handlers, unless it asks for these. What is saved is `keep`'s.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A run was told to stop and has saved where it stands; `lwm resume` goes on from there.

    - `code`: what the process should exit with, by the custom of shells: 143 for SIGTERM, 130 for ctrl-C.
    """

    def __init__(self, saved: Path, step: int, number: int):
        super().__init__(f"Stopped by {signal.Signals(number).name} after step {step}, and saved {saved}.")
        self.saved, self.step, self.code = saved, step, 128 + number


class Stop:
    """Whether a run is to stop, and the number of the signal that says so."""

    def __init__(self):
        self._number = 0

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Asks for it; for programs that know better than a signal."""
        self._number = self._number or number

    def asked(self) -> int:
        """The signal's number, or 0. Every process gets the same answer, so all must call it after the same step."""
        if jax.process_count() == 1:
            return self._number
        from jax.experimental import multihost_utils

        return int(np.max(multihost_utils.process_allgather(np.int32(self._number))))


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Signals ask the `Stop` that this gives, once; the second one ends the process at once."""
    stop, ours = Stop(), os.getpid()

    def heard(number: int, _) -> None:
        # A child that was forked meanwhile has this handler too, and no run to save.
        if os.getpid() != ours or stop._number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.ask(number)
        os.write(2, b"\nlwm: stopping after this step and a checkpoint; once more quits at once.\n")

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
