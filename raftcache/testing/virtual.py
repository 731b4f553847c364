"""A `Runtime` for tests of single parts: time moves only when the test says so."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class VirtualTimer:
    """A scheduled callback."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Keep it from running."""
        self.callback = None


class VirtualRuntime:
    """Callbacks run within `advance` and `turn`, in order of their time."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self._now = 0.0
        self._heap: list[tuple[float, int, VirtualTimer]] = []
        self._number = 0

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def wall_ms(self) -> int:
        """The same, in milliseconds."""
        return int(self._now * 1000)

    def call_soon(self, callback: Callable[[], None]) -> VirtualTimer:
        """Due now, but not before the next `turn`."""
        return self.call_later(0.0, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> VirtualTimer:
        """Due in `delay` virtual seconds."""
        timer = VirtualTimer(callback)
        self._number += 1
        heapq.heappush(self._heap, (self._now + max(0.0, delay), self._number, timer))
        return timer

    def offload(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Work and report at the next turn."""
        self.call_soon(lambda: done(work()))

    def advance(self, seconds: float) -> None:
        """Run everything that falls due within `seconds`, in order."""
        until = self._now + seconds
        while self._heap and self._heap[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._heap)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = until

    def turn(self) -> None:
        """Run what is due now."""
        self.advance(0.0)
