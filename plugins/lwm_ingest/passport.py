"""What tells one vision tokenizer from another: its own passport, or a hash of its weights.

Owns the comparison, so that codes are never read with a tokenizer that did not write them.
"""

import hashlib
import json
import re
from typing import Any

import jax
import numpy as np

from lwm_core.vision import AbstractVisionTokenizer


def passport_of(tokenizer: AbstractVisionTokenizer) -> Any:
    """JSON data that is equal for equal tokenizers: what `passport` of the tokenizer gives, where it has one."""
    own = getattr(tokenizer, "passport", None)
    if own is not None:
        return json.loads(json.dumps(own() if callable(own) else own))  # as it will come back from a header
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tokenizer)]
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(f"{leaf.dtype} {leaf.shape};".encode() + np.ascontiguousarray(leaf).tobytes())
    # Without weights it is the fixed fields that tell tokenizers apart; addresses in them differ from run to run.
    fixed = "" if leaves else re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure(tokenizer)))
    kind = type(tokenizer)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "codebook_size": tokenizer.codebook_size,
        "codes_per_frame": tokenizer.codes_per_frame,
        "frame_size": list(tokenizer.frame_size),
        "weights": hashlib.sha256(digest.digest() + fixed.encode()).hexdigest(),
    }


def differences(written: Any, given: Any) -> str:
    """What differs, in words; empty where nothing does."""
    if written == given:
        return ""
    if isinstance(written, dict) and isinstance(given, dict):
        if "hash" in written and written["hash"] == given.get("hash"):
            return ""  # a passport's hash is of what codes mean; the rest may be told differently
        names = sorted(name for name in {*written, *given} if written.get(name) != given.get(name))
        return "; ".join(f"{name} is {written.get(name)!r:.40} there, {given.get(name)!r:.40} here" for name in names)
    return f"{written!r:.80} there, {given!r:.80} here"
