"""A shard's clock within one leadership.

It starts at the larger of the log's time and the median of the voters' wall clocks, and advances with the
machine's suspend-proof clock from there. So it never goes back over a failover (the log's time is in every batch),
and a step of somebody's wall clock changes nothing until the next election.
"""

from __future__ import annotations

from raftcache.clock import Runtime


class ShardTime:
    """Milliseconds on the shard's clock. Meaningful only between `start` and the end of that leadership."""

    __slots__ = ("_base_ms", "_base_s", "_clock_s")

    def __init__(self, runtime: Runtime) -> None:
        self._clock_s = runtime.now
        self._base_s = 0.0
        self._base_ms = 0

    def start(self, base_ms: int) -> None:
        """From now on it is `base_ms` and what has passed since."""
        self._base_s = self._clock_s()
        self._base_ms = base_ms

    def now_ms(self) -> int:
        """The time now."""
        return self._base_ms + int((self._clock_s() - self._base_s) * 1000)
