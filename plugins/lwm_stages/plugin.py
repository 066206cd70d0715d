"""What lwm_stages offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "curriculum",
        "demo",
        "lwm_stages.demo:DemoCurriculum",
        "The demo's schedule: text at growing length, then text and vision.",
        {},
    )
