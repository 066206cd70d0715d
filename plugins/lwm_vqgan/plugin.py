"""What lwm_vqgan offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component


@hookimpl
def lwm_components():
    yield Component(
        "vision_tokenizer",
        "vqgan",
        "lwm_vqgan.tokenizer:VQGANFamily",
        "The VQGAN of LWM and aMUSEd (256 pixels, 256 codes of 8192), and smaller ones by size or by number.",
        {"size": "tiny"},
    )
