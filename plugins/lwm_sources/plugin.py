"""What lwm_sources offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "source",
        "parquet",
        "lwm_sources.parquet:Parquet",
        "Rows of Parquet files, a row group at a time.",
        {"paths": ["examples/tiny.parquet"]},
    )
    yield Component(
        "source",
        "dataset",
        "lwm_sources.dataset:HuggingFace",
        "A Hugging Face dataset on disk, any row at once.",
        {"path": "examples/tiny-dataset"},
    )
    yield Component(
        "source",
        "dataset-stream",
        "lwm_sources.stream:HuggingFaceStream",
        "A Hugging Face dataset as a stream, read in order and resumed exactly.",
        {"name": "json", "data_files": ["examples/tiny.jsonl"], "documents": 2},
    )
