"""The model interfaces: a static family, and the sequence model that it makes.

Owns the two contracts and `Hidden`. A model returns hidden states and logits apart, so that a loss may take
logits a chunk of tokens at a time and never hold B×T×V numbers.
"""

import abc
from typing import NamedTuple

import equinox as eqx
from equinox import AbstractVar
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray

from lwm_core.attention.base import AbstractAttention
from lwm_core.attention.coords import TokenCoords, Visibility
from lwm_core.model.cache import CacheDtype, KVCache
from lwm_core.model.rope import AbstractRope


class Hidden(NamedTuple):
    """Final states, normalised and ready for `logits`, and the cache with this call's keys and values."""

    states: Float[Array, "B T E"]
    cache: KVCache | None


class AbstractSequenceModel(eqx.Module):
    """A causal (by rule) sequence model over one id space.

    `attention` and `rope` are shared by all blocks: swap either with `eqx.tree_at`, weights untouched.
    """

    attention: AbstractVar[AbstractAttention]
    rope: AbstractVar[AbstractRope]

    @property
    @abc.abstractmethod
    def vocab_size(self) -> int:
        """How many ids there are."""

    @abc.abstractmethod
    def hidden(
        self,
        tokens: Int32[Array, "B T"],
        at: TokenCoords,
        rule: Visibility = Visibility(),
        *,
        cache: KVCache | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Hidden:
        """States of every token. With a cache, the tokens are appended to it and see all of it."""

    @abc.abstractmethod
    def logits(self, states: Float[Array, "*n E"]) -> Float32[Array, "*n V"]:
        """Scores over the whole id space."""

    @abc.abstractmethod
    def empty_cache(self, batch: int, length: int, dtype: CacheDtype | None = None) -> KVCache:
        """A cache with room for `length` tokens in each of `batch` rows, stored in `dtype` (the activations' own
        by default)."""

    @abc.abstractmethod
    def resized(self, vocab_size: int, *, key: PRNGKeyArray) -> "AbstractSequenceModel":
        """The same model over a larger id space; rows for new ids are fresh, all others are untouched."""


class AbstractModelFamily(eqx.Module):
    """The static description of a model: sizes, attention, id space. `catalog().build` returns this."""

    attention: AbstractVar[AbstractAttention]
    vocab_size: AbstractVar[int]

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> AbstractSequenceModel:
        """A model with fresh weights; the same key gives the same bits."""
