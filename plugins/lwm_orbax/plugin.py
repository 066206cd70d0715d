"""What this package offers. Standard library and lwm_registry only."""

from collections.abc import Iterable

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components() -> Iterable[Component]:
    yield Component(
        "checkpoint",
        "orbax",
        "lwm_orbax.format:OrbaxCheckpoint",
        "Orbax: written in the background, by every process its own pieces, and read onto any mesh.",
        {"keep": 3},
    )
