"""What the core offers, as a plugin like any other. Standard library and lwm_registry only."""

from collections.abc import Iterable

from lwm_registry.hookspecs import hookimpl
from lwm_registry.records import Component, Recipe


_STAGE = {
    "name": "short",
    "sequence_length": 64,
    "rope_theta": 1e4,
    "rows": 2,
    "steps": 2,
    "learning_rate": 1e-3,
    "mixture": {"tiny": 1.0},
}


@hookimpl
def lwm_components() -> Iterable[Component]:
    yield Component(
        "attention",
        "dense",
        "lwm_core.attention.dense:DenseAttention",
        "The oracle: softmax over every pair, for short rows and for tests.",
    )
    yield Component(
        "attention",
        "local",
        "lwm_core.attention.local:LocalAttention",
        "Whole rows on each device, by any block kernel.",
        {"kernel": {"use": "blockwise", "block_q": 16, "block_k": 16}},
    )
    yield Component(
        "kernel",
        "blockwise",
        "lwm_core.attention.blockwise:BlockwiseKernel",
        "Blocks in a scan, in pure JAX: memory in proportion to the row, on any device.",
        {"block_q": 16, "block_k": 16},
    )
    yield Component(
        "layout",
        "contiguous",
        "lwm_core.layout.contiguous:Contiguous",
        "Tokens in their own order; late shards do most of the causal work.",
    )
    yield Component(
        "layout",
        "zigzag",
        "lwm_core.layout.zigzag:Zigzag",
        "Each shard holds one early and one late run, so that causal work is equal.",
    )
    yield Component(
        "layout",
        "striped",
        "lwm_core.layout.striped:Striped",
        "Tokens dealt to shards in turn, so that causal work is equal.",
    )
    yield Component("rope", "rotary", "lwm_core.model.rope:Rotary", "Rotary positions with one base, theta.")
    yield Component(
        "rope",
        "linear",
        "lwm_core.model.rope_scaling:LinearRope",
        "Position interpolation: every angle divided by a factor.",
        {"factor": 4.0},
    )
    yield Component(
        "rope",
        "ntk",
        "lwm_core.model.rope_scaling:NTKRope",
        "NTK-aware scaling: the base raised so that the slowest pair is stretched by a factor.",
        {"factor": 4.0},
    )
    yield Component(
        "rope",
        "dynamic-ntk",
        "lwm_core.model.rope_scaling:DynamicNTKRope",
        "NTK-aware scaling by how far a row exceeds the trained context.",
        {"factor": 2.0, "original_length": 64, "length": 256},
    )
    yield Component(
        "rope",
        "yarn",
        "lwm_core.model.rope_scaling:YarnRope",
        "YaRN: slow pairs interpolated, fast ones left alone, scores sharpened.",
        {"factor": 4.0, "original_length": 4096},
    )
    yield Component(
        "rope",
        "llama3",
        "lwm_core.model.rope_scaling:Llama3Rope",
        "Scaling by parts, as Llama 3.1: long wavelengths divided, short ones left alone.",
        {},
    )
    yield Component("text_tokenizer", "bytes", "lwm_core.text.bytes:ByteTokenizer", "UTF-8 bytes; needs no file.")
    yield Component(
        "vision_tokenizer",
        "patch-mean",
        "lwm_core.vision.patch_mean:PatchMeanFamily",
        "The mean colour of each patch; needs no weights, for tests and tiny runs.",
    )
    yield Component(
        "source",
        "documents",
        "lwm_core.data.documents:Documents",
        "Documents written in the recipe itself.",
        {"documents": [{"spans": [{"modality": "text", "content": "Call me Ishmael."}], "name": "first"}]},
    )
    yield Component(
        "source",
        "text",
        "lwm_core.data.text_files:TextFiles",
        "Plain text files, cut into chapters, paragraphs, windows or whole files.",
        {"paths": ["recipes/tiny.txt"], "split": "paragraphs"},
    )
    yield Component(
        "source",
        "jsonl",
        "lwm_core.data.jsonl:Jsonl",
        "JSON lines, one record a line, chosen fields in order.",
        {"paths": ["recipes/tiny.jsonl"], "fields": [{"name": "question", "loss": 0.0}, "answer"]},
    )
    yield Component(
        "source",
        "lwm",
        "lwm_core.vision.lwm_source:LwmRecords",
        "Files written for LWM's released code: text and flat codes, with its language of fields.",
        {
            "paths": ["recipes/lwm.jsonl"],
            "tokenizer": "bytes",
            "fields": ["[caption],vision"],
            "codes_per_frame": 4,
            "codebook_size": 64,
        },
    )
    yield Component(
        "source",
        "filtered",
        "lwm_core.data.filtered:Filtered",
        "The documents of another source whose length lies between bounds.",
        {"source": {"use": "text", "paths": ["recipes/tiny.txt"], "split": "paragraphs"}, "min_chars": 100},
    )
    yield Component(
        "source",
        "clip",
        "lwm_core.vision.clips:ClipSource",
        "Windows of frames of a video file with their captions, as codes of the vision tokenizer.",
        {
            "path": "../../assets/clip/big_buck_bunny.mp4",
            "vision": "patch-mean",
            "frames": 2,
            "fps": 1.0,
            "stop": 4.0,
        },
    )
    yield Component(
        "source",
        "squares",
        "lwm_core.vision.squares:SquareQuestions",
        "Made-up pictures and clips of coloured squares, each with a question and a short answer.",
        {"documents": 8, "frames": 2},
    )
    yield Component(
        "packer",
        "sequential",
        "lwm_core.data.sequential:SequentialPacker",
        "Fills rows in the order of the samples.",
        {"length": 64},
    )
    yield Component(
        "packer",
        "first-fit",
        "lwm_core.data.first_fit:FirstFitPacker",
        "Puts each sample into the first open row with room; only what is longer than a row is cut.",
        {"length": 64, "window": 4},
    )
    yield Component(
        "packer",
        "best-fit",
        "lwm_core.data.best_fit:BestFitPacker",
        "Fills rows by best fit over a buffer; only what is longer than a row is cut.",
        {"length": 64, "buffer": 4},
    )
    yield Component(
        "packer",
        "apart",
        "lwm_core.data.apart:ApartPacker",
        "Keeps sources, or groups of them, in rows of their own, each filled by another packer.",
        {"length": 64, "inner": {"use": "best-fit", "length": 64, "buffer": 4}, "groups": {"chat": ["a", "b"]}},
    )
    yield Component(
        "packer",
        "quota",
        "lwm_core.data.quota:QuotaPacker",
        "Keeps a share of long documents: others wait, and another packer fills the rows.",
        {"length": 64, "inner": {"use": "best-fit", "length": 64, "buffer": 4}},
    )
    yield Component(
        "packer",
        "padding",
        "lwm_core.data.padding:PaddingPacker",
        "One sample a row, padded: what packing is measured against.",
        {"length": 64},
    )
    yield Component(
        "curriculum",
        "staged",
        "lwm_core.curriculum.staged:StagedCurriculum",
        "Stages written out one by one.",
        {"stages": [_STAGE]},
    )
    yield Component(
        "curriculum",
        "gated",
        "lwm_core.curriculum.gated:GatedCurriculum",
        "Any schedule, with gates after some stages: each advances, extends or rolls back on what is measured.",
        {
            "schedule": {"use": "staged", "stages": [_STAGE]},
            "gates": [
                {
                    "stage": "short",
                    "gates": [{"evaluator": "perplexity", "measure": "loss", "within": 0.05}],
                    "extensions": 1,
                    "extend_steps": 2,
                    "roll_backs": 1,
                }
            ],
        },
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
        "objective",
        "lwm-released",
        "lwm_core.objective.released:ReleasedCrossEntropy",
        "The loss of LWM's released code and masked packing: means of examples, half for each modality.",
        {"chunk": 8},
    )
    yield Component("sampler", "greedy", "lwm_core.sample.samplers:Greedy", "The id with the highest score.")
    yield Component(
        "sampler",
        "categorical",
        "lwm_core.sample.samplers:Categorical",
        "A random id by its score; temperature, top-k, top-p.",
        {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    )
    yield Component(
        "sampler",
        "by-modality",
        "lwm_core.sample.by_modality:ByModality",
        "A sampler for each modality: temperature and top-k of text and of vision apart.",
        {
            "vocabulary": {"modalities": [{"name": "text", "size": 20}, {"name": "vision", "size": 17}]},
            "text": {"use": "categorical", "temperature": 0.7},
            "vision": {"use": "categorical", "top_k": 8},
        },
    )
    yield Component(
        "checkpoint",
        "safetensors",
        "lwm_core.checkpoint.safetensors:SafetensorsCheckpoint",
        "One safetensors file per tree and a JSON manifest, renamed into place.",
    )
    yield Component(
        "evaluator",
        "perplexity",
        "lwm_core.evaluate.perplexity:Perplexity",
        "Loss and perplexity by position, on held-out documents.",
        {"source": {"use": "text", "paths": ["recipes/tiny.txt"], "split": "files"}, "context": 64, "windows": 2},
    )
    yield Component(
        "evaluator",
        "answers",
        "lwm_core.evaluate.answers:Answers",
        "Loss and accuracy of short answers: the last span of held-out documents.",
        {"source": {"use": "jsonl", "paths": ["recipes/tiny.jsonl"], "fields": ["question", "answer"]}, "documents": 2},
    )
    yield Component(
        "optimizer",
        "adamw",
        "lwm_core.train.optimizer:AdamW",
        "AdamW after clipping by global norm, with the paper's numbers.",
    )
    yield Component(
        "optimizer",
        "optax",
        "lwm_core.train.optimizer:Chain",
        "Any chain of optax, each transformation by its name.",
        {"chain": [{"name": "clip_by_global_norm", "max_norm": 1.0}, {"name": "scale_by_lion"}]},
    )
    yield Component(
        "observer",
        "progress",
        "lwm_core.train.progress:ProgressObserver",
        "Loss, tokens a second and time left on the terminal.",
    )
    yield Component(
        "observer", "jsonl", "lwm_core.train.jsonl:JsonlObserver", "One line of JSON per event in the run's folder."
    )
    yield Component(
        "observer",
        "profile",
        "lwm_core.train.profile:ProfileObserver",
        "A JAX profiler trace of a few steps, for xprof and Perfetto.",
        {"first": 9, "steps": 1},
    )


@hookimpl
def lwm_recipes() -> Iterable[Recipe]:
    yield _recipe("tiny-text", "A tiny Llama over bytes: two stages of a few steps; trains in seconds.")
    yield _recipe("tiny-world", "The same with a vision stage on pictures of squares; trains in seconds.")
    yield _recipe(
        "ablation-packing", "Prose, and questions about pictures and clips: what `lwm ablate packing` trains."
    )
    yield _recipe("demo", "A small base extended from 256 to 2048 tokens, then pictures and clips.")
    yield _recipe("demo-base", "The demo's base model, from scratch: a book, copying and needles, context 256.")


def _recipe(name: str, summary: str) -> Recipe:
    return Recipe(name, f"lwm_registry:recipes/{name}.toml", summary)
