"""The profile observer: a JAX profiler trace of a few steps, on request.

Owns when the trace starts and ends, and says where it lies and what opens it. Nothing is slower outside those steps.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import jax

from lwm_core.train.observer import Event, RunFailed, RunFinished, RunStarted, StageStarted, StepFinished


@dataclass
class ProfileObserver:
    """Traces steps `first` to `first + steps - 1` into the folder `profile` of a run (or `path`).

    - `first`: counted from this start, 1 being the step that compiles, so that a resumed run can be traced too;
    - `python`: also every Python call on the host, which makes the trace large.
    """

    first: int = 3
    steps: int = 2
    python: bool = False
    path: Path | None = None
    _folder: Path | None = field(default=None, init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)
    _running: bool = field(default=False, init=False, repr=False)

    def __post_init__(self):
        if self.first < 1 or self.steps < 1:
            raise ValueError(f"ProfileObserver(first={self.first}, steps={self.steps}): give numbers from 1.")

    def notify(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._folder, self._done = self.path or event.out / "profile", 0
        elif isinstance(event, StepFinished):
            self._done += 1
            if self._running and self._done == self.first + self.steps - 1:
                self._stop()
        elif isinstance(event, RunFinished | RunFailed) and self._running:
            self._stop()
        between = isinstance(event, StageStarted | StepFinished)
        if between and self._done == self.first - 1 and not self._running:
            self._start()

    def _start(self) -> None:
        if self._folder is None:
            raise ValueError("ProfileObserver heard of a step before its run started.")
        _check_profiler()
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = int(self.python)
        jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
        self._running = True

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._running = False
        last = min(self._done, self.first + self.steps - 1)
        print(
            f"steps {self.first} to {last} of this start are traced in {self._folder}: `pip install xprof` and "
            f"`xprof --logdir {self._folder}`, or open its perfetto_trace.json.gz at https://ui.perfetto.dev",
            file=sys.stderr,
            flush=True,
        )


def _check_profiler() -> None:
    """Refuses where libtpu is loaded and no TPU is there: JAX's profiler would crash the process (seen with 0.10.2)."""
    maps = Path("/proc/self/maps")
    if jax.default_backend() != "tpu" and maps.is_file() and "libtpu.so" in maps.read_text():
        raise RuntimeError(
            "libtpu is loaded and there is no TPU, with which JAX's profiler crashes: set JAX_PLATFORMS=cpu (or cuda) "
            "in the environment, or uninstall libtpu, and start again."
        )
