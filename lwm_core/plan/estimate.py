"""How long a step may take, as a range from peaks: an estimate, not a measurement.

Owns the roofline. The low end is what no program can beat: all arithmetic at the chip's peak, memory read once, links
all busy, everything at once. The high end is arithmetic at a third of the peak, one link of each chip, and collectives
that nothing hides added on top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lwm_core.plan.hlo import Collective
from lwm_core.plan.machine import Machine


ORDINARY = 1 / 3  # of the peak, which a good long-context step reaches with its recomputation counted as no work


@dataclass(frozen=True)
class Estimate:
    """Seconds of a step: `low` and `high`, and the three times that `low` is the largest of."""

    low: float
    high: float
    compute: float
    memory: float
    links: float
    is_estimate: bool = True


def estimate(
    machine: Machine, flops: float | None, resident: Mapping[str, int], found: Sequence[Collective]
) -> Estimate | None:
    """The range; None for a chip whose peaks are not known."""
    chip = machine.chip
    if chip is None or flops is None:
        return None
    compute = flops / machine.chips / chip.flops_bf16
    memory = sum(resident.values()) / chip.bandwidth
    sent = sum(one.times * one.sent for one in found)
    bare = sum(one.times * one.sent for one in found if not one.hidden)
    links = sent / (chip.link_bandwidth * chip.links) if chip.links else 0.0
    low = max(compute, memory, links)
    slow = max(compute / ORDINARY, memory, (sent - bare) / chip.link_bandwidth if chip.links else 0.0)
    return Estimate(low, slow + (bare / chip.link_bandwidth if chip.links else 0.0), compute, memory, links)
