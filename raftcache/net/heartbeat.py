"""Pings on idle connections, and the end of silent ones (hazard 13).

Time is counted in ticks of this process, not by the clock: after a pause of the whole process one late tick is
one tick, and what the sockets hold is read before anybody is thought dead.
"""

from __future__ import annotations

from raftcache.clock import Handle, Runtime
from raftcache.errors import Unavailable
from raftcache.net.connection import Connection

SILENT_TICKS_LIMIT = 4
"""A connection that is silent for this many whole ticks is dropped."""


class Heartbeat:
    """Watches a set of connections with one timer. Both ends ping, so neither needs to answer."""

    def __init__(self, runtime: Runtime, every_ms: int) -> None:
        self.dropped = 0
        self._runtime = runtime
        self._every_ms = every_ms
        self._connections: dict[Connection, None] = {}
        self._timer: Handle | None = None

    def add(self, connection: Connection) -> None:
        """Watch a connection until it closes or is removed."""
        self._connections[connection] = None
        if self._timer is None:
            self._arm()

    def remove(self, connection: Connection) -> None:
        """Watch it no more. The timer stops with the last one."""
        self._connections.pop(connection, None)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._runtime.call_later(self._every_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._arm()
        for connection in list(self._connections):
            self._look_at(connection)

    def _look_at(self, connection: Connection) -> None:
        connection.silent_ticks = 0 if connection.heard else connection.silent_ticks + 1
        connection.heard = False
        if connection.silent_ticks >= SILENT_TICKS_LIMIT:
            self.dropped += 1
            silence_ms = SILENT_TICKS_LIMIT * self._every_ms
            connection.close(Unavailable(f"{connection.remote} was silent for {silence_ms} ms"))
            self.remove(connection)
        elif not connection.sent:
            connection.ping()
        connection.sent = False
