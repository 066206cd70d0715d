"""What lwm_procvid offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component, Recipe


SMALL = {"vision": {"use": "patch-mean"}}


@hookimpl
def lwm_components():
    yield Component(
        "source",
        "procvid",
        "lwm_procvid.source:ProcVid",
        "Made-up videos of moving shapes and digits, with captions, or with questions and answers, from exact truth.",
        {**SMALL, "documents": 64},
    )
    yield Component(
        "evaluator",
        "procvid-generation",
        "lwm_procvid.generation:ProcVidGeneration",
        "Draws clips for captions never trained on; an exact detector says which hold.",
        {**SMALL, "prompts": 2},
    )
    yield Component(
        "evaluator",
        "procvid-questions",
        "lwm_procvid.questions:ProcVidQuestions",
        "Asks about clips never trained on: which colour first, at which second, how many; with levels of chance.",
        {**SMALL, "clips": 4},
    )


@hookimpl
def lwm_recipes():
    yield Recipe("procvid", "lwm_procvid:recipes/procvid.toml", "A small Llama learns made-up videos from captions.")
