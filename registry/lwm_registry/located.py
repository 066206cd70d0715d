"""Plain recipe data that remembers where it was written.

Owns two quiet subclasses: text that knows its folder, so that a relative path means "beside this file", and a
table that knows which of its entries came from underneath a changed `use`. Reading files is `recipes`'s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_registry.errors import RegistryError


class Located(str):
    """Text from a recipe, with the folder that relative paths in it start from."""

    base: Path

    def __new__(cls, text: str, base: Path) -> "Located":
        made = super().__new__(cls, text)
        made.base = base
        return made

    @property
    def path(self) -> Path:
        """The text as a path; `~` is the home folder."""
        return self.base / Path(str(self)).expanduser()

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]
        return str(self), self.base


class Table(dict):
    """A table of a recipe. `inherited` names the entries that were written for another `use`."""

    inherited: frozenset[str] = frozenset()


def located(value: Any, base: Path) -> Any:
    """The same data with every text located at `base`; text that has a place keeps it."""
    if isinstance(value, Mapping):
        table = Table({key: located(item, base) for key, item in value.items()})
        table.inherited = getattr(value, "inherited", frozenset())
        return table
    if isinstance(value, list | tuple):
        return [located(item, base) for item in value]
    if isinstance(value, str) and not isinstance(value, Located):
        return Located(value, base)
    return value


def bare(value: Any) -> Any:
    """The same data as ordinary dicts, lists and text."""
    if isinstance(value, Mapping):
        return {str(key): bare(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bare(item) for item in value]
    return str(value) if isinstance(value, str) else value


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`under` with `over` laid on top, table by table; anything else in `over` replaces.

    Where `over` names another `use`, the rest of `under` was written for another part: those entries are marked
    inherited, and the part takes the ones it has an option for.
    """
    if "use" in over and "object" in under:  # what was no part of a plugin has no options to keep
        under = {}
    table = Table(under)
    for key, value in over.items():
        table[key] = _laid(under.get(key), value, key)
    inherited = frozenset(getattr(under, "inherited", ()))
    if "use" in over and over["use"] != under.get("use", over["use"]):
        inherited |= frozenset(under) - {"use"}
    table.inherited = inherited - frozenset(over)
    return table


def _laid(below: Any, value: Any, key: str) -> Any:
    """One entry with another on top."""
    if isinstance(below, list) and isinstance(value, Mapping) and value and all(k.isdigit() for k in value):
        return _laid_in_list(below, value, key)
    if isinstance(value, Mapping):
        below = _as_table(below)
    if isinstance(below, Mapping) and "use" in below:
        value = _as_table(value)
    return merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value


def _laid_in_list(below: list[Any], items: Mapping[str, Any], key: str) -> list[Any]:
    """`stages.0.steps = 9` reaches into a list; places count from 0."""
    laid = list(below)
    for place, value in items.items():
        if int(place) >= len(laid):
            raise RegistryError(f"{key}.{place}: {key} has {len(laid)} entries; they count from 0.")
        laid[int(place)] = _laid(laid[int(place)], value, f"{key}.{place}")
    return laid


def _as_table(value: Any) -> Any:
    """`"zigzag"` as `{"use": "zigzag"}`, which it is short for; anything else as it is."""
    return {"use": value} if isinstance(value, str) else value
