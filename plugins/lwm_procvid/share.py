"""A share and how sure it is. Owns the one formula."""

import math


def wilson(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Bounds of a share of which `right` of `total` was seen: 95% by default (Wilson 1927)."""
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
