"""Parts to plain data: the way back, so that a run can write down exactly what it was made of.

Owns the rule that every option is an attribute of the same name. Building is `building`'s.
"""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwm_registry.errors import BadOption
from lwm_registry.schema import kind_of, options_of


@dataclasses.dataclass(frozen=True)
class Plain:
    """Writes parts as data.

    - `catalog`: knows which class is which part; - `shared`: objects to leave out, as building fills them in;
    - `versions`: takes down `"plugin:part"` → version of every part that was written;
    - `lenient`: a part of no plugin becomes `{"object": its class}`, which says what it was and does not build.
    """

    catalog: Any
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    lenient: bool = False

    def write(self, value: Any, where: str) -> Any:
        """JSON data that builds an equal value; `where` names it in messages."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, enum.Enum):
            return value.name
        if isinstance(value, Mapping):
            return {str(key): self.write(item, f"{where}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.write(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if hasattr(value, "tolist") and hasattr(value, "dtype"):  # an array, of numpy or of JAX
            return value.tolist()
        record = self.catalog.record_of(type(value))
        if record is not None:
            self.versions[record.qualified] = record.version
            clashes = len(self.catalog.named(record.kind, record.name)) > 1
            return {"use": record.qualified if clashes else record.name, **self._options(value, where)}
        if dataclasses.is_dataclass(value) and kind_of(type(value), self.catalog.kinds) is None:
            return self._options(value, where)
        path = f"{type(value).__module__}.{type(value).__qualname__}"
        if self.lenient:
            return {"object": path}
        raise BadOption(
            f"{where} is a {path}, which no plugin offers as a part: "
            "it cannot be written as data. Give its class a component record (`lwm_components`)."
        )

    def _options(self, part: Any, where: str) -> dict[str, Any]:
        written = {}
        for name, option in options_of(type(part)).items():
            if not hasattr(part, name):
                raise BadOption(
                    f"{where}: {type(part).__name__} does not keep its option {name!r} as an attribute of that name, "
                    "so it cannot be written as data."
                )
            value = getattr(part, name)
            if any(value is common for common in self.shared.values()):
                continue
            if value is None and not option.required and option.value is None:
                continue
            written[name] = self.write(value, f"{where}.{name}")
        return written
