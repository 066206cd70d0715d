"""What several processes make sure of before they train together: one recipe, like machines, one folder.

Owns these checks alone. How processes meet is `lwm_core.processes`'s; with one process nothing is asked.
"""

import time
from pathlib import Path

import jax

from lwm_core.processes import Joined, ProcessesError, joined
from lwm_core.train.trainable import Trainable


PATIENCE = 20.0  # seconds until a file made elsewhere must be seen here; network file systems keep listings for a while


def check_alike(pipeline: Trainable, out: Path, found: Path | None, until: str | None) -> None:
    """Raises `ProcessesError`, naming the process and what differs, when the processes do not mean the same run."""
    among = _among()
    if among is None:
        return
    facts = {
        "recipe": pipeline.recipe,
        "plugins": pipeline.plugins,
        "fingerprint": pipeline.fingerprint,
        "--out": str(out),
        "--until": until,
        "newest checkpoint in the folder": None if found is None else found.name,
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "devices of the process": jax.local_device_count(),
    }
    among.agree("one run", facts)


def check_folder(out: Path) -> None:
    """Raises `ProcessesError` when this process does not see the folder that process 0 has made."""
    among = _among()
    if among is None:
        return
    among.wait("the run's folder is there")
    until = time.monotonic() + PATIENCE
    while not (out / "recipe.json").is_file():
        if time.monotonic() > until:
            raise ProcessesError(
                f"Process {among.index} does not see {out / 'recipe.json'}, which process 0 has written: give a folder "
                "on a file system that all processes share."
            )
        time.sleep(0.2)


def _among() -> Joined | None:
    among = joined()
    return None if among is None or among.count == 1 else among
