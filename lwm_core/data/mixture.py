"""Which source the k-th draw comes from: shares met exactly, in a fixed order that anybody can compute.

Owns the rule by number of documents. It draws nothing itself; `lwm_core.load` asks it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np


FINEST = 10_000  # shares are fractions with denominators up to this
LONGEST = 100_000  # and their common denominator, the length of the pattern, up to this


def check_shares(shares: Mapping[str, float], of: str) -> None:
    """Raises `ValueError` unless the shares are positive and sum to 1."""
    total = math.fsum(shares.values())
    if not shares or abs(total - 1.0) > 1e-6 or min(shares.values()) <= 0:
        given = ", ".join(f"{name} = {share}" for name, share in shares.items()) or "nothing"
        raise ValueError(f"{of}: the shares {given} sum to {total:g}: give each source a share above 0, 1 in all.")


@dataclass(frozen=True)
class Mixture:
    """`mixture[k]` is (name, place): draw k is the place-th draw from that source.

    After any k draws a source has given less than one draw more than its share of k, and after every
    `len(pattern)` draws exactly its share.
    """

    shares: Mapping[str, float]

    def __post_init__(self):
        check_shares(self.shares, "Mixture")
        if self._period > LONGEST:
            raise ValueError(
                f"Mixture {dict(self.shares)}: the shares have no common denominator up to {LONGEST}; write "
                "them with up to 4 decimals."
            )

    @cached_property
    def _parts(self) -> list[Fraction]:
        parts = [Fraction(share).limit_denominator(FINEST) for share in self.shares.values()]
        return [part / sum(parts) for part in parts]

    @cached_property
    def _period(self) -> int:
        return math.lcm(*(part.denominator for part in self._parts))

    @cached_property
    def _weights(self) -> list[int]:
        """How often the pattern draws from each source."""
        return [int(part * self._period) for part in self._parts]

    @cached_property
    def pattern(self) -> np.ndarray:
        """int32 [period]: the source of each draw, always the one furthest behind its share."""
        weights = np.asarray(self._weights)
        behind, order = np.zeros_like(weights), np.empty(self._period, np.int32)
        for k in range(self._period):
            behind += weights
            order[k] = behind.argmax()
            behind[order[k]] -= self._period
        return order

    @cached_property
    def _places(self) -> np.ndarray:
        """int64 [period]: how often the pattern has drawn from the same source before."""
        places = np.empty(self._period, np.int64)
        for source in range(len(self.shares)):
            mine = self.pattern == source
            places[mine] = np.arange(mine.sum())
        return places

    def __getitem__(self, draw: int) -> tuple[str, int]:
        """(source name, how many draws came from it before)."""
        source, place = self.locate(draw)
        return tuple(self.shares)[source], place

    def locate(self, draw: int) -> tuple[int, int]:
        """As `[draw]`, with the source's index."""
        period, k = divmod(draw, self._period)
        source = int(self.pattern[k])
        return source, period * self._weights[source] + int(self._places[k])
