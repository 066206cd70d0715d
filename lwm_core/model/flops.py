"""How many operations a model's work is by definition, whatever a program computes to do it.

Owns the one convention that training, plans and benchmarks count by, and the face of a model that can be counted.
What is recomputed (remat, the second look at scores in a flash backward), padded slots, and pairs that the mask hides
are no work. Peaks are `lwm_core.mesh.chips`'; pairs are counted by `lwm_core.attention.pairs`.
"""

from typing import Protocol, runtime_checkable


# The gradient of a product is two products (PaLM, Chowdhery et al. 2022, appendix B).
TRAINING_OVER_FORWARD = 3


@runtime_checkable
class CountsFlops(Protocol):
    """A sequence model that knows its operations; one that does not still trains, without its utilisation shown."""

    def flops(self, tokens: int, pairs: int) -> float:
        """Operations of a forward pass: `tokens` real tokens, `pairs` (query, key) pairs seen in each layer."""
        ...


def attention_flops(pairs: int, heads: int, head_dim: int) -> float:
    """Operations of attention's two products over counted pairs, forwards: 4 · pairs · heads · head_dim."""
    return 4.0 * pairs * heads * head_dim


def forward_flops(weights: int, tokens: int, *, layers: int, heads: int, head_dim: int, pairs: int) -> float:
    """2 · weights · tokens + 4 · layers · heads · head_dim · pairs.

    - `weights`: numbers in matrices that every token is multiplied with; a head counts, a table that is looked up not;
    - `pairs`: of all rows, those that attention is to look at in one layer; `heads` are query heads.
    """
    return 2.0 * weights * tokens + layers * attention_flops(pairs, heads, head_dim)


def training_flops(model: CountsFlops, tokens: int, pairs: int) -> float:
    """Operations of a training step; a transformer's 6 · weights · tokens + 12 · layers · heads · head_dim · pairs."""
    return TRAINING_OVER_FORWARD * model.flops(tokens, pairs)
