"""Which activations a layer keeps for the backward pass, and where, by name.

Owns the table of policies and the names of what they keep. Attention names its own output and log-sum-exp, inside its
custom gradient, so that a policy which keeps them never runs a ring's forward pass a second time.
"""

from collections.abc import Callable
from typing import Literal

import jax


Remat = Literal["none", "block", "dots", "attention", "offload"]

LAYER_INPUT = "layer_input"  # what the stack calls each layer's input
ATTENTION = ("attention_out", "attention_lse")  # `lwm_core.attention.attend`'s names

_keep = jax.checkpoint_policies
POLICIES: dict[str, Callable | None] = {
    "none": None,
    "block": _keep.nothing_saveable,
    "dots": _keep.dots_with_no_batch_dims_saveable,
    "attention": _keep.save_only_these_names(*ATTENTION),
    "offload": _keep.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[LAYER_INPUT, *ATTENTION],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


def remat(function: Callable, policy: Remat) -> Callable:
    """`function`, recomputing in its backward pass what the named policy does not keep.

    - "none": keep everything; fastest, most memory;
    - "dots": keep the products of weights, recompute the rest;
    - "attention": keep the layer's input, the attention's output and its log-sum-exp: all but attention is cheap;
    - "block": keep only the layer's input; attention is computed again;
    - "offload": keep as "attention" does, in the host's memory.
    """
    if policy not in POLICIES:
        raise ValueError(f"No remat policy {policy!r}: choose one of {', '.join(POLICIES)}.")
    kept = POLICIES[policy]
    return function if kept is None else jax.checkpoint(function, policy=kept, prevent_cse=False)
