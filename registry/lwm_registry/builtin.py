"""What the core offers, as a plugin like any other. Standard library and lwm_registry only."""

from collections.abc import Iterable

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components() -> Iterable[Component]:
    yield Component(
        "attention",
        "dense",
        "lwm_core.attention.dense:DenseAttention",
        "The oracle: softmax over every pair, for short rows and for tests.",
    )
    yield Component(
        "layout",
        "contiguous",
        "lwm_core.layout.contiguous:Contiguous",
        "Tokens in their own order; late shards do most of the causal work.",
    )
    yield Component(
        "rope",
        "rotary",
        "lwm_core.model.rope:Rotary",
        "Rotary positions with one base, theta.",
    )
    yield Component(
        "text_tokenizer",
        "bytes",
        "lwm_core.text.bytes:ByteTokenizer",
        "UTF-8 bytes; needs no file.",
    )
    yield Component(
        "model",
        "transformer",
        "lwm_core.model.family:TransformerFamily",
        "The reference transformer, every size given by hand.",
        {"vocab_size": 300, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 64},
    )
    yield Component(
        "objective",
        "cross-entropy",
        "lwm_core.objective.cross_entropy:CrossEntropy",
        "Next-token cross-entropy, a chunk of tokens at a time.",
        {"chunk": 8},
    )
    yield Component(
        "checkpoint",
        "safetensors",
        "lwm_core.checkpoint.safetensors:SafetensorsCheckpoint",
        "One safetensors file per tree and a JSON manifest, renamed into place.",
    )
    yield Component(
        "observer",
        "progress",
        "lwm_core.train.progress:ProgressObserver",
        "Loss, tokens a second and time left on the terminal.",
    )
    yield Component(
        "observer",
        "jsonl",
        "lwm_core.train.jsonl:JsonlObserver",
        "One line of JSON per event in the run's folder.",
    )
