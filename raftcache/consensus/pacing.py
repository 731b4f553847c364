"""How fast a node sends snapshots: one bucket of tokens for all its transfers together.

A token is a byte. A taker may run into debt, and nobody takes while there is one, so chunks of any size pass and the
rate holds over time. After a rest at most `burst_bytes` go at once.
"""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """`rate_bytes_per_s` 0 means no limit. `now` gives seconds."""

    def __init__(self, rate_bytes_per_s: int, burst_bytes: int, now: Callable[[], float]) -> None:
        self._rate, self._burst, self._now = rate_bytes_per_s, burst_bytes, now
        self._tokens = float(burst_bytes)
        self._filled_at = now()
        self.refusals = 0
        """How often somebody had to wait."""

    def take(self, size_bytes: int) -> bool:
        """Whether `size_bytes` may go now."""
        if not self._rate:
            return True
        now = self._now()
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens <= 0:
            self.refusals += 1
            return False
        self._tokens -= size_bytes
        return True
