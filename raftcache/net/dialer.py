"""Keeps one outgoing connection to an address: dials, backs off, dials again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from raftcache.clock import Handle
from raftcache.errors import RaftcacheError
from raftcache.net.connection import Connection, dial
from raftcache.net.runtime import AsyncioRuntime

log = logging.getLogger(__name__)

BACKOFF_MIN_MS = 50
BACKOFF_MAX_MS = 500


class Backoff:
    """Doubles from `BACKOFF_MIN_MS` to `BACKOFF_MAX_MS`, each delay drawn from its upper half."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._ceiling_ms = BACKOFF_MIN_MS

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt."""
        self._ceiling_ms = min(self._ceiling_ms * 2, BACKOFF_MAX_MS)
        return self._dice.uniform(self._ceiling_ms / 2, self._ceiling_ms) / 1000

    def reset(self) -> None:
        """The attempt worked."""
        self._ceiling_ms = BACKOFF_MIN_MS


class Dialer:
    """Dials `host:port` until told to stop, with one connection at a time.

    `make` builds a connection that this dialer owns until it is ready; then `on_ready` is called with it and must
    set its owner, who calls `retry` when it has closed. A failure is logged once until another one takes its place.
    """

    def __init__(
        self,
        runtime: AsyncioRuntime,
        host: str,
        port: int,
        make: Callable[[Dialer], Connection],
        on_ready: Callable[[Connection], None],
    ) -> None:
        self.address = (host, port)
        self.paused = False
        self.connection: Connection | None = None
        self._runtime = runtime
        self._make = make
        self._on_ready = on_ready
        self._backoff = Backoff(runtime.random)
        self._timer: Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._last_failure = ""

    @property
    def gone(self) -> bool:
        """Whether neither task nor socket is left."""
        socket_open = self.connection is not None and self.connection.opened and not self.connection.done.done()
        return not socket_open and (self._task is None or self._task.done())

    def start(self) -> None:
        """Dial now."""
        self._backoff.reset()
        self._dial_after(0.0)

    def retry(self) -> None:
        """Dial again after a back-off."""
        self._dial_after(self._backoff.next_delay())

    def stop(self) -> None:
        """Dial no more and drop the connection without a report."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self.connection is not None:
            self.connection.close()

    async def wait_stopped(self) -> None:
        """After `stop`: wait until neither task nor socket is left."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self.connection is not None and self.connection.opened:
            await self.connection.done

    def connection_ready(self, connection: Connection) -> None:
        """ConnectionOwner: it goes to its new owner."""
        self._backoff.reset()
        self._last_failure = ""
        self._on_ready(connection)

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """ConnectionOwner: never called, since `on_ready` names another owner before the first frame."""

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """ConnectionOwner: a handshake never fills a buffer."""

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """ConnectionOwner: closed before it was ready."""
        if connection is self.connection:
            self._failed(str(error) if error is not None else "closed by the other end")

    def _dial_after(self, delay: float) -> None:
        if not self._stopped:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._runtime.call_later(delay, self._dial)

    def _dial(self) -> None:
        if self.paused:
            self.retry()
        elif self._idle():
            self._task = self._runtime.loop.create_task(self._connect())

    def _idle(self) -> bool:
        """Whether nothing is under way that would end in `retry` by itself."""
        connection = self.connection
        connected = connection is not None and connection.opened and not connection.closing
        return not connected and (self._task is None or self._task.done())

    async def _connect(self) -> None:
        self.connection = self._make(self)
        try:
            await dial(self._runtime, self.connection, *self.address)
        except RaftcacheError as error:
            self._failed(error.message)

    def _failed(self, why: str) -> None:
        if why != self._last_failure and not self._stopped:
            log.warning("no link to %s:%d: %s", *self.address, why)
        self._last_failure = why
        self.retry()
