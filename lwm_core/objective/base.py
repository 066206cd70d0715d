"""The objective interface and the batch it reads.

Owns `Batch` and the contract. How rows become a batch is `lwm_core.train.feed`; how weights are chosen is the
packer's business, where segments are whole.
"""

import abc
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float32, Int32

from lwm_core.attention.coords import TokenCoords
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.vocab import Vocabulary


class Batch(eqx.Module):
    """Rows ready for a step, in the attention's layout order.

    `targets[b, t]` is the token after `tokens[b, t]` *in document order* (shifted before any permutation), and
    `weights[b, t]` how much it counts; 0 where the next token is of another document, padding or not wanted.
    """

    tokens: Int32[Array, "B T"]
    at: TokenCoords
    targets: Int32[Array, "B T"]
    weights: Float32[Array, "B T"]


class Loss(NamedTuple):
    """A loss as a sum and its denominator, so that micro-batches and shards may add before dividing.

    `parts` holds, for each named part (a modality), its own (sum, denominator).
    """

    total: Float32[Array, ""]
    denominator: Float32[Array, ""]
    parts: dict[str, tuple[Float32[Array, ""], Float32[Array, ""]]]

    @property
    def mean(self) -> Float32[Array, ""]:
        return self.total / self.denominator


class AbstractObjective(eqx.Module):
    """What training makes small."""

    @abc.abstractmethod
    def __call__(self, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary) -> Loss:
        """The loss of one batch, float32, with a part for each modality of the vocabulary.

        A batch whose weights are all zero has total and denominator 0.
        """
