"""The records that plugins hand in and the catalog hands out. Standard library only.

Owns their fields and what a well-formed one is. Finding plugins is `discovery`'s, building parts `catalog`'s.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_KIND = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_FILE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[^:\\]+\.toml")


@dataclass(frozen=True)
class Component:
    """One part that a plugin offers; nothing is imported until it is used.

    - `kind`: one of `lwm_registry.kinds.KINDS`, or one that a plugin adds;
    - `name`: what a recipe writes after `use`, lower-case words joined by hyphens;
    - `target`: `"package.module:Class"`; the class *is* the option schema (its fields, or its `__init__`), and
      keeps every option as an attribute of the same name;
    - `summary`: one sentence for `lwm plugins`;
    - `example`: the options of a small working instance, as a recipe would write them; conformance kits
      build this one. Relative paths in it start from the folder of the plugin's module.
    """

    kind: str
    name: str
    target: str
    summary: str
    example: Mapping[str, Any] | None = None

    def fault(self) -> str:
        """What is wrong with this record, or nothing."""
        if not _NAME.fullmatch(self.name):
            return f"the name {self.name!r} is not lower-case words joined by hyphens, such as 'ring' or 'best-fit'"
        if not _CLASS.fullmatch(self.target):
            return f"the target {self.target!r} is not 'package.module:Class'"
        return ""


@dataclass(frozen=True)
class Interface:
    """A kind of part that a plugin adds to those of the core; then anybody may offer parts of it.

    - `name`: of the kind, lower-case words joined by underscores;
    - `target`: `"package.module:Class"`, a protocol or an abstract class; an option annotated with it takes a part by
      its name;
    - `summary`: what a part of it is, without a full stop; - `kit`: `"package.module:function"`, the function that
      raises `AssertionError` for a part that breaks the contract.
    """

    name: str
    target: str
    summary: str
    kit: str

    def fault(self) -> str:
        """What is wrong with this record, or nothing."""
        if not _KIND.fullmatch(self.name):
            return f"the kind {self.name!r} is not lower-case words joined by underscores, such as 'text_tokenizer'"
        for field in ("target", "kit"):
            if not _CLASS.fullmatch(getattr(self, field)):
                return f"the {field} {getattr(self, field)!r} is not 'package.module:name'"
        return ""


@dataclass(frozen=True)
class Recipe:
    """A recipe that a plugin ships.

    - `name`: what a person types; - `target`: `"package:folder/file.toml"`; - `summary`: one sentence.
    """

    name: str
    target: str
    summary: str

    def fault(self) -> str:
        """What is wrong with this record, or nothing."""
        if not _NAME.fullmatch(self.name):
            return f"the name {self.name!r} is not lower-case words joined by hyphens, such as 'lwm-text-1m'"
        if not _FILE.fullmatch(self.target):
            return f"the target {self.target!r} is not 'package:folder/file.toml'"
        return ""


@dataclass(frozen=True)
class Record:
    """One line of the catalog.

    `state` is "ok" or "broken"; `error` says why when broken and is empty otherwise. A plugin that could not be
    loaded at all is one record of kind "plugin".
    """

    kind: str
    name: str
    plugin: str
    distribution: str
    version: str
    summary: str
    state: str = "ok"
    error: str = ""
    target: str = ""
    example: Mapping[str, Any] | None = None
    folder: Path = Path()

    @property
    def qualified(self) -> str:
        """The name that no other plugin can take: `plugin:name`."""
        return f"{self.plugin}:{self.name}"

    @property
    def origin(self) -> str:
        """Where the part comes from, for messages."""
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}"
