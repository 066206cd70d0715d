"""Which activations a layer keeps for the backward pass, by name.

Owns the table of policies. Attention saves its own output and log-sum-exp inside its custom gradient, whatever
the policy here says about the rest of the block.
"""

from collections.abc import Callable

import jax


POLICIES: dict[str, Callable | None] = {
    "none": None,
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def remat(function: Callable, policy: str) -> Callable:
    """`function`, recomputing in its backward pass what the named policy does not keep.

    - "none": keep everything; fastest, most memory;
    - "block": keep only the layer's input;
    - "dots": keep the products of weights, recompute the rest.
    """
    if policy not in POLICIES:
        raise ValueError(f"No remat policy {policy!r}: choose one of {', '.join(POLICIES)}.")
    kept = POLICIES[policy]
    return function if kept is None else jax.checkpoint(function, policy=kept, prevent_cse=False)
