"""What would work when a checkpoint is of another model. Owns the comparison of two recipes, and its words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_core.checkpoint.base import MisfitError


# What decides which tensors there are, and their shapes.
_DECIDING = ("model", "optimizer", "tokenizer", "vision", "modalities", "rope")
_SHOWN = 6


def advised(error: MisfitError, path: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> MisfitError:
    """`error`, and the options by which the recipe that checkpoint `path` was saved with differs from `given`."""
    then, now = _options(saved), _options(given)
    differing = sorted(option for option in {*then, *now} if then.get(option) != now.get(option))
    other = [option.removesuffix("use") for option in differing if option.endswith(".use")]  # its options mean nothing
    differing = [option for option in differing if option.endswith(".use") or not option.startswith(tuple(other))]
    if differing:
        told = ", ".join(f"{option} = {then.get(option)!r}, not {now.get(option)!r}" for option in differing[:_SHOWN])
        return MisfitError(f"{error} What fits is the recipe it was saved with: {told}.")
    return MisfitError(f"{error} What fits is a model of the sizes there, or another checkpoint than {path}.")


def _options(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_flat({name: recipe[name] for name in _DECIDING if name in recipe}, ""))


def _flat(table: Mapping[str, Any], prefix: str):
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
