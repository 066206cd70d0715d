"""TPUs to compile for on a machine that has none.

Owns `tpu_devices`, compile-only devices of a TPU slice, and `compile_ahead`, which compiles what was lowered for
them. The real compiler runs, Mosaic included, so memory, schedule and collectives are what a slice would get;
nothing can be executed and no time is measured. It is used by tests and plans, never by training.
"""

import contextlib
import importlib.util
import os
import sys
from typing import Any, Literal

import jax


Generation = Literal["v4", "v5e", "v5p", "v6e"]

_SMALLEST: dict[str, str] = {"v4": "2x2x1", "v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2"}


def tpu_devices(generation: Generation, chips: str | None = None) -> list[Any]:
    """Devices of a slice, its chips counted along the axes of its torus: `("v4", "8x8x8")`, `("v6e", "16x16")`.

    The smallest slice by default. Each chip is one device. Needs the package `libtpu`, and raises
    `ModuleNotFoundError` without it.
    """
    if generation not in _SMALLEST:
        raise ValueError(f"No TPU generation {generation!r}: give one of {', '.join(_SMALLEST)}.")
    if importlib.util.find_spec("libtpu") is None:
        raise ModuleNotFoundError("Compiling for TPUs needs libtpu: pip install 'lwm-jax[tpu-compile]' on Linux.")
    # libtpu would ask a cloud machine's metadata server what it runs on, and lets one process in by a lock file;
    # neither matters to a compiler.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    name = f"{generation}:{chips or _SMALLEST[generation]}"
    # The two cores of a v4 chip are one device with all of its memory, as on a real slice.
    cores = {"chip_config_name": "megacore"} if generation == "v4" else {}
    with _unheard():
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **cores).devices)


@contextlib.contextmanager
def _unheard():
    """Without the lines that libtpu writes to the process's standard error because this machine is no TPU's host; what
    goes wrong it raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def compile_ahead(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """`lowered.compile()`, kept out of the persistent compilation cache.

    An executable for devices that are not there can be written to that cache and not read back, which would fail
    the same compilation in the next process.
    """
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    try:
        return lowered.compile()
    finally:
        jax.config.update(name, before)
