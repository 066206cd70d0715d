"""What lwm_stages offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component, Recipe


CURRICULA = (
    ("lwm-text", "LWMText", "The paper's text stages: LLaMA-2 7B from 32K to 1M.", {"last": "128k"}),
    ("lwm-text-chat", "LWMTextChat", "The paper's chat stage on a text model.", {"length": "128k"}),
    ("lwm-vision", "LWMVision", "The paper's vision and language stages: 1K to 1M.", {"first": "8k"}),
    ("gradient", "Gradient", "GradientAI's five short stages: Llama-3 8B to 4M.", {"last": "262k"}),
    ("prolong", "ProLong", "ProLong's two stages: Llama-3 8B at 64K, then 512K.", {}),
)

RECIPES = {
    "lwm-text-32k": "LWM-Text's first stage: LLaMA-2 7B to 32K.",
    "lwm-text-128k": "LWM-Text's stages up to 128K.",
    "lwm-text-256k": "LWM-Text's stages up to 256K.",
    "lwm-text-512k": "LWM-Text's stages up to 512K.",
    "lwm-text-1m": "LWM-Text, all five stages: LLaMA-2 7B from 32K to 1M.",
    "lwm-text-chat-128k": "LWM-Text-Chat-128K, one stage on LWM-Text-128K.",
    "lwm-text-chat-256k": "LWM-Text-Chat-256K, one stage on LWM-Text-256K.",
    "lwm-text-chat-512k": "LWM-Text-Chat-512K, one stage on LWM-Text-512K.",
    "lwm-text-chat-1m": "LWM-Text-Chat-1M, one stage on LWM-Text-1M.",
    "lwm-1k": "LWM's first vision stage: LWM-Text-1M with images at 1K.",
    "lwm-8k": "LWM's vision stages up to 8K: images, then videos too.",
    "lwm-chat-32k": "LWM's vision stages up to LWM-Chat-32K.",
    "lwm-chat-128k": "LWM's vision stages up to LWM-Chat-128K.",
    "lwm-chat-1m": "LWM, all five vision stages: LWM-Text-1M to LWM-Chat-1M.",
    "gradient-65k": "GradientAI's first stage: Llama-3 8B Instruct to 65K.",
    "gradient-262k": "GradientAI's stages up to 262K.",
    "gradient-524k": "GradientAI's stages up to 524K.",
    "gradient-1048k": "GradientAI's stages up to 1048K.",
    "gradient-4194k": "GradientAI, all five stages: Llama-3 8B Instruct to 4194K.",
    "prolong-64k": "ProLong's first stage: Llama-3 8B Instruct at 64K.",
    "prolong-512k": "ProLong, both stages: Llama-3 8B Instruct at 64K, then 512K.",
}


@hookimpl
def lwm_components():
    yield Component(
        "curriculum",
        "demo",
        "lwm_stages.demo:DemoCurriculum",
        "The demo's schedule: text at growing length, then text and vision.",
        {},
    )
    for name, cls, summary, example in CURRICULA:
        yield Component("curriculum", name, f"lwm_stages.schedules:{cls}", summary, example)
    yield Component(
        "curriculum",
        "extension",
        "lwm_stages.extension:Extension",
        "A context grown length by length, theta given or worked out.",
        {
            "base_length": 4096,
            "base_theta": 1e4,
            "lengths": [8192, 16384],
            "rows": [2, 1],
            "steps": [20, 20],
            "mixture": {"book": 1.0},
        },
    )


@hookimpl
def lwm_recipes():
    for name, summary in RECIPES.items():
        yield Recipe(name, f"lwm_stages:recipes/{name}.toml", summary)
