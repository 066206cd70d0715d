"""What lwm_vqgan offers. Standard library and lwm_registry only."""

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component, Recipe


CLIP = {"paths": ["../../assets/clip/big_buck_bunny.mp4"], "fps": 1.0}


@hookimpl
def lwm_components():
    yield Component(
        "vision_tokenizer",
        "vqgan",
        "lwm_vqgan.tokenizer:VQGANFamily",
        "The VQGAN of LWM and aMUSEd (256 pixels, 256 codes of 8192), and smaller ones by size or by number.",
        {"size": "tiny"},
    )
    yield Component(
        "vision_tokenizer",
        "fsq",
        "lwm_vqgan.tokenizer:FSQFamily",
        "The same network with finite scalar quantisation: no codebook to learn.",
        {"size": "tiny"},
    )
    yield Component(
        "trainer",
        "vision-tokenizer",
        "lwm_vqgan.train.trainer:TokenizerTrainer",
        "Trains a VQGAN or an FSQ tokenizer on frames of videos and pictures.",
        {
            "tokenizer": {"use": "vqgan", "size": "tiny"},
            "frames": {**CLIP, "stop": 8.0},
            "held_out": {**CLIP, "start": 8.0, "stop": 10.0},
            "training": {"steps": 4, "batch": 2, "warmup_steps": 1, "plain_share": 0.3},
            "every": 2,
            "score_every": 2,
        },
    )
    yield Component(
        "evaluator",
        "reconstruction",
        "lwm_vqgan.evaluator:Reconstruction",
        "How well the vision tokenizer gives pictures back: PSNR, SSIM, share of the codes in use.",
        {"vision": {"use": "vqgan", "size": "tiny"}, "pictures": {"clip": {**CLIP, "stop": 3.0}}},
    )


@hookimpl
def lwm_recipes():
    yield Recipe("vqgan", "lwm_vqgan:recipes/vqgan.toml", "A small vision tokenizer, from films and pictures.")
    yield Recipe("fsq", "lwm_vqgan:recipes/fsq.toml", "The same with finite scalar quantisation.")
