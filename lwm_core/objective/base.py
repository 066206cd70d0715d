"""The objective interface and the batch it reads.

Owns `Batch` and the contract. How rows become a batch is `lwm_core.train.feed`; how much a document counts is the
packer's business, where segments are whole.
"""

import abc
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.vocab import Vocabulary


class Origin(eqx.Module):
    """Where each token comes from, whatever the layout did to the order.

    - `slot`: its place in the row, in document order, from 0;
    - `length`: how many tokens its segment has in this row; 0 for padding.
    """

    slot: Int32[Array, "B T"]
    length: Int32[Array, "B T"]


class Batch(eqx.Module):
    """Rows ready for a step, in the attention's layout order.

    - `targets[b, t]` is the token after `tokens[b, t]` *in document order* (shifted before any permutation);
    - `weights[b, t]`: how much it counts; 0 where the next token is of another document, padding or not wanted;
    - `origin`: what losses are broken down by; None leaves the parts by length and position out.
    """

    tokens: Int32[Array, "B T"]
    at: TokenCoords
    targets: Int32[Array, "B T"]
    weights: Float32[Array, "B T"]
    origin: Origin | None = None


class Part(NamedTuple):
    """The loss of some of the targets: its weighted sum, the weights' sum, and how many targets these are."""

    total: Float32[Array, ""]
    weight: Float32[Array, ""]
    tokens: Int32[Array, ""]


class Loss(NamedTuple):
    """A loss as a sum and its denominator, so that micro-batches and shards may add before dividing.

    `parts` are what else is worth knowing of a batch, by names of the objective's own choice; they add likewise. A
    run reports part NAME as `loss/NAME` (its total over its weight) and `tokens/NAME`, and leaves out one without
    a target.
    """

    total: Float32[Array, ""]
    denominator: Float32[Array, ""]
    parts: Mapping[str, Part]

    @property
    def mean(self) -> Float32[Array, ""]:
        """The loss to make small; 0 for a batch without a target."""
        return self.total / jnp.where(self.denominator > 0, self.denominator, 1.0)


class AbstractObjective(eqx.Module):
    """What training makes small."""

    @abc.abstractmethod
    def __call__(self, model: AbstractSequenceModel, batch: Batch, vocabulary: Vocabulary) -> Loss:
        """The loss of some rows, float32.

        Totals, denominators and parts of any rows of a batch sum to those of the batch, so the denominator of a step
        is that of all its ranks and micro-batches. Targets of weight 0 count for nothing.
        `lwm_core.objective.parts.parts_of` makes the usual parts.
        """


@runtime_checkable
class SaysWhatIsSeen(Protocol):
    """An objective that says which tokens see which while it trains, so that a step's work can be counted.

    - `mask`: "none" where a row is one long document, as in `lwm_core.objective.scores`.
    """

    @property
    def rule(self) -> Visibility: ...
    @property
    def mask(self) -> str: ...


@runtime_checkable
class NamesModalities(Protocol):
    """An objective with options for modalities by name; a pipeline refuses a name that none of its stages can have."""

    def modalities_named(self) -> tuple[str, ...]: ...
