"""The source of a video clip: documents of windows of frames, as codes, with the caption of each window.

Owns the windows and their order of text and vision. Reading files is `video`'s, captions `captions`', the wording
`documents`'.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lwm_core.data import Document, Span
from lwm_core.data.wording import SYSTEM, pair_spans
from lwm_core.vision.base import AbstractVisionFamily, AbstractVisionTokenizer
from lwm_core.vision.captions import Cue, caption_for, read_captions, sidecar
from lwm_core.vision.documents import chat_spans
from lwm_core.vision.tokens import frames_to_ids
from lwm_core.vision.video import Sampling, read_video


class _Sizes(NamedTuple):
    codebook_size: int
    codes_per_frame: int


class _Encoded(NamedTuple):
    """What documents are made of: codes [M, P] and their times, cues, the tokenizer's sizes."""

    codes: np.ndarray
    seconds: np.ndarray
    cues: tuple[Cue, ...]
    sizes: _Sizes


@dataclass(frozen=True, eq=False)
class ClipSource:
    """One document for every window of frames of a clip. `frames=1` gives pictures.

    **Arguments:**

    - `path`: the clip;
    - `vision`: the tokenizer (in a recipe the pipeline's own), or a family that needs no weights;
    - `captions`: the file of captions; by default the one beside the clip (`.srt`, `.json`, `.txt`);
    - `frames`, `fps`: of a window; `stride`: frames from one window to the next (by default no overlap);
    - `start`, `stop`: the stretch of the clip, in seconds;
    - `form`: "pair" (LWM's pretraining), "chat" (a request and its answer), "vision" (no text but the tags);
    - `order`: which comes first; "swap" draws it for every document from `seed`;
    - `system`: the opening of a chat.

    The clip is decoded and encoded once, on first use, and its codes are held in memory. A pickled source carries
    the codes and not the tokenizer, so data workers encode nothing.
    """

    path: Path
    vision: AbstractVisionTokenizer | AbstractVisionFamily
    captions: Path | None = None
    frames: int = 8
    fps: float = 4.0
    stride: int | None = None
    start: float = 0.0
    stop: float | None = None
    form: Literal["pair", "chat", "vision"] = "pair"
    order: Literal["swap", "text-first", "vision-first"] = "swap"
    seed: int = 0
    system: str = SYSTEM

    def __post_init__(self):
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"No clip {str(self.path)!r} (seen from {Path.cwd()}): check `path`.")
        if self.frames < 1 or (self.stride is not None and self.stride < 1):
            raise ValueError(f"Windows of {self.frames} frames every {self.stride}: give at least 1.")
        if self.form not in ("pair", "chat", "vision"):
            raise ValueError(f"form={self.form!r}: give pair, chat or vision.")
        if self.order not in ("swap", "text-first", "vision-first"):
            raise ValueError(f"order={self.order!r}: give swap, text-first or vision-first.")

    def __len__(self) -> int:
        return (len(self._encoded.codes) - self.frames) // self._step + 1

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path.name} has {len(self)} windows: give 0..{len(self) - 1}, not {index}.")
        codes, seconds, cues, sizes = self._encoded
        first = index * self._step
        window = slice(first, first + self.frames)
        start, stop = float(seconds[first]), float(seconds[window][-1] + 1 / self.fps)
        caption = caption_for(cues, start, stop)
        text_first = self._text_first(index)
        meta = {"file": str(self.path), "seconds": (start, stop), "caption": caption, "text_first": text_first}
        ids = frames_to_ids(codes[window], sizes)
        return Document(self._spans(caption, ids, text_first), f"{self.path.name}@{start:.2f}s", meta)

    def _spans(self, caption: str, ids: np.ndarray, text_first: bool) -> tuple[Span, ...]:
        if self.form == "chat":
            return chat_spans(caption, ids, frames=self.frames, text_first=text_first, system=self.system)
        return pair_spans(caption, ids, text_first=text_first)

    def _text_first(self, index: int) -> bool:
        if self.order == "swap":
            return bool(np.random.default_rng([self.seed, index]).integers(2))
        return self.order == "text-first"

    @property
    def _step(self) -> int:
        return self.frames if self.stride is None else self.stride

    @cached_property
    def _encoded(self) -> _Encoded:
        tokenizer = self.vision
        if isinstance(tokenizer, AbstractVisionFamily):
            tokenizer = tokenizer.init(key=jax.random.key(self.seed))
        cues = () if self.form == "vision" else read_captions(self.captions or sidecar(self.path))
        how = Sampling(min(tokenizer.frame_size), "centre", self.fps, self.start, self.stop)
        frames = read_video(self.path, how)
        if len(frames) < self.frames:
            raise ValueError(
                f"{self.path} gives {len(frames)} frames at {self.fps:g} a second, fewer than a window of "
                f"{self.frames}: give fewer `frames` or a higher `fps`."
            )
        codes = np.asarray(tokenizer.encode(jnp.asarray(frames.unit())))
        sizes = _Sizes(tokenizer.codebook_size, tokenizer.codes_per_frame)
        return _Encoded(codes, frames.seconds, cues, sizes)

    def __getstate__(self) -> dict:
        # Workers must not touch a device, and a tokenizer holds device arrays.
        return {**self.__dict__, "_encoded": self._encoded, "vision": None}
