"""What a program asks of a trained pipeline in one line: an image, a video, or text and pictures as the model likes.

Owns the way from a prompt to pixels: wording, ids, checks of room, the tokenizer's decoding. Wording is `wording`'s,
drawing `frames`'s and `generate`'s, files `lwm_core.vision.write`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32

from lwm_core.curriculum import Curriculum
from lwm_core.data import Span
from lwm_core.evaluate.base import Subject
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.by_modality import fitted
from lwm_core.sample.frames import generate_clips
from lwm_core.sample.generate import generate
from lwm_core.sample.grammar import Frames, Interleave, Run, Within
from lwm_core.sample.guidance import Guidance
from lwm_core.sample.wording import Purpose, Wording, wording_of
from lwm_core.vision.base import AbstractVisionTokenizer


VISION = "vision"
CHUNK = 256  # ids of a prompt that are read in one call


@runtime_checkable
class World(Protocol):
    """What is needed of a pipeline here."""

    @property
    def subject(self) -> Subject: ...
    @property
    def vision(self) -> AbstractVisionTokenizer | None: ...
    @property
    def sampler(self) -> AbstractSampler: ...
    @property
    def sources(self) -> Mapping[str, Any]: ...
    @property
    def curriculum(self) -> Curriculum | None: ...


@dataclass(frozen=True, eq=False)
class Clip:
    """One picture (1 frame) or clip.

    - `prompt`: as it was given; `text`: all the text before the codes, wording included;
    - `codes`: of the new frames; - `pixels`: of all frames in [0, 1], first the `given` ones that it goes on from.
    """

    prompt: str
    text: str
    codes: Int32[np.ndarray, "N P"]
    pixels: Float32[np.ndarray, "F Y X 3"]
    given: int = 0


def generate_image(world: World, prompt: str, **options: Any) -> Clip:
    """One picture of what `prompt` says; options as in `draw_clips`.

    pipeline = load("runs/world")
    image = generate_image(pipeline, "a red square", seed=1)
    write_frames("square.png", image.pixels)
    """
    return draw_clips(world, prompt, frames=1, count=1, **options)[0]


def generate_video(world: World, prompt: str, frames: int, **options: Any) -> Clip:
    """A clip of `frames` new frames; options as in `draw_clips`, `start` for pictures to go on from."""
    return draw_clips(world, prompt, frames=frames, count=1, **options)[0]


def draw_clips(
    world: World,
    prompt: str,
    *,
    frames: int,
    count: int = 1,
    start: Float32[np.ndarray, "S Y X 3"] | None = None,
    guidance: float = 1.0,
    sampler: AbstractSampler | None = None,
    seed: int = 0,
    wording: Wording | None = None,
    context: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> list[Clip]:
    """`count` clips of exactly `frames` frames each, drawn in one batch.

    - `start`: frames in [0, 1] of the tokenizer's size, which the clip goes on from;
    - `guidance`: 1 draws from the prompt alone; more pushes away from what no prompt would give, which takes a second
      row for each clip. It means something only for a model that also saw vision without text in training, which
      nothing in a checkpoint tells;
    - `sampler`: the pipeline's if None; - `wording`: read from the pipeline's sources if None;
    - `context`: ids that may be used; None for the longest row of its training;
    - `watch`: hears codes done and to do.

    Raises `ValueError` for a model without vision, and where prompt and frames do not fit.
    """
    vision = need_vision(world)
    if frames < 1 or count < 1:
        raise ValueError(f"{frames} frames, {count} times: give at least 1 of each.")
    if not 0 <= guidance < float("inf"):
        raise ValueError(f"guidance={guidance}: give a number of 0 or more, such as 5; 1 is none.")
    wording = wording or wording_for(world, "draw")
    text, width = wording.drawing(prompt, frames), vision.codes_per_frame + 1
    before = _begun(world, vision, start)
    ids = [*_opened(world, text), *before]
    guided = guidance != 1
    bare = [*_opened(world, wording.unprompted), *before] if guided else []
    check_room(world, len(ids), frames * width, context, f"{frames} frames of {width} ids")
    codes = generate_clips(
        world.subject.model,
        [ids] * count,
        vocabulary=world.subject.vocabulary,
        codes_per_frame=vision.codes_per_frame,
        codebook_size=vision.codebook_size,
        frames=frames,
        sampler=fitted(sampler or world.sampler, world.subject.vocabulary),
        key=jax.random.key(seed),
        guidance=Guidance(guidance, [bare]) if guided else None,
        prefill_chunk=CHUNK if len(ids) > CHUNK else None,
        watch=None if watch is None else lambda rows: watch(sum(map(len, rows)), count * frames * width),
        every=min(width, 64),
    )
    seen = np.asarray(before, np.int32).reshape(-1, width)[:, :-1]
    whole = [np.concatenate([world.subject.vocabulary.to_local(VISION, seen), one]) for one in codes]
    pixels = [np.asarray(vision.decode(jnp.asarray(one)), np.float32) for one in whole]
    return [Clip(prompt, text, one, shown, len(seen)) for one, shown in zip(codes, pixels, strict=True)]


def generate_any(
    world: World,
    prompt: str,
    *,
    tokens: int,
    frames: int | None = None,
    sampler: AbstractSampler | None = None,
    seed: int = 0,
    wording: Wording | None = None,
    context: int | None = None,
    watch: Callable[[list["str | Clip"]], None] | None = None,
) -> list["str | Clip"]:
    """Text and clips in the order in which the model writes them, until its end-of-text or `tokens` ids.

    The model chooses the modality: wherever text stands, codes may begin. A clip that has begun is finished, frame by
    exact frame, and none is begun that would not fit. `frames`: of each clip; None lets the model choose that too.
    `watch` hears what is written so far, the last text perhaps unfinished. Other options as in `draw_clips`.
    """
    vision = need_vision(world)
    vocabulary, width = world.subject.vocabulary, vision.codes_per_frame + 1
    text = (wording or wording_for(world, "draw")).free(prompt)
    ids = _opened(world, text)
    check_room(world, len(ids), tokens, context, f"{tokens} ids")
    clip = Frames.of(vocabulary, vision.codes_per_frame, frames, codebook_size=vision.codebook_size)

    def heard(rows: list[np.ndarray]) -> None:
        if watch is not None:
            watch(parts_of(world, prompt, text, rows[0]))

    (drawn,) = generate(
        world.subject.model,
        [ids],
        sampler=fitted(sampler or world.sampler, vocabulary),
        key=jax.random.key(seed),
        max_new=tokens,
        stop=[vocabulary.marker("text.eos")],
        grammar=Within(Interleave((Run.of(vocabulary), clip)), tokens),
        prefill_chunk=CHUNK if len(ids) > CHUNK else None,
        watch=None if watch is None else heard,
        every=min(width, 64),
    )
    return parts_of(world, prompt, text, drawn)


def parts_of(world: World, prompt: str, text: str, ids: Int[np.ndarray, " n"]) -> list["str | Clip"]:
    """Drawn ids as texts and clips; a clip that is not finished yet is left out. Tags stay in the text."""
    vision, vocabulary = need_vision(world), world.subject.vocabulary
    width, eov = vision.codes_per_frame + 1, vocabulary.marker("vision.eov")
    index, parts = vocabulary.modality_index(ids), []
    cuts = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(ids)]
    for first, stop in zip(cuts[:-1], cuts[1:], strict=True):
        run = ids[first:stop]
        if not len(run):
            continue
        if vocabulary.names[int(index[first])] != VISION:
            parts.append(world.subject.tokenizer.decode(vocabulary.to_local("text", run).tolist()))
            continue
        for one in np.split(run, np.flatnonzero(run == eov) + 1):
            if len(one) and one[-1] == eov:
                codes = vocabulary.to_local(VISION, one.reshape(-1, width)[:, :-1])
                parts.append(Clip(prompt, text, codes, np.asarray(vision.decode(jnp.asarray(codes)), np.float32)))
    return parts


def need_vision(world: World) -> AbstractVisionTokenizer:
    """The pipeline's vision tokenizer; raises `ValueError` where the model or the pipeline has no vision."""
    if world.vision is None:
        raise ValueError(
            "This pipeline has no vision tokenizer, so it can neither see nor draw: its recipe needs a [vision], such "
            'as use = "vqgan" with weights, and a stage of modalities = ["text", "vision"].'
        )
    vocabulary = world.subject.vocabulary
    if VISION not in vocabulary.names:
        raise ValueError(
            f"This model has no vision: its ids are {', '.join(vocabulary.names)} ({vocabulary.size}). "
            'Train it through a stage of modalities = ["text", "vision"].'
        )
    return world.vision


