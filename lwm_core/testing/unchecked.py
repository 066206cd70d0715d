"""What a kit says when this machine cannot check a part that another machine could.

Owns the difference between a part that refuses everything, which is a fault, and one that refuses everything here,
with a sentence, because it needs a GPU, a TPU or a package.
"""

from collections.abc import Sequence

from lwm_core.attention.base import AbstractAttention, AbstractBlockKernel, AttentionSite


_PLATFORMS = ("cpu", "gpu", "tpu")


class Unchecked(Exception):
    """Nothing was checked: the part serves none of the cases on this machine, and some on another."""


def excuse(
    part: AbstractAttention | AbstractBlockKernel, sites: Sequence[AttentionSite], refusals: Sequence[str]
) -> None:
    """Raises `Unchecked` for a part that refused every site here and serves one elsewhere, else `AssertionError`."""
    elsewhere = [p for p in _PLATFORMS if any(part.supports(site._replace(platform=p)).ok for site in sites)]
    assert elsewhere, f"{part} refused every case, so nothing was checked. " + " ".join(refusals)
    raise Unchecked(f"{part} serves {' and '.join(elsewhere)} and refused every case here. " + " ".join(refusals))
