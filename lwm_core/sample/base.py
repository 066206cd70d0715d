"""The sampler interface: from scores to the next token. Owns the contract only."""

import abc

import equinox as eqx
from jaxtyping import Array, Float32, Int32, PRNGKeyArray


class AbstractSampler(eqx.Module):
    """Chooses one id per row; ids whose score is minus infinity are never chosen."""

    @abc.abstractmethod
    def __call__(self, logits: Float32[Array, "B V"], *, key: PRNGKeyArray) -> Int32[Array, " B"]: ...
