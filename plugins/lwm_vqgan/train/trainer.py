"""The trainer that a recipe names: films and pictures to a tokenizer's weights, in a folder that can be resumed.

Owns the options and the order of reading, training, scoring and writing. The arithmetic is `loop`'s, the files of a
run `folder`'s.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lwm_core.vision import AbstractVisionFamily
from lwm_vqgan.passport import save_tokenizer
from lwm_vqgan.pictures import NAME, pictures
from lwm_vqgan.train.folder import RunFolder
from lwm_vqgan.train.frames import FrameFiles
from lwm_vqgan.train.loop import first_state, means, steps, told
from lwm_vqgan.train.perceptual import Perceptual, read_perceptual
from lwm_vqgan.train.progress import progress
from lwm_vqgan.train.recipe import TokenizerRecipe
from lwm_vqgan.train.score import Score, score
from lwm_vqgan.train.sheet import sheet
from lwm_vqgan.train.step import TokenizerState
from lwm_vqgan.vqgan import VQGAN


SEEN = 256  # frames of the training set that are scored at the end, for comparison


@dataclass(frozen=True)
class TokenizerTrainer:
    """Trains a vision tokenizer of this plugin, and says how good it is on frames that it never saw.

    - `tokenizer`: `vqgan` or `fsq`, at any size;
    - `frames`: what it is trained on; `held_out`: what it is scored on, of which no stretch may be trained on;
    - `training`: the numbers of the run; the recipe's seed is its seed;
    - `perceptual_weights`: files with VGG16 and the heads of LPIPS, for `training.perceptual_weight`;
    - `every`: steps between two lines of `metrics.jsonl`, each with the state saved, so that no more is ever lost;
    - `score_every`: steps between two scores on held-out frames, each with the weights so far and pictures;
    - `shown`: how many held-out frames are in those pictures.

    The folder of a run holds `tokenizer.safetensors` (the averaged weights, with a passport), `metrics.jsonl`,
    `score.json`, `samples/` (held-out frames over what becomes of them) and `state.safetensors`.
    """

    tokenizer: AbstractVisionFamily
    frames: FrameFiles
    held_out: FrameFiles | None = None
    training: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    perceptual_weights: tuple[Path, ...] = ()
    every: int = 100
    score_every: int = 500
    shown: int = 8

    def __post_init__(self):
        for name in ("every", "score_every", "shown"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        if self.score_every % self.every:
            raise ValueError(f"score_every={self.score_every} is no multiple of every={self.every}: make it one.")
        if bool(self.training.perceptual_weight) != bool(self.perceptual_weights):
            raise ValueError(
                "The perceptual loss needs both training.perceptual_weight and perceptual_weights (files)."
            )
        for path in self.perceptual_weights:
            if not Path(path).is_file():
                raise FileNotFoundError(f"No file {path} with weights of the perceptual loss: check the path.")
        if self.held_out is not None and (both := self.frames.overlaps(self.held_out)):
            raise ValueError(
                f"{both[0]} is trained on and held out in one stretch or the other: give `frames.stop` before "
                "`held_out.start`, or other files."
            )

    def train(self, out: Path, *, until: int | None = None) -> Path:
        """Trains into `out`; returns the weights' file."""
        folder = RunFolder(Path(out))
        folder.must_be_new()
        return self._run(folder, first_state(self.tokenizer, self.training), until)

    def resume(self, out: Path, *, until: int | None = None) -> Path:
        """Goes on from the newest saved state; from the beginning where none was saved yet."""
        folder = RunFolder(Path(out))
        return self._run(folder, folder.restored(first_state(self.tokenizer, self.training)), until)

    def _run(self, folder: RunFolder, first: TokenizerState, until: int | None) -> Path:
        total = self.training.steps
        last, done = min(until or total, total), int(first.step)
        if done >= last and folder.weights.exists():
            return folder.weights
        folder.cut_back(done)
        size = first.tokenizer.shape.frame
        bank, held_out = self.frames.bank(size), None
        if self.held_out is not None:
            held_out = self.held_out.squares(size)
        recent, state = [], first
        with progress(total, done) as show:
            show.say(f"{len(bank)} frames to train on" + ("" if held_out is None else f", {len(held_out)} held out"))
            for state, losses in steps(first, bank, self.training, self._perceptual()):
                recent.append(losses)
                done += 1
                stops = done == last
                if done % self.every == 0 or stops:
                    known = means(recent)
                    self._must_be_finite(known, done)
                    show.step(done, told(known))
                    if stops or done % self.score_every == 0:
                        self._write(folder, state.averaged, held_out, done, show)
                    folder.keep(state, done, known)
                    recent = []
                if stops:
                    break
            if done == total:
                self._finish(folder, state.averaged, bank.squares(SEEN), held_out, show)
        return folder.weights

    def _must_be_finite(self, losses: dict[str, float], done: int) -> None:
        if not np.isfinite(losses["pixel"]):
            raise ValueError(
                f"The loss is no number any more at step {done}: the run has diverged. Give a lower "
                f"training.learning_rate than {self.training.learning_rate:g}; the newest saved state is before that."
            )

    def _perceptual(self) -> Perceptual | None:
        return read_perceptual(self.perceptual_weights) if self.perceptual_weights else None

    def _write(self, folder: RunFolder, tokenizer: VQGAN, held_out: np.ndarray | None, done: int, show) -> None:
        """The weights so far, their score and pictures."""
        found = None
        if held_out is not None:
            found = score(tokenizer, held_out)
            show.say(f"step {done}, held out: {found}")
            chosen = np.linspace(0, len(held_out) - 1, min(self.shown, len(held_out))).astype(int)
            sheet(folder.sample(done), tokenizer, held_out[chosen])
            folder.scored(done, found)
        save_tokenizer(tokenizer, folder.weights, self._facts(done, {} if found is None else {"held out": found}))

    def _finish(self, folder: RunFolder, tokenizer: VQGAN, seen: np.ndarray, held_out, show) -> None:
        """Scores on everything at hand, as they are."""
        bundled = np.round(pictures(tokenizer.shape.frame) * 255).astype(np.uint8)
        sets = {"seen in training": seen, f"bundled pictures ({NAME})": bundled}
        if held_out is not None:
            sets = {"held out": held_out, **sets}
        scores = {name: score(tokenizer, frames) for name, frames in sets.items()}
        for name, found in scores.items():
            show.say(f"{name}: {found}")
        folder.finish(scores)
        save_tokenizer(tokenizer, folder.weights, self._facts(self.training.steps, scores))

    def _facts(self, done: int, scores: dict[str, Score]) -> dict[str, Any]:
        """What the header of the weights says of their making: no path, which would say whose machine it was."""
        used = {"frames": self.frames, "held_out": self.held_out}
        stretches = {
            name: {**dataclasses.asdict(files), "paths": [Path(path).name for path in files.paths]}
            for name, files in used.items()
            if files is not None
        }
        return {
            "step": done,
            "training": dataclasses.asdict(self.training),
            **stretches,
            "scores": {name: dataclasses.asdict(found) for name, found in scores.items()},
        }
