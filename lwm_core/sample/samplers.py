"""Greedy and categorical sampling. Owns the choice of one id from scores, and no loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from lwm_core.sample.base import AbstractSampler


class Greedy(AbstractSampler):
    """The id with the highest score, the lowest such id where scores are equal; the key is not used."""

    def __call__(self, logits: Float32[Array, "B V"], *, key: PRNGKeyArray) -> Int32[Array, " B"]:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)


class Categorical(AbstractSampler):
    """A random id, in proportion to exp(score / temperature).

    - `top_k`: only the k highest scores take part; None for all;
    - `top_p`: of those, only the fewest whose probabilities reach p (nucleus, Holtzman et al. 2020, §3.1).
    """

    temperature: float = eqx.field(static=True, default=1.0)
    top_k: int | None = eqx.field(static=True, default=None)
    top_p: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not self.temperature > 0:
            raise ValueError(f"Categorical(temperature={self.temperature}): give a positive number, or use Greedy.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"Categorical(top_k={self.top_k}): give a positive integer, or None for all ids.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"Categorical(top_p={self.top_p}): give a number in (0, 1], or None for all ids.")

    def __call__(self, logits: Float32[Array, "B V"], *, key: PRNGKeyArray) -> Int32[Array, " B"]:
        logits = logits / self.temperature
        if self.top_k is None and self.top_p is None:
            return jax.random.categorical(key, logits).astype(jnp.int32)
        size = logits.shape[-1]
        scores, ids = jax.lax.top_k(logits, min(self.top_k or size, size))
        if self.top_p is not None:
            chance = jax.nn.softmax(scores, axis=-1)
            before = jnp.cumsum(chance, axis=-1) - chance  # of the ids that score higher; 0 for the first
            scores = jnp.where(before < self.top_p, scores, -jnp.inf)
        choice = jax.random.categorical(key, scores)
        return jnp.take_along_axis(ids, choice[:, None], axis=-1)[:, 0].astype(jnp.int32)
