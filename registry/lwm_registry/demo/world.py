"""What the demo asks of the finished model: a continuation, a picture, a clip; and how well codes keep pixels.

Owns the prompts, which are those of the recipe's own vision documents, so that they match what was trained.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from lwm_core.data import Document, Renderer
from lwm_core.sample import generate_frames
from lwm_core.vision.tokens import ids_to_frames
from lwm_core.vision.write import write_frames


if TYPE_CHECKING:
    from lwm_core.pipeline import Pipeline


PROMPT = "Call me Ishmael. Some years ago"
CONTINUATION = 96
CLIP_FRAMES = 8
FPS = 4.0


def parameters(model) -> int:
    """How many numbers a model has learnt."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def attention(pipeline: "Pipeline", stages) -> dict[str, Any]:
    """Which attention trained, in which order, over how many devices."""
    sizes = {stage.mesh[3] for stage in stages if stage.mesh is not None}
    recipe = pipeline.recipe["attention"]
    return {"name": recipe["use"], "ring_size": max(sizes, default=1), "options": recipe}


def continuation(pipeline: "Pipeline") -> dict[str, str]:
    """Text that the model writes after the book's first words."""
    return {"prompt": PROMPT, "text": pipeline.sample(PROMPT, tokens=CONTINUATION)}


def generate(pipeline: "Pipeline", out: Path) -> dict[str, Any]:
    """One picture and one clip, as files and as facts; beside each, what the tokenizer makes of the real frames."""
    picture = _shown(pipeline, out, "picture", "image", 1)
    clip = _shown(pipeline, out, "clip", "video", CLIP_FRAMES)
    return {"image": picture, "clip": clip, "frames_generated": clip["frames"]}


def _shown(pipeline: "Pipeline", out: Path, name: str, source: str, frames: int) -> dict[str, Any]:
    vision = pipeline.vision
    if vision is None:
        raise ValueError("This recipe has no [vision]: the demo generates pictures and needs one.")
    document, prompt = _prompted(pipeline, source)
    codes = generate_frames(
        pipeline.model,
        prompt,
        vocabulary=pipeline.vocabulary,
        codes_per_frame=vision.codes_per_frame,
        frames=frames,
        sampler=pipeline.sampler,
        key=jax.random.key(pipeline.seed),
    )
    real = ids_to_frames(_vision(document), vision)[:frames]
    file = f"{name}.png" if frames == 1 else f"{name}.gif"
    made, kept = (np.asarray(vision.decode(jax.numpy.asarray(c))) for c in (codes, real))
    write_frames(out / file, made, fps=FPS, scale=3)
    write_frames(out / f"tokenizer-{file}", kept, fps=FPS, scale=3)
    text = "".join(span.content for span in _before_vision(document) if isinstance(span.content, str))
    return {"prompt": text, "frames": len(codes), "file": file, "real_file": f"tokenizer-{file}",
            "codes_equal_to_the_clip": float(np.mean(codes == real[: len(codes)]))}  # fmt: skip


def _prompted(pipeline: "Pipeline", source: str) -> tuple[Document, np.ndarray]:
    """The first document of a vision source whose text comes first, and the ids of that text."""
    documents = pipeline.sources[source]
    render = Renderer(pipeline.vocabulary, pipeline.tokenizer, begin="text.bos", end=None)
    for index in range(len(documents)):
        document = documents[index]
        if spans := _before_vision(document):
            sample = render(Document(spans, document.name))
            return document, np.zeros(0, np.int32) if sample is None else sample.tokens
    raise ValueError(f"Source {source!r} has no document whose text comes before its vision.")


def _before_vision(document: Document) -> tuple:
    kinds = [span.modality for span in document.spans]
    return document.spans[: kinds.index("vision")]


def _vision(document: Document) -> np.ndarray:
    return next(np.asarray(span.content) for span in document.spans if span.modality == "vision")
