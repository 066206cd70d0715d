"""Learning the codebook: k-means to begin with, moving averages while training, restarts of dead codes.

Owns every update of the code vectors; none of them comes from a gradient.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from lwm_vqgan.quantize import squared_distances


class CodeUse(eqx.Module):
    """Moving averages per code: how many latents chose it in a batch, and their sum."""

    counts: Float[Array, " K"]
    sums: Float[Array, "K D"]

    @property
    def codes(self) -> Float[Array, "K D"]:
        """The code vectors: the mean of the latents that chose each."""
        return self.sums / jnp.maximum(self.counts, 1e-6)[:, None]


def start_codes(latents: Float[Array, "M D"], codes: int, per_batch: float, *, key: PRNGKeyArray) -> CodeUse:
    """Code vectors by k-means over `latents`; every count starts at `per_batch`, an even share of a batch."""
    centres = k_means(latents, codes, key=key)
    return CodeUse(jnp.full(codes, per_batch), centres * per_batch)


def k_means(latents: Float[Array, "M D"], codes: int, *, key: PRNGKeyArray, rounds: int = 20) -> Float[Array, "K D"]:
    """Lloyd's rounds from distinct random latents; a centre that loses all its points becomes a random latent."""
    first, again = jax.random.split(key)
    centres = latents[jax.random.choice(first, len(latents), (codes,), replace=False)]

    def one(centres, key):
        counts, sums = tally(jnp.argmin(squared_distances(latents, centres), axis=-1), latents, codes)
        fresh = latents[jax.random.randint(key, (codes,), 0, len(latents))]
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], fresh), None

    return jax.lax.scan(one, centres, jax.random.split(again, rounds))[0]


def update_codes(use: CodeUse, latents: Float[Array, "M D"], chosen: Int32[Array, " M"], *, decay: float) -> CodeUse:
    """The averages after one more batch."""
    counts, sums = tally(chosen, latents, len(use.counts))
    return CodeUse(decay * use.counts + (1 - decay) * counts, decay * use.sums + (1 - decay) * sums)


def restart_dead(
    use: CodeUse, latents: Float[Array, "M D"], *, below: float | Float[Array, ""], count: float, key: PRNGKeyArray
) -> CodeUse:
    """Codes chosen fewer than `below` times a batch become random latents of this batch, counted `count` times."""
    fresh = latents[jax.random.randint(key, (len(use.counts),), 0, len(latents))]
    dead = use.counts < below
    counts = jnp.where(dead, count, use.counts)
    return CodeUse(counts, jnp.where(dead[:, None], fresh * count, use.sums))


def tally(
    chosen: Int32[Array, " M"], latents: Float[Array, "M D"], codes: int
) -> tuple[Float[Array, " K"], Float[Array, "K D"]]:
    """How many latents chose each code, and their sum."""
    counts = jax.ops.segment_sum(jnp.ones(len(chosen), latents.dtype), chosen, codes)
    return counts, jax.ops.segment_sum(latents, chosen, codes)
