"""The connection under an RPC channel."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from raftcache.errors import RaftcacheError, Unavailable
from raftcache.net.connection import Connection, Credentials, as_raftcache_error, dial
from raftcache.net.dialer import Backoff
from raftcache.net.heartbeat import Heartbeat
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.rpc import RPC_FRAME_LIMIT_BYTES, MalformedMessage

log = logging.getLogger(__name__)

PING_EVERY_MS = 1000


class LinkUser(Protocol):
    """What stands above: a channel."""

    def link_up(self) -> None:
        """Frames can leave, for the first time or again."""

    def link_down(self, error: RaftcacheError) -> None:
        """The connection is gone, or could not be made."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Frames. Raises `MalformedMessage`, which ends the connection."""


class ChannelLink:
    """A channel's connection: made on demand, lost, made again when the next call comes."""

    def __init__(self, user: LinkUser, host: str, port: int, credentials: Credentials, runtime: AsyncioRuntime) -> None:
        self._user = user
        self._host, self._port = host, port
        self._credentials = credentials
        self._runtime = runtime
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(runtime.random)
        self._heartbeat = Heartbeat(runtime, PING_EVERY_MS)
        self._not_before = 0.0
        self._last_error: RaftcacheError | None = None
        self._blocked = self._isolated = self._closed = False

    @property
    def gone(self) -> bool:
        """Whether neither task nor socket is left."""
        connection = self._connection
        socket_open = connection is not None and connection.opened and not connection.done.done()
        return not socket_open and (self._task is None or self._task.done())

    def objection(self) -> RaftcacheError | None:
        """Why a call cannot even wait: the last attempt failed a moment ago."""
        if self._last_error is not None and self._runtime.now() < self._not_before:
            return self._last_error
        return None

    def ready_to_send(self) -> bool:
        """Whether frames can leave now. Where there is no connection, one is begun."""
        connection = self._connection
        if connection is not None:
            return connection.identity is not None and not connection.closing and not self._blocked
        if not self._closed and (self._task is None or self._task.done()):
            self._task = self._runtime.loop.create_task(self._dial())
        return False

    def write(self, data: bytes) -> None:
        """Send packed frames."""
        assert self._connection is not None
        self._connection.write(data)

    def isolate(self, on: bool) -> None:
        """A fault drill: deaf and dumb while on. Off drops the connection, since frames were lost on it."""
        self._isolated = on
        if self._connection is not None:
            self._connection.blackholed = on
            if not on:
                self._connection.close(Unavailable("the isolation of this node has ended"))

    def close(self) -> None:
        """Stop dialling and drop the connection without a report."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._heartbeat.remove(self._connection)
            self._connection.detach()

    async def wait_closed(self) -> None:
        """Wait until neither task nor socket is left."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None and self._connection.opened:
            await self._connection.done

    def connection_ready(self, connection: Connection) -> None:
        """ConnectionOwner."""
        self._backoff.reset()
        self._last_error = None
        self._heartbeat.add(connection)
        self._user.link_up()

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """ConnectionOwner: replies; one that makes no sense ends the connection."""
        try:
            self._user.frames_received(frames)
        except MalformedMessage as error:
            log.warning("connection to %s closed: %s", connection.remote, error)
            connection.close(Unavailable(error.message))

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """ConnectionOwner: lost, or refused in the handshake."""
        self._heartbeat.remove(connection)
        if connection is self._connection:
            lost = f"the connection to {self._host}:{self._port} was lost"
            self._down(as_raftcache_error(error, lost), failed_attempt=connection.identity is None)

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """ConnectionOwner: what cannot leave now stays unsent, where its fate is definite."""
        self._blocked = blocked
        if not blocked:
            self._user.link_up()

    async def _dial(self) -> None:
        connection = self._connection = Connection(
            self._runtime, self._credentials.as_client(), RPC_FRAME_LIMIT_BYTES, self
        )
        connection.blackholed, self._blocked = self._isolated, False
        try:
            await dial(self._runtime, connection, self._host, self._port)
        except RaftcacheError as error:
            connection.detach()
            self._down(error, failed_attempt=True)

    def _down(self, error: RaftcacheError, failed_attempt: bool) -> None:
        self._connection = None
        if failed_attempt:
            self._last_error = error
            self._not_before = self._runtime.now() + self._backoff.next_delay()
        self._user.link_down(error)
