"""Pictures and clips: exactly n frames of codes after a prompt. Making pixels is for the tokenizer."""

import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from lwm_core.attention import Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.generate import generate
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
    grammar = Frames.of(vocabulary, codes_per_frame, frames, codebook_size=codebook_size, modality=modality)
    (drawn,) = generate(
        model,
        [prompt],
        sampler=sampler,
        key=key,
        max_new=frames * (codes_per_frame + 1),
        grammar=grammar,
        guidance=guidance,
        rule=rule,
        prefill_chunk=prefill_chunk,
    )
    return vocabulary.to_local(modality, drawn.reshape(frames, codes_per_frame + 1)[:, :-1])
