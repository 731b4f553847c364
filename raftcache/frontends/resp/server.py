"""The listening socket of a Redis port, and the asyncio end of its connections. Only bytes are carried here."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final, cast

from raftcache.clock import Handle
from raftcache.frontends.resp.encoding import error
from raftcache.frontends.resp.session import Session
from raftcache.frontends.resp.state import Front
from raftcache.net.protected import listening_socket

log = logging.getLogger("raftcache.resp")

CONNECTIONS_LIMIT = 8192
"""Connections that are served at a time; one more is told so and closed, as Redis does."""
OUTPUT_PAUSE_BYTES: Final = 1 << 20
"""Replies that the client has not taken: from here on nothing more of its is executed, until it has."""
OUTPUT_LIMIT_BYTES: Final = 64 << 20
"""The same, of commands that were under way already: over it the connection is given up."""
SLOW_READER_SECONDS = 60.0
"""How long a client may leave its replies lying."""
STOP_SECONDS = 2.0
"""How long commands under way may still take once the server stops."""


class RespServer:
    """`front` on one address. `await start()`, then `await stop()`. `field` names the address in errors."""

    def __init__(
        self, front: Front, host: str, port: int, field: str, connections_limit: int = CONNECTIONS_LIMIT
    ) -> None:
        self.front, self.host, self.port, self._field = front, host, port, field
        self.connections_limit = connections_limit
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._due: list[Connection] = []

    def put_off(self, connection: Connection) -> None:
        """Give a connection its turn at the end of this one of the loop: one callback for all of them."""
        if not self._due:
            self.front.runtime.call_soon(self._turns)
        self._due.append(connection)

    def _turns(self) -> None:
        due, self._due = self._due, []
        for connection in due:
            try:
                connection.turn()
            except Exception:  # A defect of ours costs this connection, and none of the others.
                log.exception("a connection's turn failed")
                connection.drop("defect")

    async def start(self) -> None:
        """Listen. Raises BindRefused."""
        sock = listening_socket(self._field, self.host, self.port)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=sock)

    async def stop(self) -> None:
        """Take no more commands, give those under way a moment, close. Harmless when not started."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        leaving = [connection.leave() for connection in list(self.connections)]
        if leaving:
            await asyncio.wait(leaving, timeout=STOP_SECONDS)
        for connection in list(self.connections):
            connection.drop("stopped")
        if leaving:
            await asyncio.wait(leaving)
        await server.wait_closed()


class Connection(asyncio.Protocol):
    """A session and its transport. `done` completes when the socket is gone."""

    def __init__(self, server: RespServer) -> None:
        self._server, self._front = server, server.front
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._turn_due = False
        self._patience: Handle | None = None
        self._reading = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave(self) -> asyncio.Future[None]:
        """Answer what is under way, and close."""
        if self._session is not None:
            self._session.leave()
            self._after()
        return self.done

    def drop(self, reason: str) -> None:
        """Close now."""
        self._front.metrics.dropped[reason] += 1
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._front.clients) >= self._server.connections_limit:
            self._front.metrics.turned_away += 1
            self._transport.write(error("ERR max number of clients reached"))
            return self._transport.close()
        self._front.metrics.accepted += 1
        client = self._front.new_client()
        client.address, client.local_address = (_shown(transport, name) for name in ("peername", "sockname"))
        self._session = Session(self._front, client, self._schedule)
        self._transport.set_write_buffer_limits(high=OUTPUT_PAUSE_BYTES)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        if self._session is not None:
            self._session.receive(data)
            self._after()

    def eof_received(self) -> bool:
        """asyncio: the client sends no more. True keeps the other direction open for what it asked."""
        if self._session is None:
            return False
        self._session.end_of_input()
        self._after()
        return True

    def pause_writing(self) -> None:
        """asyncio: replies pile up."""
        if self._session is None or self._session.output_blocked:
            return
        self._session.output_blocked = True
        self._front.metrics.stalls["output"] += 1
        self._lose_patience()

    def resume_writing(self) -> None:
        """asyncio: the client has taken its replies."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._session is not None:
            self._session.output_blocked = False
            self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the socket is gone."""
        if self._patience is not None:
            self._patience.cancel()
        if self._session is not None:
            self._session.close()
            self._front.clients.pop(self._session.client.id, None)
        self._server.connections.discard(self)
        if not self.done.done():
            self.done.set_result(None)

    # -- turns -----------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Go on at the end of this turn of the loop: however many replies come until then leave in one write."""
        if not self._turn_due:
            self._turn_due = True
            self._server.put_off(self)

    def turn(self) -> None:
        """The server: this turn of the loop ends."""
        self._turn_due = False
        if self._session is not None and self._transport is not None and not self._transport.is_closing():
            if self._session.has_more:
                self._session.go_on()
            self._after()

    def _after(self) -> None:
        """Send what there is, and see what comes next."""
        session, transport = self._session, self._transport
        assert session is not None and transport is not None
        if transport.is_closing():
            return
        data = session.take()
        if data:
            transport.write(data)
        if session.broken:
            return self._give_up(session.broken)
        if session.output_blocked and transport.get_write_buffer_size() > OUTPUT_LIMIT_BYTES:
            return self._give_up("output_limit")
        if session.over:
            self._lose_patience()
            return transport.close()
        if session.unfinished:
            self._schedule()
        if session.hungry != self._reading:
            self._reading = session.hungry
            (transport.resume_reading if self._reading else transport.pause_reading)()

    def _lose_patience(self) -> None:
        """The client has replies to take: it gets so much time for it."""
        if self._patience is None:
            self._patience = self._front.runtime.call_later(SLOW_READER_SECONDS, lambda: self.drop("slow_reader"))

    def _give_up(self, reason: str) -> None:
        assert self._session is not None
        client = self._session.client
        log.warning("redis client %s (%r) is dropped: %s", client.address, client.name, reason)
        self.drop(reason)


def _shown(transport: asyncio.BaseTransport, name: str) -> str:
    address = transport.get_extra_info(name)
    return f"{address[0]}:{address[1]}" if address else "?"
