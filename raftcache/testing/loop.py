"""Virtual time: one heap of callbacks for a whole simulated cluster, and a `Runtime` for each process in it.

Nothing here reads a clock or starts a thread. Callbacks run in the order of their virtual time, ties in the
order in which they were made, so that one seed is one run. Every callback that runs, and every message, goes
into a running hash: two runs of a seed that differ anywhere differ in their trace.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar

from raftcache.testing.files import Killed

T = TypeVar("T")

WALL_START_MS = 1_767_225_600_000
"""What every simulated wall clock shows at virtual second 0: the first of January 2026."""


class SimHandle:
    """A callback on the heap."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Keep it from running."""
        self.callback = None


class SimLoop:
    """The heap, and the only source of randomness of a run besides the runtimes it seeds."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.time = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, SimHandle]] = []
        self._made = 0
        self._trace = blake2b(digest_size=16)

    def call_at(self, time: float, callback: Callable[[], None]) -> SimHandle:
        """Run `callback` at virtual second `time`, or now where that is past."""
        handle = SimHandle(callback)
        self.push(time, handle)
        return handle

    def push(self, time: float, handle: SimHandle) -> None:
        """Put a handle on the heap, perhaps again: what cancels it goes on to."""
        self._made += 1
        heapq.heappush(self._heap, (max(time, self.time), self._made, handle))

    def call_later(self, delay: float, callback: Callable[[], None]) -> SimHandle:
        """Run `callback` in `delay` virtual seconds."""
        return self.call_at(self.time + delay, callback)

    def run_until(self, time: float) -> None:
        """Run everything that is due up to virtual second `time`."""
        while self._heap and self._heap[0][0] <= time:
            self._step()
        self.time = max(self.time, time)

    def run_till(self, holds: Callable[[], object], within: float, step: float) -> bool:
        """Run until `holds`, looking every `step` virtual seconds. False where it does not after `within` seconds."""
        end = self.time + within
        while not holds():
            if self.time > end:
                return False
            self.run_until(self.time + step)
        return True

    def _step(self) -> None:
        self.time, _, handle = heapq.heappop(self._heap)
        if handle.callback is not None:
            self.events += 1
            handle.callback()

    def trace(self, *facts: Any) -> None:
        """Add facts to the running hash."""
        self._trace.update(repr((round(self.time, 9), facts)).encode())

    def trace_hash(self) -> str:
        """The hash of everything that was traced."""
        return self._trace.hexdigest()


class SimRuntime:
    """One process's view of the loop: its own dice, its own clocks, pauses, and an end.

    `drift` is how much faster than the loop its clock runs; `wall_offset_ms` is how wrong its wall clock is.
    While it is paused nothing of it runs; what came due meanwhile runs when it goes on, in order, late.
    """

    def __init__(self, loop: SimLoop, name: str, drift: float = 0.0, wall_offset_ms: int = 0) -> None:
        self.loop, self.name = loop, name
        self.drift, self.wall_offset_ms = drift, wall_offset_ms
        self.random = random.Random(loop.seed * 1_000_003 + zlib.crc32(name.encode()))
        self.paused_until = 0.0
        self.alive = True
        self._held: list[SimHandle] = []
        self.on_killed: Callable[[], None] = self.kill

    def now(self) -> float:
        """Seconds on this process's monotonic clock."""
        return 1000.0 + self.loop.time * (1.0 + self.drift)

    def wall_ms(self) -> int:
        """Milliseconds on its wall clock."""
        return WALL_START_MS + self.wall_offset_ms + int(self.loop.time * 1000)

    def call_soon(self, callback: Callable[[], None]) -> SimHandle:
        """Run at this virtual moment, after what is already due."""
        return self._at(self.loop.time, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> SimHandle:
        """Run in `delay` of this process's seconds."""
        return self._at(self.loop.time + delay / (1.0 + self.drift), callback)

    def offload(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """The work happens at one later moment, and is reported at another."""

        def report(result: T | BaseException) -> None:
            self.call_later(self.loop.random.uniform(0.0001, 0.005), lambda: done(result))

        def run() -> None:
            try:
                result: T | BaseException = work()
            except Exception as error:
                result = error
            report(result)

        self.call_later(self.loop.random.uniform(0.0001, 0.02), run)

    def deliver(self, callback: Callable[[], object]) -> None:
        """Run something that came from outside, now or when the pause ends; for the network."""
        if self.paused_until > self.loop.time:
            self._held.append(SimHandle(callback))
        else:
            self._run(callback)

    def _run(self, callback: Callable[[], object]) -> None:
        """Run a callback of this process, unless it is dead; it may die in the middle of one."""
        if self.alive:
            try:
                callback()
            except Killed:
                self.on_killed()

    def _at(self, time: float, callback: Callable[[], None]) -> SimHandle:
        handle = SimHandle(callback)

        def run() -> None:
            if self.paused_until > self.loop.time:
                handle.callback = callback
                self._held.append(handle)
            else:
                self._run(callback)

        handle.callback = run
        self.loop.push(time, handle)
        return handle

    def pause(self, seconds: float) -> None:
        """Stop for a while, as SIGSTOP does."""
        until = self.loop.time + seconds
        if until > self.paused_until:
            self.paused_until = until
            self.loop.call_at(until, self._pause_over)

    def _pause_over(self) -> None:
        if self.paused_until <= self.loop.time:
            self.resume()

    def resume(self) -> None:
        """Go on, as after SIGCONT: first with all that came due meanwhile, in order, less what was cancelled."""
        self.paused_until = self.loop.time
        held, self._held = self._held, []
        for handle in held:
            if handle.callback is not None:
                self._run(handle.callback)

    def kill(self) -> None:
        """End, as SIGKILL does: nothing of this process runs any more."""
        self.alive = False
