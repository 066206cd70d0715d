"""What lwm_text offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "text_tokenizer",
        "bpe",
        "lwm_text.bpe:BPETokenizer",
        "Byte-pair encoding from a Hugging Face tokenizer.json.",
        {"path": "../../assets/book/bpe-2048.json"},
    )
