"""What lwm_llama offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "model",
        "llama",
        "lwm_llama.family:LlamaFamily",
        "The Llama-2 architecture in every size of LWM's table, grouped query heads too.",
        {"size": "debug", "vocab_size": 300, "kv_heads": 1, "attention": {"use": "dense"}},
    )
