"""The records that plugins hand in and the catalog hands out. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Component:
    """One part that a plugin offers; nothing is imported until it is used.

    - `kind`: one of `lwm_registry.kinds.KINDS`;
    - `name`: what a recipe writes after `use`, lower-case words joined by hyphens;
    - `target`: `"package.module:Class"`; the class (or factory function) *is* the option schema;
    - `summary`: one sentence for `lwm plugins`;
    - `example`: the options of a small working instance, as a recipe would write them; conformance kits
      build this one.
    """

    kind: str
    name: str
    target: str
    summary: str
    example: dict | None = None
