"""Which id may come next: small automata over the one id space, run on the device inside the decode loop.

Owns the interface and four grammars: a run of one modality, frames of codes closed by markers, the two interleaved,
and any within a number of ids. A further modality brings its own `AbstractGrammar`; `Interleave` takes it as one more
part. It draws nothing, and it holds numbers, not a vocabulary: `of` reads the markers from one.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from lwm_core.vocab import Vocabulary


class AbstractGrammar(eqx.Module):
    """An automaton for one row. Its state is a few integers; an empty mask ends the row."""

    @abc.abstractmethod
    def init(self) -> Int32[Array, " K"]:
        """The state before the first token."""

    @abc.abstractmethod
    def mask(self, state: Int32[Array, " K"]) -> Bool[Array, " V"]:
        """The ids that may come next."""

    @abc.abstractmethod
    def advance(self, state: Int32[Array, " K"], token: Int32[Array, ""]) -> Int32[Array, " K"]:
        """The state after a token that the mask allowed."""

    @abc.abstractmethod
    def complete(self, state: Int32[Array, " K"]) -> Bool[Array, ""]:
        """Whether what was said so far may stand alone, so that another part may follow."""

    @abc.abstractmethod
    def least(self, state: Int32[Array, " K"]) -> Int32[Array, ""]:
        """The fewest further ids after which it is complete; 0 where it is."""


class Run(AbstractGrammar):
    """Any ids of one modality, markers included, as many as one likes."""

    vocab_size: int = eqx.field(static=True)
    start: int = eqx.field(static=True)
    stop: int = eqx.field(static=True)

    @staticmethod
    def of(vocabulary: Vocabulary, modality: str = "text") -> "Run":
        span = vocabulary.range(modality)
        return Run(vocabulary.size, span.start, span.stop)

    def init(self) -> Int32[Array, " K"]:
        return jnp.zeros((1,), jnp.int32)

    def mask(self, state: Int32[Array, " K"]) -> Bool[Array, " V"]:
        ids = jnp.arange(self.vocab_size)
        return (ids >= self.start) & (ids < self.stop)

    def advance(self, state: Int32[Array, " K"], token: Int32[Array, ""]) -> Int32[Array, " K"]:
        return state

    def complete(self, state: Int32[Array, " K"]) -> Bool[Array, ""]:
        return jnp.asarray(True)

    def least(self, state: Int32[Array, " K"]) -> Int32[Array, ""]:
        return jnp.int32(0)


class Frames(AbstractGrammar):
    """Frames of exactly `codes_per_frame` codes: end-of-frame after each but the last, then end-of-vision.

    With `frames` None there may be any number of frames. After end-of-vision nothing follows.
    Codes are the ids `start .. start + codebook_size - 1`. State: codes in this frame, whole frames, ended.
    """

    vocab_size: int = eqx.field(static=True)
    start: int = eqx.field(static=True)
    codebook_size: int = eqx.field(static=True)
    codes_per_frame: int = eqx.field(static=True)
    frames: int | None = eqx.field(static=True)
    eof: int = eqx.field(static=True)
    eov: int = eqx.field(static=True)

    def __check_init__(self):
        for name in ("codebook_size", "codes_per_frame", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Frames({name}={value}): give a positive integer.")

    @staticmethod
    def of(
        vocabulary: Vocabulary,
        codes_per_frame: int,
        frames: int | None = None,
        *,
        codebook_size: int | None = None,
        modality: str = "vision",
    ) -> "Frames":
        """Reads `modality.eof` and `modality.eov`; by default every id below both of them is a code."""
        start = vocabulary.range(modality).start
        eof, eov = vocabulary.marker(f"{modality}.eof"), vocabulary.marker(f"{modality}.eov")
        most = min(eof, eov) - start
        if codebook_size is not None and codebook_size > most:
            raise ValueError(f"A codebook of {codebook_size} runs into the markers: {modality} has {most} codes.")
        return Frames(vocabulary.size, start, codebook_size or most, codes_per_frame, frames, eof, eov)

    def init(self) -> Int32[Array, " K"]:
        return jnp.zeros((3,), jnp.int32)

    def mask(self, state: Int32[Array, " K"]) -> Bool[Array, " V"]:
        codes, frames, ended = state
        ids = jnp.arange(self.vocab_size)
        if self.frames is None:
            marker = (ids == self.eof) | (ids == self.eov)
        else:
            marker = ids == jnp.where(frames + 1 < self.frames, self.eof, self.eov)
        code = (ids >= self.start) & (ids < self.start + self.codebook_size)
        return jnp.where(codes < self.codes_per_frame, code, marker) & (ended == 0)

    def advance(self, state: Int32[Array, " K"], token: Int32[Array, ""]) -> Int32[Array, " K"]:
        codes, frames, ended = state
        marker = (token == self.eof) | (token == self.eov)
        after = (jnp.where(marker, 0, codes + 1), frames + marker, ended | (token == self.eov))
        return jnp.stack([x.astype(jnp.int32) for x in after])

    def complete(self, state: Int32[Array, " K"]) -> Bool[Array, ""]:
        return state[2] == 1

    def least(self, state: Int32[Array, " K"]) -> Int32[Array, ""]:
        codes, frames, ended = state
        left = 1 if self.frames is None else jnp.maximum(self.frames - frames, 1)
        return jnp.where(ended == 1, 0, left * (self.codes_per_frame + 1) - codes).astype(jnp.int32)


class Interleave(AbstractGrammar):
    """Parts in any order: whenever the current part is complete, any part may open.

    It starts in the first part. The ids that open the parts must differ, since a token chooses its part;
    where they do not, the earlier part has it. State: which part is current, then that of each part.
    """

    parts: tuple[AbstractGrammar, ...]

    def __check_init__(self):
        openings = [jax.eval_shape(lambda part=part: part.mask(part.init())) for part in self.parts]
        sizes = sorted({mask.shape[0] for mask in openings})
        if len(sizes) != 1:
            raise ValueError(f"Interleave of id spaces of {sizes} ids: give parts over one vocabulary.")

    def init(self) -> Int32[Array, " K"]:
        return jnp.concatenate([jnp.zeros((1,), jnp.int32), *(part.init() for part in self.parts)])

    def mask(self, state: Int32[Array, " K"]) -> Bool[Array, " V"]:
        current, states = state[0], self._split(state)
        own = jnp.stack([part.mask(s) for part, s in zip(self.parts, states, strict=True)])[current]
        return own | (self._openings().any(axis=0) & self._complete(current, states))

    def advance(self, state: Int32[Array, " K"], token: Int32[Array, ""]) -> Int32[Array, " K"]:
        current, states = state[0], self._split(state)
        own = jnp.stack([part.mask(s)[token] for part, s in zip(self.parts, states, strict=True)])[current]
        opens = self._complete(current, states) & ~own
        current = jnp.where(opens, jnp.argmax(self._openings()[:, token]), current).astype(jnp.int32)
        after = []
        for index, (part, old) in enumerate(zip(self.parts, states, strict=True)):
            moved = part.advance(jnp.where(opens, part.init(), old), token)
            after.append(jnp.where(current == index, moved, old))
        return jnp.concatenate([current[None], *after])

    def complete(self, state: Int32[Array, " K"]) -> Bool[Array, ""]:
        return self._complete(state[0], self._split(state))

    def least(self, state: Int32[Array, " K"]) -> Int32[Array, ""]:
        return jnp.stack([p.least(s) for p, s in zip(self.parts, self._split(state), strict=True)])[state[0]]

    def _split(self, state: Int32[Array, " K"]) -> list[Int32[Array, " k"]]:
        sizes = [jax.eval_shape(part.init).shape[0] for part in self.parts]
        stops = [1 + sum(sizes[: i + 1]) for i in range(len(sizes))]
        return [state[stop - size : stop] for size, stop in zip(sizes, stops, strict=True)]

    def _openings(self) -> Bool[Array, "P V"]:
        return jnp.stack([part.mask(part.init()) for part in self.parts])

    def _complete(self, current, states) -> Bool[Array, ""]:
        return jnp.stack([part.complete(s) for part, s in zip(self.parts, states, strict=True)])[current]


class Within(AbstractGrammar):
    """Another grammar in at most `room` ids: nothing is begun that could not be completed in what is left.

    So a clip is never cut off in the middle of a frame. `room` must be enough for the shortest thing that the inner
    grammar says. State: ids left, then the inner state.
    """

    inner: AbstractGrammar
    room: int = eqx.field(static=True)

    def __check_init__(self):
        least = int(self.inner.least(self.inner.init()))
        if self.room < max(least, 1):
            raise ValueError(f"Within(room={self.room}): the shortest that can be said takes {max(least, 1)} ids.")

    def init(self) -> Int32[Array, " K"]:
        return jnp.concatenate([jnp.full((1,), self.room, jnp.int32), self.inner.init()])

    def mask(self, state: Int32[Array, " K"]) -> Bool[Array, " V"]:
        left, inner = state[0], state[1:]
        own = self.inner.mask(inner)
        after = lambda token: self.inner.least(self.inner.advance(inner, token))  # noqa: E731
        return own & (1 + jax.vmap(after)(jnp.arange(own.shape[0], dtype=jnp.int32)) <= left)

    def advance(self, state: Int32[Array, " K"], token: Int32[Array, ""]) -> Int32[Array, " K"]:
        return jnp.concatenate([state[:1] - 1, self.inner.advance(state[1:], token)])

    def complete(self, state: Int32[Array, " K"]) -> Bool[Array, ""]:
        return self.inner.complete(state[1:])

    def least(self, state: Int32[Array, " K"]) -> Int32[Array, ""]:
        return self.inner.least(state[1:])
