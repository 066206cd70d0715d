"""Frames to train on, in memory: random squares of random frames, by seed.

Owns the sampling of batches. Which frames there are is `frames`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class FrameBank:
    """Sets of uint8 frames `[N, Y, X, 3]` with both sides at least `size`; sets may differ in size, which gives
    the same picture at several scales. Every frame of every set is as likely as any other."""

    sets: Sequence[np.ndarray]
    size: int

    def __post_init__(self):
        if not self.sets or not all(len(frames) for frames in self.sets):
            raise ValueError("No frames to train on: give at least one set with at least one frame.")
        for frames in self.sets:
            if min(frames.shape[1:3]) < self.size:
                raise ValueError(
                    f"Frames of {frames.shape[1]}×{frames.shape[2]} are smaller than the {self.size} pixels to "
                    f"train on: read them with Sampling(size={self.size}) or larger."
                )

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def batch(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` random squares, half of them mirrored, as float32 `[count, size, size, 3]` in [0, 1]."""
        return np.stack([self._one(generator) for _ in range(count)]).astype(np.float32) / 255

    def squares(self, count: int) -> np.ndarray:
        """The centre squares of `count` frames, uint8, evenly over the whole bank."""
        chosen = np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)
        return np.stack([_centre(self._frame(int(index)), self.size) for index in chosen])

    def _one(self, generator: np.random.Generator) -> np.ndarray:
        frame = self._frame(int(generator.integers(len(self))))
        rows, columns, _ = frame.shape
        top, left = generator.integers(rows - self.size + 1), generator.integers(columns - self.size + 1)
        square = frame[top : top + self.size, left : left + self.size]
        return square[:, ::-1] if generator.integers(2) else square

    def _frame(self, index: int) -> np.ndarray:
        for frames in self.sets:
            if index < len(frames):
                return frames[index]
            index -= len(frames)
        raise IndexError(f"Frame {index + len(self)} of {len(self)}.")


def _centre(frame: np.ndarray, size: int) -> np.ndarray:
    top, left = ((side - size) // 2 for side in frame.shape[:2])
    return frame[top : top + size, left : left + size]
