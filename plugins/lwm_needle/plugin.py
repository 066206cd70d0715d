"""What lwm_needle offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


BOOK = {"path": "example.txt", "tokenizer": {"use": "bytes"}, "documents": 64}


@hookimpl
def lwm_components():
    yield Component(
        "source",
        "needle",
        "lwm_needle.source:NeedleDocuments",
        "Passages of a book with numbers hidden in them, each followed by questions and answers.",
        {**BOOK, "shortest": 320, "longest": 512},
    )
    yield Component(
        "source",
        "copy",
        "lwm_needle.practice:CopyDocuments",
        "A few tokens over and over: what a model learns looking back from.",
        {**BOOK, "shortest": 64, "longest": 128},
    )
    yield Component(
        "source",
        "passages",
        "lwm_needle.practice:Passages",
        "Passages of a book of an exact length in the model's tokens.",
        {**BOOK, "shortest": 64, "longest": 128},
    )
    yield Component(
        "evaluator",
        "needle",
        "lwm_needle.evaluator:Needle",
        "Finds a number hidden at every depth of every context; with a no-needle control.",
        {"path": "example.txt", "contexts": [256], "depths": [0.0, 0.5], "trials": 1, "control_trials": 1},
    )
