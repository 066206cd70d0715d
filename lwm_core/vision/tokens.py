"""Codes of frames to one run of local ids, and back; the vision modality of a tokenizer.

Owns where end-of-frame and end-of-vision stand: end-of-frame after each frame but the last, end-of-vision after
the last, as LWM writes them. It does not import JAX, knows no pixels, and knows no id space but its own.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

from lwm_core.vocab import Modality


EOF, EOV = "eof", "eov"


@runtime_checkable
class Codes(Protocol):
    """What is needed of a vision tokenizer here: how many codes there are and how many make a frame."""

    @property
    def codebook_size(self) -> int: ...

    @property
    def codes_per_frame(self) -> int: ...


def vision_modality(tokenizer: Codes, name: str = "vision", size: int | None = None) -> Modality:
    """The modality of this tokenizer's codes: ids 0..K-1, end-of-frame K, end-of-vision K + 1.

    `size` reserves more ids than the K + 2 in use (LWM: 8448 for 8192 codes).
    """
    codes = tokenizer.codebook_size
    return Modality(name, codes + 2 if size is None else size, {EOF: codes, EOV: codes + 1})


def frames_to_ids(codes: Int[np.ndarray, "N P"], tokenizer: Codes) -> Int32[np.ndarray, " N*(P+1)"]:
    """The ids of one picture (N = 1) or clip, each frame closed by its marker."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != tokenizer.codes_per_frame:
        raise ValueError(
            f"Codes of shape {codes.shape}: give (frames, {tokenizer.codes_per_frame}) with at least one frame."
        )
    if codes.min() < 0 or codes.max() >= tokenizer.codebook_size:
        raise ValueError(
            f"Codes {codes.min()}..{codes.max()} are not all below {tokenizer.codebook_size}: "
            "they come from another tokenizer."
        )
    closing = np.full((len(codes), 1), tokenizer.codebook_size)
    closing[-1] += 1
    return np.concatenate([codes, closing], axis=1).reshape(-1).astype(np.int32)


def ids_to_frames(ids: Int[np.ndarray, " L"], tokenizer: Codes) -> Int32[np.ndarray, "N P"]:
    """The codes of one picture or clip; raises `ValueError` naming the first id that is out of place."""
    ids = np.asarray(ids)
    width = tokenizer.codes_per_frame + 1
    if ids.ndim != 1 or not len(ids) or len(ids) % width:
        raise ValueError(f"Ids of shape {ids.shape}: give whole frames of {width} ids, the marker included.")
    wanted = np.full(len(ids) // width, tokenizer.codebook_size)
    wanted[-1] += 1
    frames = ids.reshape(-1, width)
    wrong = (frames < 0) | (frames >= tokenizer.codebook_size)
    wrong[:, -1] = frames[:, -1] != wanted
    if wrong.any():
        at = int(np.argmax(wrong))
        place = "a code" if at % width < width - 1 else f"the marker {wanted[at // width]}"
        raise ValueError(
            f"Id {ids[at]} at {at} (frame {at // width}): {place} belongs there. Codes are 0.."
            f"{tokenizer.codebook_size - 1}, end-of-frame {tokenizer.codebook_size}, end-of-vision one more."
        )
    return frames[:, :-1].astype(np.int32)
