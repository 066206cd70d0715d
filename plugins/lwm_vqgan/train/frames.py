"""Which frames a tokenizer is trained or judged on: stretches of films, pictures, and folders of them.

Owns the option and what a path may be. Decoding is `lwm_core.vision.video`'s.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwm_core.vision.video import Sampling, VideoError, read_picture, read_video
from lwm_vqgan.train.bank import FrameBank


PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv")


@dataclass(frozen=True)
class FrameFiles:
    """Frames of these files.

    - `paths`: films, pictures, or folders of them, whatever lies how deep inside;
    - `fps`: frames per second of a film; - `start`, `stop`: the stretch of every film, in seconds;
    - `scales`: of the short side, in sizes of the tokenizer's frame: squares of the size are cut from larger pictures
      when training, so that a scene is seen from nearer and from further away. Judged is the first scale, centre.
    """

    paths: tuple[Path, ...]
    fps: float = 4.0
    start: float = 0.0
    stop: float | None = None
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if not self.paths:
            raise ValueError("paths is empty: give films, pictures or folders of them.")
        for path in self.paths:
            if not Path(path).exists():
                raise FileNotFoundError(f"No file or folder {path} (seen from {Path.cwd()}): check `paths`.")
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"scales={self.scales}: give one or more, none below 1, which would not hold a square.")
        Sampling(None, "none", self.fps, self.start, self.stop)

    def files(self) -> tuple[Path, ...]:
        """Every film and picture, folders opened, in order."""
        return tuple(file for path in map(Path, self.paths) for file in _within(path))

    def bank(self, size: int) -> FrameBank:
        """Whole frames, not cropped, at each of the scales; frames of one shape are one set."""
        sets = defaultdict(list)
        for scale in self.scales:
            for pixels in self._read(Sampling(round(size * scale), "none", self.fps, self.start, self.stop)):
                sets[(scale, *pixels.shape[1:3])].append(pixels)
        return FrameBank([np.concatenate(of_a_shape) for of_a_shape in sets.values()], size)

    def squares(self, size: int) -> np.ndarray:
        """Centre squares `[N, size, size, 3]`, uint8."""
        how = Sampling(round(size * self.scales[0]), "centre", self.fps, self.start, self.stop)
        found = np.concatenate(list(self._read(how)))
        cut = (found.shape[1] - size) // 2
        return found[:, cut : cut + size, cut : cut + size]

    def overlaps(self, other: "FrameFiles") -> list[Path]:
        """The files that both read, and of films the ones with a stretch in common."""
        mine, theirs = (set(map(Path.resolve, each.files())) for each in (self, other))
        shared = self.start < (other.stop or np.inf) and other.start < (self.stop or np.inf)
        return sorted(file for file in mine & theirs if shared or file.suffix.lower() in PICTURES)

    def _read(self, how: Sampling) -> Iterator[np.ndarray]:
        for file in self.files():
            yield (read_picture if file.suffix.lower() in PICTURES else read_video)(file, how).pixels


def _within(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    known = (*PICTURES, *FILMS)
    found = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in known)
    if not found:
        raise VideoError(f"{path} holds no film and no picture: files end in {', '.join(known)}.")
    return found
