"""The evaluator of a vision tokenizer: how well it gives pictures back.

Owns the sets of pictures and the report's picture of them. The numbers are `train.score`'s. It looks at the
pipeline's tokenizer alone, whatever the model: what it finds is the most that generated pictures can be.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from lwm_core.evaluate import Evaluation, Subject
from lwm_core.vision import AbstractVisionFamily, AbstractVisionTokenizer
from lwm_vqgan.train.frames import FrameFiles
from lwm_vqgan.train.score import score
from lwm_vqgan.train.sheet import sheet


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
    """PSNR, SSIM and the codes in use, on sets of pictures.

    - `vision`: the tokenizer (in a recipe the pipeline's own), or a family that needs no weights;
    - `pictures`: name → frames of films, pictures or folders; the first set is the one to quote and to draw;
    - `shown`: how many frames of it are drawn, evenly chosen.
    """

    vision: AbstractVisionTokenizer | AbstractVisionFamily
    pictures: Mapping[str, FrameFiles]
    shown: int = 16

    def __post_init__(self):
        if not self.pictures or self.shown < 1:
            raise ValueError("Give `pictures`, at least one set of frames by name, and `shown` of at least 1.")

    def __call__(self, subject: Subject) -> Evaluation:
        found = {name: score(self._tokenizer, frames) for name, frames in self._frames.items()}
        records = tuple({"pictures": name, **dataclasses.asdict(each)} for name, each in found.items())
        return Evaluation("reconstruction", records, records[0])

    def draw(self, path: Path, panels: Mapping[str, Evaluation]) -> Path:
        """The frames, and below each what the tokenizer makes of it; the same whatever the panels say."""
        frames = next(iter(self._frames.values()))
        chosen = np.linspace(0, len(frames) - 1, min(self.shown, len(frames))).astype(int)
        return sheet(path, self._tokenizer, frames[chosen])

    @cached_property
    def _tokenizer(self) -> AbstractVisionTokenizer:
        made = self.vision
        return made.init(key=jax.random.key(0)) if isinstance(made, AbstractVisionFamily) else made

    @cached_property
    def _frames(self) -> dict[str, np.ndarray]:
        size = min(self._tokenizer.frame_size)
        return {name: files.squares(size) for name, files in self.pictures.items()}
