"""Time, timers, randomness and background work, as everything in raftcache takes them: from outside.

A `Runtime` is the one door to the machine's clock. A node gets it from its composition root: the asyncio one
on a real machine, a virtual one in simulation, where a whole cluster runs in one process from one seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Handle(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Keep the callback from running; harmless when it already has."""


class Clock(Protocol):
    """Two clocks: one that only ever advances, one that people set."""

    def now(self) -> float:
        """Seconds since an arbitrary start; runs through suspends (CLOCK_BOOTTIME) and never goes back."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch, by this machine's opinion."""


class Runtime(Clock, Protocol):
    """What a node's event loop offers. Callbacks run one at a time, never inside the call that made them."""

    random: random.Random

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        """Run `callback` at the end of this loop turn."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run `callback` in `delay` seconds."""

    def offload(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run `work` off the event loop, then `done` on it with the result or the exception raised."""


def boot_id() -> str:
    """What the kernel calls this boot of the machine; "" where it does not say. Another id than before means that the
    machine may have lost power in between. Source: proc_sys_kernel(5), `random/boot_id`."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def boottime() -> float:
    """Seconds on CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def system_wall_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
