"""Makes words.json and tokenizer.safetensors, which the recipe `procvid` uses: `python make.py`, beside this file.

The tokenizer is trained on frames of up to four things of any looks, most of which no clip shows: where one quarter
says nothing about the next, a code says little but what is in its own. Words are learnt from text without
the ending s, so that a plural is its word and an ending: what a model learns of a circle then holds for circles.
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lwm_procvid.clips import Clip, draw_clip
from lwm_procvid.source import prompt
from lwm_procvid.world import FRAME, LOOKS, PLACES, STEP, Frame, Thing, every_frame, render
from lwm_text.train import train as train_words
from lwm_vqgan.passport import save_tokenizer
from lwm_vqgan.tokenizer import VQGANFamily
from lwm_vqgan.train import TokenizerRecipe, score, train_tokenizer


CLIPS, WORDS = 4000, 640  # enough merges for every word of the world to be one id, but for its ending s
ALONE, EMPTY = 0.4, 0.3  # shares of frames with one thing, and of quarters without one in the others
ENDING = re.compile(r"(?<=ss)es\b|(?<=\w\w[^\Ws])s\b")
HERE = Path(__file__).parent
FAMILY = VQGANFamily(
    frame=32, channels=(24, 32), blocks=1, codebook=512, code_dim=8, groups=8, patch=4, pixel_range=(-1.0, 1.0),
    frames_at_once=64,
)  # fmt: skip
RECIPE = TokenizerRecipe(steps=3500, batch=64, learning_rate=3e-3, warmup_steps=100)


class Mixed(NamedTuple):
    """Random frames: one thing anywhere, or a thing or nothing in each quarter.

    None is mirrored: a digit in a mirror is another digit, or none.
    """

    size: int

    def batch(self, count: int, generator: np.random.Generator) -> np.ndarray:
        return np.stack([render(self._frame(generator)) for _ in range(count)])

    def _frame(self, generator: np.random.Generator) -> Frame:
        if generator.random() < ALONE:
            x, y = generator.choice(PLACES, 2)
            return (Thing(LOOKS[generator.integers(len(LOOKS))], int(x), int(y)),)
        corners = [(x, y) for y in (0, FRAME // 2) for x in (0, FRAME // 2) if generator.random() > EMPTY]
        right, down = STEP * generator.integers(2, size=(2, len(corners)))
        looks = [LOOKS[i] for i in generator.integers(len(LOOKS), size=len(corners))]
        places = zip(looks, corners, right, down, strict=True)
        return tuple(Thing(look, int(x + r), int(y + d)) for look, (x, y), r, d in places)


def texts(clip: Clip) -> list[str]:
    """What is written about a clip, tags and all; words without the ending s or es."""
    asked = [f"</vision> {question.text} {question.answer}" for question in clip.questions]
    return [ENDING.sub("", text) for text in (prompt(clip.caption), f"<vision>{''.join(asked)}")]


def main() -> None:
    clips = (draw_clip(np.random.default_rng([1, index]), 4) for index in range(CLIPS))
    words = train_words([text for clip in clips for text in texts(clip)], WORDS)
    words.save(str(HERE / "words.json"))
    pixels = np.stack([render(frame) for frame in every_frame()])
    shown = np.round(255 * pixels).astype(np.uint8)
    tokenizer = train_tokenizer(
        FAMILY,
        Mixed(FAMILY.shape.frame),
        RECIPE,
        held_out=shown,
        report=lambda line: print(line, flush=True),
        every=200,
    )
    facts = {"recipe": asdict(RECIPE), "score": asdict(score(tokenizer, shown))}
    save_tokenizer(tokenizer, HERE / "tokenizer.safetensors", facts)
    print(facts["score"])


if __name__ == "__main__":
    main()
