"""A conversation with a trained pipeline, about pictures and clips too: questions in, answers out, in turns.

Owns what of a turn is kept, where an answer ends, and how many frames there is room for. The cache is `session`'s, the
wording `wording`'s, reading files `lwm_core.vision.video`'s.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.by_modality import fitted
from lwm_core.sample.grammar import Run
from lwm_core.sample.session import Session
from lwm_core.sample.wording import Wording
from lwm_core.sample.world import World, encoded, need_vision, trained_length, wording_for
from lwm_core.vision.tokens import frames_to_ids


CONTEXT = 4096  # ids, where nothing says how long the model was trained


@dataclass(frozen=True)
class Answer:
    """What was said; `read` and `written` are ids of this turn, `left` those there is room for after it."""

    text: str
    read: int
    written: int
    left: int
    ended: bool  # by the model, not by the bound on tokens


class Conversation:
    """Turns with one model, over a cache that is kept between them.

    - `wording`: read from the pipeline's sources if None; - `context`: ids in all; None for the longest row of its
      training; - `sampler`: the pipeline's if None; - `stops`: further texts at which an answer has ended.
    """

    def __init__(
        self,
        world: World,
        *,
        wording: Wording | None = None,
        context: int | None = None,
        sampler: AbstractSampler | None = None,
        seed: int = 0,
        stops: tuple[str, ...] = (),
    ):
        self.world, self.wording = world, wording or wording_for(world, "ask")
        self.sampler = fitted(sampler or world.sampler, world.subject.vocabulary)
        self.session = Session(world.subject.model, context or trained_length(world) or CONTEXT)
        self.session.read([world.subject.vocabulary.marker("text.bos")])
        self.turns: list[dict[str, str]] = []
        self._key, self._shown = jax.random.key(seed), None
        self._stops = (*self.wording.stops, *stops)

    def frames_that_fit(self, question: str, tokens: int) -> int:
        """How many frames may be shown with this question, so that an answer of so many tokens has room."""
        vision = need_vision(self.world)
        around = encoded(self.world, self.wording.asking(question, np.zeros(1, np.int32), first=not self.turns))
        return max(0, (self.session.room - (len(around) - 1) - tokens) // (vision.codes_per_frame + 1))

    def show(self, frames: Float32[np.ndarray, "N Y X 3"]) -> None:
        """Puts a picture (N = 1) or clip, in [0, 1] and of the tokenizer's size, beside the next question."""
        vision = need_vision(self.world)
        self._shown = frames_to_ids(np.asarray(vision.encode(jnp.asarray(frames))), vision)

    def ask(self, question: str, *, tokens: int = 256, watch: Callable[[str], None] | None = None) -> Answer:
        """The model's answer; `watch` hears it as far as it is written. Raises `ValueError` where nothing more fits."""
        ids = encoded(self.world, self.wording.asking(question, self._shown, first=not self.turns))
        if len(ids) + 1 > self.session.room:
            raise ValueError(
                f"This turn takes {len(ids)} ids and {self.session.room} of {self.session.length} are left: ask in "
                "fewer words or frames, begin again, or give a longer context."
            )
        self.session.read(ids)
        text, drawn, ended = self._written(tokens, watch)
        self._shown = None
        self.turns.append({"question": question, "answer": text.strip()})
        return Answer(text.strip(), len(ids), drawn, self.session.room, ended)

    def _written(self, tokens: int, watch: Callable[[str], None] | None) -> tuple[str, int, bool]:
        """The answer, how many ids it took, and whether the model ended it."""
        vocabulary = self.world.subject.vocabulary
        eos = vocabulary.marker("text.eos")

        def heard(rows: list[np.ndarray]) -> bool:
            text = self._text(rows[0])
            cut = self._end(text)
            if watch is not None:
                watch(text[:cut].strip())
            return cut is not None

        drawn = self.session.write(
            sampler=self.sampler,
            key=jax.random.fold_in(self._key, len(self.turns)),
            most=tokens,
            stop=[eos],
            grammar=Run.of(vocabulary, "text"),
            watch=heard,
            every=8,
        )
        text = self._text(drawn)
        cut = self._end(text)
        kept = len(drawn) - (len(drawn) > 0 and int(drawn[-1]) == eos)
        if cut is not None:  # what was written of the next turn is taken back, whole ids at a time
            kept = next(n for n in range(len(drawn), -1, -1) if len(self._text(drawn[:n])) <= cut)
        self.session.forget(len(drawn) - kept)
        return text[:cut], kept, kept < len(drawn)

    def _text(self, ids: np.ndarray) -> str:
        return self.world.subject.tokenizer.decode(self.world.subject.vocabulary.to_local("text", ids).tolist())

    def _end(self, text: str) -> int | None:
        found = [text.find(stop) for stop in self._stops if stop in text]
        return min(found, default=None)
