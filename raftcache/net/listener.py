"""A port that authenticates before it listens to anybody: the peer port and the RPC port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from raftcache.errors import Overloaded
from raftcache.net.connection import Connection, Credentials
from raftcache.net.protected import listening_socket, require_secret
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Admit

log = logging.getLogger(__name__)

STRANGERS_LIMIT = 128
"""How many connections may be in their handshake. The oldest makes room: an honest handshake takes milliseconds."""
CONNECTIONS_LIMIT = 8192
"""How many connections a port serves."""


class Listener:
    """Owns a listening socket and every connection made to it.

    `accept` is called with each connection that has authenticated and must set its `owner`. `field` names the
    address in errors. `refused` counts those turned away; each leaves a log line.
    """

    def __init__(
        self,
        runtime: AsyncioRuntime,
        credentials: Credentials,
        field: str,
        host: str,
        port: int,
        frame_limit_bytes: int,
        accept: Callable[[Connection], None],
        admit: Admit | None = None,
    ) -> None:
        self.refused = 0
        self.blackholed = False
        self.host, self.port = host, port
        self._field = field
        self._runtime = runtime
        self._credentials = credentials
        self._frame_limit_bytes = frame_limit_bytes
        self._accept = accept
        self._admit = admit
        self._serial = 0
        self._server: asyncio.Server | None = None
        self._strangers: dict[Connection, None] = {}
        self._connections: set[Connection] = set()

    async def start(self) -> None:
        """Listen. Raises `BindRefused` in protected mode or where the address is taken."""
        require_secret(self._field, self.host, self._credentials.secret)
        sock = listening_socket(self._field, self.host, self.port)
        self.port = sock.getsockname()[1]
        self._server = await self._runtime.loop.create_server(self._connect, sock=sock)

    async def stop(self) -> None:
        """Close the port and all its connections, and wait until the sockets are gone."""
        if self._server is not None:
            self._server.close()
        leaving = list(self._connections)
        for connection in leaving:
            connection.detach()
        await asyncio.gather(*(connection.done for connection in leaving))
        if self._server is not None:
            await self._server.wait_closed()

    def blackhole(self, on: bool) -> None:
        """While on, connections old and new are neither heard nor answered; off drops them all."""
        self.blackholed = on
        for connection in list(self._connections):
            connection.blackholed = on
            if not on:
                connection.close()

    def connection_ready(self, connection: Connection) -> None:
        """ConnectionOwner: a stranger has become known."""
        self._strangers.pop(connection, None)
        if len(self._connections) - len(self._strangers) > CONNECTIONS_LIMIT:
            connection.close(Overloaded(f"{self._field}: {CONNECTIONS_LIMIT} connections are served already"))
            return
        self._accept(connection)

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """ConnectionOwner: never called, since `accept` names another owner before the first frame."""

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """ConnectionOwner: a handshake never fills a buffer."""

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """ConnectionOwner: a stranger went, or was sent away."""
        self.refused += 1
        log.warning("%s: connection from %s closed before it authenticated: %s", self._field, connection.remote, error)

    def _connect(self) -> Connection:
        if len(self._strangers) >= STRANGERS_LIMIT:
            oldest = next(iter(self._strangers))
            self._strangers.pop(oldest)
            oldest.close(Overloaded(f"over {STRANGERS_LIMIT} connections are in their handshake"))
        handshake = self._credentials.as_server(self._admit)
        connection = Connection(self._runtime, handshake, self._frame_limit_bytes, self)
        self._serial += 1
        connection.serial = self._serial
        connection.blackholed = self.blackholed
        self._strangers[connection] = None
        self._connections.add(connection)
        connection.done.add_done_callback(lambda _: self._forget(connection))
        return connection

    def _forget(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        self._connections.discard(connection)