def wording_for(world: World, purpose: Purpose) -> Wording:
    """How the pipeline's own sources ask, those of its last stage first."""
    stages = world.curriculum.stages if world.curriculum is not None else ()
    shares = dict(stages[-1].mixture) if stages else {}
    return wording_of(world.sources, sorted(shares, key=lambda name: -shares[name]), purpose=purpose)


def trained_length(world: World) -> int | None:
    """The longest row of its training; None where there is no curriculum to ask."""
    stages = world.curriculum.stages if world.curriculum is not None else ()
    return max((stage.sequence_length for stage in stages), default=None)


def check_room(world: World, prompt: int, new: int, context: int | None, what: str) -> None:
    """Raises `ValueError` unless prompt and new ids fit the context."""
    most = trained_length(world) if context is None else context
    if most is not None and prompt + new > most:
        why = "the longest row that the model was trained on" if context is None else "the context that was asked for"
        raise ValueError(
            f"A prompt of {prompt} ids and {what} are {prompt + new} ids, and {most} is {why}: give less, or a "
            f"context of {prompt + new} to go beyond it."
        )


def encoded(world: World, spans: Sequence[Span]) -> list[int]:
    """The model's ids of spans, each text encoded by itself, as in training."""
    found: list[int] = []
    for span in spans:
        local = world.subject.tokenizer.encode(span.content) if isinstance(span.content, str) else span.content
        found += world.subject.vocabulary.to_global(span.modality, np.asarray(local, np.int32)).tolist()
    return found


def _opened(world: World, text: str) -> list[int]:
    """A document's beginning: its marker, then text."""
    return [world.subject.vocabulary.marker("text.bos"), *encoded(world, [Span("text", text)] if text else [])]


def _begun(world: World, vision: AbstractVisionTokenizer, start: np.ndarray | None) -> list[int]:
    """The ids of frames that a clip goes on from, each closed by end-of-frame."""
    if start is None:
        return []
    if start.ndim != 4 or not len(start) or start.shape[1:3] != vision.frame_size:
        rows, columns = vision.frame_size
        raise ValueError(f"Frames of shape {start.shape} to go on from: give (N, {rows}, {columns}, 3).")
    codes = np.asarray(vision.encode(jnp.asarray(start)))
    closing = np.full((len(codes), 1), world.subject.vocabulary.modality(VISION).markers["eof"])
    return world.subject.vocabulary.to_global(VISION, np.concatenate([codes, closing], axis=1).reshape(-1)).tolist()
