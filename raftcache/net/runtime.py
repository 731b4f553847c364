"""A node's `Runtime` on a real machine: an asyncio loop, CLOCK_BOOTTIME, and a few threads."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from raftcache.clock import Handle, boottime, system_wall_ms
from raftcache.errors import Overloaded

T = TypeVar("T")
log = logging.getLogger(__name__)

OFFLOAD_THREADS: Final = 4
OFFLOAD_LIMIT = 1024
"""How many pieces of work may be under way or waiting off the loop."""


class AsyncioRuntime:
    """Implements `clock.Runtime` on `loop`, which must be the running one when callbacks are due.

    `seed` None takes the machine's entropy. It becomes the loop's exception handler until `close`: what a
    callback raises is logged and counted in `callback_errors`, and the loop goes on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int | None = None) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.callback_errors = 0
        self._threads = ThreadPoolExecutor(OFFLOAD_THREADS, thread_name_prefix="raftcache-offload")
        self._offloaded = 0
        self._closed = False
        loop.set_exception_handler(self._callback_failed)

    def now(self) -> float:
        """Seconds on CLOCK_BOOTTIME."""
        return boottime()

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return system_wall_ms()

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        """Run `callback` after what is already due in this loop turn."""
        return self.loop.call_soon(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run `callback` in `delay` seconds."""
        return self.loop.call_later(delay, callback)

    def offload(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Run `work` on a thread, then `done` on the loop; `done` gets `Overloaded` over `OFFLOAD_LIMIT`."""
        if self._closed:
            return
        if self._offloaded >= OFFLOAD_LIMIT:
            error = Overloaded(f"work off the loop: {self._offloaded} under way, the limit is {OFFLOAD_LIMIT}")
            self.loop.call_soon(done, error)
            return
        self._offloaded += 1
        self._threads.submit(work).add_done_callback(lambda future: self._hand_back(future, done))

    def close(self) -> None:
        """Wait for the work that runs, drop what waits. No `done` is called any more."""
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        if not self.loop.is_closed():
            self.loop.set_exception_handler(None)

    def _hand_back(self, future: Future[T], done: Callable[[T | BaseException], None]) -> None:
        # On the worker's thread. The loop cannot close before `close` has waited for that thread.
        if not self._closed:
            self.loop.call_soon_threadsafe(self._deliver, future, done)

    def _deliver(self, future: Future[T], done: Callable[[T | BaseException], None]) -> None:
        self._offloaded -= 1
        if self._closed:
            return
        try:
            result: T | BaseException = future.result()
        except (Exception, CancelledError) as error:
            result = error
        done(result)

    def _callback_failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.callback_errors += 1
        where = context.get("handle") or context.get("task") or context.get("protocol") or ""
        log.error("%s %s", context.get("message", "a callback failed"), where, exc_info=context.get("exception"))
