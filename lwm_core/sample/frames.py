"""Pictures and clips as codes: exactly n frames after a prompt. Making pixels is for the tokenizer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from lwm_core.attention import Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.generate import Watch, generate
from lwm_core.sample.grammar import Frames
from lwm_core.sample.guidance import Guidance, Ids
from lwm_core.vocab import Vocabulary


def generate_frames(
    model: AbstractSequenceModel,
    prompt: Ids,
    *,
    vocabulary: Vocabulary,
    codes_per_frame: int,
    frames: int = 1,
    sampler: AbstractSampler,
    key: PRNGKeyArray,
    guidance: Guidance | None = None,
    codebook_size: int | None = None,
    modality: str = "vision",
    rule: Visibility = Visibility(),
    prefill_chunk: int | None = None,
) -> Int32[np.ndarray, "frames codes_per_frame"]:
    """Local codes of one picture (`frames=1`) or one clip; markers between frames are drawn and removed.

    A prompt may end in whole frames, each closed by end-of-frame: the new ones then continue the clip.
    """
    options = {"guidance": guidance, "codebook_size": codebook_size, "modality": modality, "rule": rule}
    return generate_clips(
        model,
        [prompt],
        vocabulary=vocabulary,
        codes_per_frame=codes_per_frame,
        frames=frames,
        sampler=sampler,
        key=key,
        prefill_chunk=prefill_chunk,
        **options,
    )[0]


def generate_clips(
    model: AbstractSequenceModel,
    prompts: Sequence[Ids],
    *,
    vocabulary: Vocabulary,
    codes_per_frame: int,
    frames: int = 1,
    sampler: AbstractSampler,
    key: PRNGKeyArray,
    guidance: Guidance | None = None,
    codebook_size: int | None = None,
    modality: str = "vision",
    rule: Visibility = Visibility(),
    prefill_chunk: int | None = None,
    watch: Watch | None = None,
    every: int = 16,
) -> Int32[np.ndarray, "clips frames codes_per_frame"]:
    """As `generate_frames`, one clip for each prompt, all in one batch; `watch` and `every` as in `generate`."""
    grammar = Frames.of(vocabulary, codes_per_frame, frames, codebook_size=codebook_size, modality=modality)
    drawn = generate(
        model,
        prompts,
        sampler=sampler,
        key=key,
        max_new=frames * (codes_per_frame + 1),
        grammar=grammar,
        guidance=guidance,
        rule=rule,
        prefill_chunk=prefill_chunk,
        watch=watch,
        every=every,
    )
    return vocabulary.to_local(modality, np.stack(drawn).reshape(len(prompts), frames, codes_per_frame + 1)[..., :-1])
