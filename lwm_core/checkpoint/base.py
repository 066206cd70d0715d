"""The checkpoint interface: a directory of named arrays and a manifest, whole or not there.

Owns `Manifest` and the `CheckpointFormat` protocol. What goes into a checkpoint is `lwm_core.train.keep`'s.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Manifest:
    """Plain JSON beside the arrays.

    - `step`: steps done since the run began; `stage`: name of the stage under way, `stage_step` steps done in it;
    - `vocabulary`: [{"name", "size", "markers"}] in order, so that ids keep their meaning;
    - `rope_theta`: of the weights; `stream`: state of the data stream; `recipe`: the resolved recipe;
    - `plugins`: "plugin:part" → version; `fingerprint`: hash of recipe and plugins;
    - `gates`: where a gated curriculum stands, every decision and its evidence (`lwm_core.curriculum.GateState`);
    - `guard`: what the guard remembers (`lwm_core.train.guard.GuardState`).

    A run draws every random number from the recipe's seed and from where it stands, so these are its random state too.
    """

    step: int
    stage: str
    stage_step: int
    rope_theta: float
    vocabulary: tuple[Mapping[str, Any], ...]
    stream: Any = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    gates: Mapping[str, Any] | None = None
    guard: Mapping[str, Any] | None = None


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete, damaged, of another model or cannot be written; the message says which."""


class MisfitError(CheckpointError):
    """A checkpoint is whole, and holds other tensors than were asked for."""


@runtime_checkable
class CheckpointFormat(Protocol):
    """Saves and restores trees of arrays. A save that is cut off leaves nothing that `latest` finds.

    With several processes each calls every method with the same arguments, and all see one file system.
    """

    def save(self, root: Path, trees: Mapping[str, Any], manifest: Manifest) -> Future[Path]:
        """Writes `trees` (name → pytree of arrays, as they lie on their devices) into a directory of its own in `root`.

        May return before the bytes are on disk, but not before the arrays may change: the future is done when the
        checkpoint is whole, gives its directory, and raises `CheckpointError` when it could not be written, with the
        checkpoints before it intact. One save at a time: wait for the last one before the next.
        """
        ...

    def latest(self, root: Path) -> Path | None:
        """The newest whole checkpoint under `root`."""
        ...

    def manifest(self, path: Path) -> Manifest: ...

    def restore(self, path: Path, name: str, like: Any) -> Any:
        """The tree saved as `name`, in the structure, shapes and dtypes of `like`; bit for bit.

        `like` holds arrays or `ShapeDtypeStruct`s. What has a sharding (a struct that names one, an array committed to
        one) comes back in it, on whatever mesh that is; anything else on the default device. Raises `CheckpointError`
        naming the damaged or missing file, and `MisfitError` listing the tensors that differ.
        """
        ...
