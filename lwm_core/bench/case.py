"""What is measured: the shapes, documents and windows of one attention call, and its random inputs.

Owns `Case` and the named cases. Everything here is numpy on the host, in the order of the row; a contender lays
the tokens out as it needs them. It times nothing.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lwm_core.attention import AttentionSite, Visibility


class Inputs(NamedTuple):
    """Host arrays in row order, float32; `dout` is the cotangent of the output. Coordinates are "B T"."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    dout: np.ndarray
    position: np.ndarray
    segment: np.ndarray


@dataclass(frozen=True)
class Case:
    """One causal attention call.

    **Arguments:**

    - `documents`: relative lengths of the packed documents; (1, 1) is two equal ones;
    - `window`: the window is `length // window` tokens; None sees the whole document;
    - `devices`: how many devices the row is spread over;
    - `stripe`: lay our rows out in stripes of so many tokens, which suits documents of different lengths; None keeps
      each attention's own layout.
    """

    name: str
    summary: str
    length: int = 8192
    batch: int = 1
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 64
    dtype: str = "float32"
    documents: tuple[int, ...] = (1,)
    window: int | None = None
    devices: int = 1
    stripe: int | None = None

    def __post_init__(self):
        least = max(len(self.documents), self.window or 1)
        if self.length < least:
            raise ValueError(f"The case {self.name!r} needs a length of at least {least}, and got {self.length}.")

    def at(self, length: int | None = None, devices: int | None = None) -> "Case":
        """The same case at another length or over another number of devices; None keeps its own."""
        return replace(self, length=length or self.length, devices=devices or self.devices)

    @property
    def rule(self) -> Visibility:
        return Visibility(window=self.length // self.window if self.window else None)

    @property
    def packed(self) -> bool:
        return len(self.documents) > 1

    def site(self, platform: str) -> AttentionSite:
        """The site that an attention is asked about."""
        mesh = {"dp": 1, "fsdp": 1, "tp": 1, "sp": self.devices} if self.devices > 1 else {}
        shape = self.batch, self.length, self.length, self.heads, self.kv_heads, self.head_dim
        return AttentionSite(*shape, self.dtype, self.rule, mesh, platform)

    def inputs(self, seed: int = 0) -> Inputs:
        """Normal random arrays, and the coordinates of the packed documents."""
        random = np.random.default_rng(seed)

        def normal(heads):
            return random.standard_normal((self.batch, self.length, heads, self.head_dim), np.float32)

        arrays = normal(self.heads), normal(self.kv_heads), normal(self.kv_heads), normal(self.heads)
        return Inputs(*arrays, *self.coordinates())

    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """(positions, segments) of the packed documents, each "B T"."""
        ends = np.cumsum(self.documents) * self.length // sum(self.documents)
        lengths = np.diff(ends, prepend=0)
        position = np.concatenate([np.arange(n) for n in lengths])
        segment = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        shape = self.batch, self.length
        return np.broadcast_to(position.astype(np.int32), shape), np.broadcast_to(segment.astype(np.int32), shape)


# A web crawl in small: most documents short, most tokens in long ones.
_MIXTURE = (1, 20, 2, 3, 48, 1, 6, 1, 14, 2, 80, 4, 1, 30, 9, 2, 24, 8)

CASES = {
    case.name: case
    for case in (
        Case("causal-8k", "one document of 8192 tokens"),
        Case("causal-16k", "one document of 16384 tokens", length=16384),
        Case("documents-8", "8 equal packed documents", documents=(1,) * 8),
        Case("documents-32", "32 equal packed documents", documents=(1,) * 32),
        Case("mixture", "18 documents of very different lengths", documents=_MIXTURE),
        Case("window", "a window of a sixteenth of the row", window=16),
        Case("grouped", "8 query heads per key head, bfloat16", heads=8, kv_heads=1, dtype="bfloat16"),
        Case("ring-4", "one document over 4 devices", devices=4),
        Case("ring-8", "one document over 8 devices", devices=8),
        Case("ring-4-grouped", "8 query heads per key head over 4 devices, bfloat16", devices=4, heads=8, kv_heads=1,
             dtype="bfloat16"),
        Case("ring-4-documents-8", "8 equal packed documents over 4 devices", devices=4, documents=(1,) * 8),
        Case("ring-4-mixture", "documents of very different lengths over 4 devices", devices=4, documents=_MIXTURE,
             stripe=128),
    )
}  # fmt: skip
