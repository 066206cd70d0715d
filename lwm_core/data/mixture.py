"""Which source comes next: the one furthest behind its share of what was served, in exact integers.

Owns the rule and the check of shares. What is counted, tokens or documents, its callers say; it draws nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property


MIXTURE_BY = ("tokens", "documents")  # what shares can be shares of
FINEST = 1_000_000  # shares are fractions with denominators up to this


def check_shares(shares: Mapping[str, float], of: str) -> None:
    """Raises `ValueError` unless the shares are positive and sum to 1."""
    if not shares:
        raise ValueError(f"{of}: a mixture of nothing: name at least one source, such as {{ book = 1.0 }}.")
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ValueError(f"{of}: the share of {name!r} is {share!r}: give a number above 0, up to 1.")
    total = math.fsum(shares.values())
    if abs(total - 1.0) > 1e-6:
        given = ", ".join(f"{name} = {share}" for name, share in shares.items())
        raise ValueError(
            f"{of}: the shares {given} sum to {total:g}, not 1: give each source its part of the whole, such as "
            f"{', '.join(f'{name} = {share / total:.4g}' for name, share in shares.items())}."
        )


@dataclass(frozen=True)
class Mixture:
    """Sources by name with their weights, whole numbers.

    Who always serves the source that `furthest_behind` names keeps every source within one serving of its share,
    at every moment, however large servings are.
    """

    weights: Mapping[str, int]

    @staticmethod
    def of(shares: Mapping[str, float], what: str = "Mixture") -> "Mixture":
        """The mixture of these shares, which sum to 1; `what` begins the message where they do not."""
        check_shares(shares, what)
        parts = [Fraction(share).limit_denominator(FINEST) for share in shares.values()]
        scale = math.lcm(*(part.denominator for part in parts))
        return Mixture({name: int(part * scale) for name, part in zip(shares, parts, strict=True)})

    def among(self, names: Iterable[str]) -> "Mixture":
        """The same weights, of these sources only."""
        return Mixture({name: self.weights[name] for name in names})

    def furthest_behind(self, served: Sequence[int]) -> int:
        """The index of the source to serve next, when the sources in order were served so much; ties go to the first.

        One unit more than was served is divided, so that the first serving goes to the largest share.
        """
        if len(served) == 1:
            return 0
        total = sum(served) + 1
        behind = [weight * total - self._sum * had for weight, had in zip(self._list, served, strict=True)]
        return behind.index(max(behind))

    @cached_property
    def _list(self) -> list[int]:
        return list(self.weights.values())

    @cached_property
    def _sum(self) -> int:
        return sum(self._list)
