"""The checkpoint interface: a directory of named arrays and a manifest, whole or not there.

Owns `Manifest` and the `CheckpointFormat` protocol. What goes into a checkpoint is `lwm_core.train.state`'s.
"""

from collections.abc import Mapping
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
    - `gates`: where a gated curriculum stands, every decision and its evidence (`lwm_core.curriculum.GateState`).
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


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or of another model; the message names the file or tensor."""


@runtime_checkable
class CheckpointFormat(Protocol):
    """Saves and restores trees of arrays. A save that is cut off leaves no directory that `latest` finds."""

    def save(self, root: Path, trees: Mapping[str, Any], manifest: Manifest) -> Path:
        """Writes `trees` (name → pytree of arrays) and returns the checkpoint's own directory under `root`."""
        ...

    def latest(self, root: Path) -> Path | None:
        """The newest whole checkpoint under `root`."""
        ...

    def manifest(self, path: Path) -> Manifest: ...

    def restore(self, path: Path, name: str, like: Any) -> Any:
        """The tree saved as `name`, in the structure, shapes and dtypes of `like`; bit for bit."""
        ...
