"""How long something took, as the numbers of a Prometheus histogram: two additions and a search an observation."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

BOUNDS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LABELS = (*(str(bound) for bound in BOUNDS_S), "+Inf")


class Latency:
    """Counts by BOUNDS_S, and the sum."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * len(_LABELS)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound with how many were at most that."""
        return list(zip(_LABELS, map(float, accumulate(self._counts)), strict=True))
