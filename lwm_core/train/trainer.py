"""The trainer interface: what trains something other than a sequence model, such as a vision tokenizer.

Owns the contract only. A sequence model is trained by `lwm_core.pipeline`; a recipe with a `[trainer]` by its trainer.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Trainer(Protocol):
    """Trains into a folder of its own. The same options give the same bytes on the same device.

    Everything a run needs to go on lies in its folder, each file whole or not there, so that a run that is killed at
    any moment and resumed ends with the bytes of one that was not.
    """

    def train(self, out: Path, *, until: int | None = None) -> Path:
        """Trains into `out`, at most `until` steps; returns the file that was made.

        Raises `FileExistsError` where a run has begun already.
        """
        ...

    def resume(self, out: Path, *, until: int | None = None) -> Path:
        """Goes on with the run in `out`; the file as it is, when the run is done."""
        ...
