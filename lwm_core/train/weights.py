"""What a stage changes about a model before it trains: the id space and the rotary base. Weights stay."""

import dataclasses

import equinox as eqx
from jaxtyping import PRNGKeyArray

from lwm_core.model.base import AbstractSequenceModel
from lwm_core.vocab import Vocabulary


def with_theta(model: AbstractSequenceModel, theta: float) -> AbstractSequenceModel:
    """The model with its rotary base set to `theta`."""
    return eqx.tree_at(lambda m: m.rope, model, dataclasses.replace(model.rope, theta=theta))


def with_vocabulary(
    model: AbstractSequenceModel, vocabulary: Vocabulary, *, key: PRNGKeyArray
) -> AbstractSequenceModel:
    """The model grown to `vocabulary`; the same model when it is that large already."""
    return model if model.vocab_size == vocabulary.size else model.resized(vocabulary.size, key=key)
