"""The checkpoints in a folder, in order, and what to say of one that is damaged.

Owns their names, `step-00000012`, and nothing of what is in them.
"""

import re
from pathlib import Path

from lwm_core.checkpoint.base import CheckpointError


_NAME = re.compile(r"step-(\d{8,})(\.old)?")


def checkpoints(root: Path) -> list[Path]:
    """Every whole checkpoint in `root`, the newest last; `.old` is the copy of a step that was being saved again."""
    found = []
    for path in root.glob("step-*"):
        name = _NAME.fullmatch(path.name)
        if name is not None and path.is_dir():
            found.append((int(name[1]), name[2] is None, path))
    return [path for *_, path in sorted(found)]


def newest(root: Path) -> Path | None:
    """The newest whole checkpoint in `root`."""
    found = checkpoints(root)
    return found[-1] if found else None


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return root / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The step of one of `checkpoints`."""
    return int(checkpoint.name.removesuffix(".old").removeprefix("step-"))


def damaged(path: Path, what: str) -> CheckpointError:
    """An error about a file of checkpoint `path`, with what would work instead."""
    found = checkpoints(path.parent)
    older = found[: found.index(path)] if path in found else []
    if older:
        advice = f"delete {path} to go on from {older[-1].name}, which was saved before it"
    else:
        advice = f"there is no checkpoint before it in {path.parent}: bring the file back, or start again"
    return CheckpointError(f"{what}; {advice}.")
