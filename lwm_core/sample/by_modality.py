"""A sampler for each modality of the id space: the modality is chosen first, then an id of it.

Owns the split of the scores and the choice of the modality. How an id is drawn within one is another sampler's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from lwm_core.sample.base import AbstractSampler
from lwm_core.sample.samplers import Categorical
from lwm_core.vocab import Vocabulary


@dataclass(frozen=True, eq=False)
class _Held:
    """A vocabulary that can be hashed, as what a compiled program depends on must be."""

    vocabulary: Vocabulary

    def __hash__(self) -> int:
        return hash(self.vocabulary.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.vocabulary == other.vocabulary


class ByModality(AbstractSampler):
    """Draws the modality in proportion to its total chance, then an id of that modality by its own sampler.

    Temperature and top-k are each modality's own, and neither makes another modality likelier. With `Categorical()`
    everywhere the ids are distributed as by `Categorical()` alone.

    - `vocabulary`: where each modality's ids are; in a recipe the pipeline's own;
    - `text`, `vision`: their samplers; `others`: those of further modalities, by name (`Categorical()` if not named);
    - `choose`: which modality, from the logarithms of their total chances; "greedy" takes the likelier.
    """

    text: AbstractSampler
    vision: AbstractSampler
    others: Mapping[str, AbstractSampler]
    choose: AbstractSampler
    _held: _Held = eqx.field(static=True)

    def __init__(
        self,
        vocabulary: Vocabulary,
        text: AbstractSampler = Categorical(),
        vision: AbstractSampler = Categorical(),
        others: Mapping[str, AbstractSampler] | None = None,
        choose: AbstractSampler = Categorical(),
    ):
        self.text, self.vision, self.others, self.choose = text, vision, dict(others or {}), choose
        self._held = _Held(vocabulary)
        if taken := sorted({"text", "vision"} & set(self.others)):
            raise ValueError(f"others names {taken[0]!r}: give it as the option {taken[0]!r}.")

    @property
    def vocabulary(self) -> Vocabulary:
        """The id space that it was made for."""
        return self._held.vocabulary

    def over(self, vocabulary: Vocabulary) -> "ByModality":
        """The same samplers for another id space."""
        return ByModality(vocabulary, self.text, self.vision, self.others, self.choose)

    def __call__(self, logits: Float32[Array, "B V"], *, key: PRNGKeyArray) -> Int32[Array, " B"]:
        size = logits.shape[-1]
        masses, ids = [], []
        for index, name in enumerate(self.vocabulary.names):
            span = self.vocabulary.range(name)
            if span.start >= size:  # a model of an earlier stage, which has not grown to this modality yet
                break
            own = logits[:, span.start : span.stop]
            masses.append(jax.nn.logsumexp(own, axis=-1))
            ids.append(self._part(name)(own, key=jax.random.fold_in(key, index + 1)) + span.start)
        chosen = self.choose(jnp.stack(masses, axis=-1), key=jax.random.fold_in(key, 0))
        return jnp.take_along_axis(jnp.stack(ids, axis=-1), chosen[:, None], axis=-1)[:, 0].astype(jnp.int32)

    def _part(self, name: str) -> AbstractSampler:
        return {"text": self.text, "vision": self.vision, **self.others}.get(name, Categorical())


def fitted(sampler: AbstractSampler, vocabulary: Vocabulary) -> AbstractSampler:
    """The sampler for this id space: a stage's may be laid out otherwise than the recipe's."""
    return sampler.over(vocabulary) if isinstance(sampler, ByModality) else sampler
