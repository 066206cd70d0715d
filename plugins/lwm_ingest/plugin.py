"""What lwm_ingest offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "source",
        "shards",
        "lwm_ingest.source:Shards",
        "Pictures and clips that `lwm ingest` has written as codes, any window of frames at once.",
        {"path": "examples/tiny", "frames": 2},
    )
