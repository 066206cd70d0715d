"""What lwm_synthesis offers, and the two kinds of part it adds. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component, Interface, Recipe


TASKS = (
    ("questions", "Questions", "The paper's: pairs that a writer wrote about chunks, after the whole context."),
    ("unanswerable", "Unanswerable", "Questions, one of which the text does not answer, and saying so."),
    ("keyword", "Keyword", "Quote the sentence that holds two given words."),
    ("position", "Position", "Quote the sentence before or after another."),
    ("fill-in", "FillIn", "Write what was taken out of the middle."),
    ("reorder", "Reorder", "Say in which order the shuffled parts belong."),
)
BOOK = {"use": "text", "paths": ["../../assets/book/moby-dick.txt"], "split": "files", "stop": 0.02}


@hookimpl
def lwm_interfaces():
    yield Interface(
        "question_writer",
        "lwm_synthesis.base:QuestionWriter",
        "writes a question and its answer about a chunk of a document",
        "lwm_synthesis.testing:check_question_writer",
    )
    yield Interface(
        "task",
        "lwm_synthesis.base:Task",
        "an exercise on a long context: what is read, what is asked, what is answered",
        "lwm_synthesis.testing:check_task",
    )


@hookimpl
def lwm_components():
    yield Component("question_writer", "rules", "lwm_synthesis.rules:RuleWriter", "By rule, with no model.", {})
    yield Component(
        "question_writer",
        "local",
        "lwm_synthesis.local:LocalWriter",
        "A model of this project: a run's folder or an imported model.",
        {
            "run": "../../assets/base",
            "recipe": "demo-base",
            "question_tokens": 4,
            "answer_tokens": 4,
            "batch": 2,
            "examples": "",
        },
    )
    yield Component(
        "question_writer",
        "endpoint",
        "lwm_synthesis.endpoint:EndpointWriter",
        "Any OpenAI-compatible endpoint: retries, pace and parallel requests.",
        {"url": "http://localhost:8000/v1", "model": "mine", "attempts": 1, "backoff": 0.0},
    )
    for name, cls, summary in TASKS:
        yield Component("task", name, f"lwm_synthesis.tasks:{cls}", summary, {})
    yield Component(
        "source",
        "synthesis",
        "lwm_synthesis.source:Synthesis",
        "Long documents made of short ones, with questions at their end; only answers carry loss.",
        {
            "documents": BOOK,
            "tokenizer": "bytes",
            "examples": 6,
            "length": 2048,
            "chunk": 400,
            "tasks": {name: name for name, _, _ in TASKS},
        },
    )


@hookimpl
def lwm_recipes():
    yield Recipe(
        "questions", "lwm_synthesis:recipes/questions.toml", "Questions on long documents, by rule: `lwm synthesise`."
    )
