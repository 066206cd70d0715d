"""What a step has to do by definition: tokens, (query, key) pairs and operations, counted from its rows.

Owns the counting, on the host and while the devices compute. The convention is `lwm_core.model.flops`', the peak
`lwm_core.mesh.chips`'.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lwm_core.attention.coords import Visibility
from lwm_core.attention.pairs import attended_pairs
from lwm_core.data import Row
from lwm_core.model.base import AbstractSequenceModel
from lwm_core.model.flops import CountsFlops, training_flops
from lwm_core.objective.base import AbstractObjective, SaysWhatIsSeen


class Work(NamedTuple):
    """Of one step: (query, key) pairs in one layer, and operations of forward and backward; None where unknown."""

    pairs: int | None
    flops: float | None


def work_of(rows: Sequence[Row], objective: AbstractObjective, model: AbstractSequenceModel) -> Work:
    """The work of a step on these rows; padding is none."""
    if not isinstance(objective, SaysWhatIsSeen):
        return Work(None, None)
    pairs = sum(row_pairs(row, objective.rule, whole=objective.mask == "none") for row in rows)
    tokens = sum(int(np.count_nonzero(row.segment)) for row in rows)
    return Work(pairs, training_flops(model, tokens, pairs) if isinstance(model, CountsFlops) else None)


def row_pairs(row: Row, rule: Visibility, *, whole: bool) -> int:
    """Pairs that the rule lets the tokens of a row see, within documents or, if `whole`, over the row as one."""
    segment, position = row.segment, row.position
    if whole:
        segment, position = (segment > 0).astype(np.int32), np.arange(len(segment), dtype=np.int32)
    return int(attended_pairs(position[None], segment[None], rule).sum())
