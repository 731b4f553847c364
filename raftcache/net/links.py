"""The links between nodes on TCP: one per pair of nodes, dialled by the smaller node id.

Implements `api.PeerLinks`. A link is up from the end of the mutual handshake until its connection is reported
closed, and what it brings is whole, in order and without duplicates (hazard 26), because a connection that lost
a frame is never used again: an overfull buffer, a frame that could not be handled, a healed isolation all end in a
new connection. When a peer connects anew its older connection is reported down and detached first, so that
nothing of it is delivered afterwards (hazard 29).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Final

from raftcache.errors import Overloaded
from raftcache.net.api import LinkReceiver, Peer
from raftcache.net.connection import Connection, Credentials
from raftcache.net.dialer import Dialer
from raftcache.net.heartbeat import Heartbeat
from raftcache.net.listener import Listener
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.handshake import Identity

log = logging.getLogger(__name__)

PING_EVERY_MS = 500
"""An idle link is pinged this often and, with `heartbeat.SILENT_TICKS_LIMIT`, dropped after 2 s of silence."""
FRAME_LIMIT_BYTES: Final = 64 << 20
BUFFER_LIMIT_BYTES = 64 << 20
"""What may wait for a peer that does not read, before the frame at hand; over it the link is dropped."""


class AsyncioLinks:
    """All links of one node.

    `counters` counts `links_up`, `links_down`, `links_replaced`, `buffer_overflows` and `frames_dropped` (sent
    where no link was up). `port` is the one truly listened on after `start`.
    """

    def __init__(
        self,
        runtime: AsyncioRuntime,
        identity: Peer,
        host: str,
        port: int,
        secret: bytes,
        cluster_id: str,
        field: str = "peer_address",
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._runtime = runtime
        self._self = identity
        self._credentials = Credentials(secret, cluster_id, Identity("node", *identity))
        self._receiver: LinkReceiver | None = None
        self._addresses: dict[str, tuple[str, int]] = {}
        self._dialers: dict[str, Dialer] = {}
        self._retired: set[Dialer] = set()
        self._live: dict[str, Connection] = {}
        self._heartbeat = Heartbeat(runtime, PING_EVERY_MS)
        self._isolated = self._running = False
        self._listener = Listener(
            runtime,
            self._credentials,
            field,
            host,
            port,
            FRAME_LIMIT_BYTES,
            self._accepted,
            self._admit_caller,
        )

    @property
    def port(self) -> int:
        """The peer port."""
        return self._listener.port

    def attach(self, receiver: LinkReceiver) -> None:
        """Name the receiver, before `start`."""
        self._receiver = receiver

    async def start(self) -> None:
        """Listen and dial. Raises `protected.BindRefused`."""
        assert self._receiver is not None, "attach comes before start"
        await self._listener.start()
        self._running = True
        for dialer in self._dialers.values():
            dialer.start()

    async def stop(self) -> None:
        """Close everything; returns when no task and no socket is left. Nothing is reported any more."""
        self._running = False
        for connection in list(self._live.values()):
            self._heartbeat.remove(connection)
            connection.detach()
        self._live.clear()
        for node_id in list(self._dialers):
            self._retire(node_id)
        await asyncio.gather(self._listener.stop(), *(dialer.wait_stopped() for dialer in self._retired))

    def connected(self) -> list[Peer]:
        """The peers whose links are up."""
        return [Peer(*connection.identity[1:]) for connection in self._live.values() if connection.identity]

    def set_address(self, node_id: str, host: str, port: int) -> None:
        """Make `node_id` a known peer, or move it. A new address ends the link to the old one."""
        if node_id == self._self.node_id or self._addresses.get(node_id) == (host, port):
            return
        moved = node_id in self._addresses
        self._addresses[node_id] = (host, port)
        if self._self.node_id > node_id:
            return  # The smaller node id dials.
        if moved:
            self._retire(node_id)
            self._drop(node_id)
        dialer = Dialer(self._runtime, host, port, lambda owner: self._outgoing(node_id, owner), self._link_ready)
        dialer.paused = self._isolated
        self._dialers[node_id] = dialer
        if self._running:
            dialer.start()

    def forget(self, node_id: str) -> None:
        """`node_id` is a stranger from now on; its link goes down."""
        self._addresses.pop(node_id, None)
        self._retire(node_id)
        self._drop(node_id)

    def send(self, node_id: str, *frame: bytes) -> None:
        """Send one frame, whose pieces these are; dropped and counted where no link is up."""
        connection = self._live.get(node_id)
        size_bytes = sum([len(piece) for piece in frame])
        if connection is None or connection.closing:
            self.counters["frames_dropped"] += 1
        elif connection.buffered_bytes > BUFFER_LIMIT_BYTES or size_bytes > FRAME_LIMIT_BYTES:
            self._overflow(node_id, connection, size_bytes)
        else:
            connection.send_frame(*frame)

    def isolate(self, on: bool) -> None:
        """A fault drill: while on, nothing passes to or from any peer, handshakes included, and no socket closes
        for it. Off drops all connections, since frames were lost on them, and dials anew."""
        self._isolated = on
        self._listener.blackhole(on)
        for dialer in self._dialers.values():
            dialer.paused = on
            self._blackhole(dialer.connection, on)
        for connection in self._live.values():
            self._blackhole(connection, on)
        for dialer in self._dialers.values() if self._running and not on else ():
            dialer.start()

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """ConnectionOwner: deliver."""
        assert connection.identity is not None and self._receiver is not None
        node_id, deliver = connection.identity.node_id, self._receiver.frame_received
        for frame in frames:
            if connection.closing:
                return
            deliver(node_id, frame)

    def connection_ready(self, connection: Connection) -> None:
        """ConnectionOwner: never called, since listener and dialers own connections until they are ready."""

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """ConnectionOwner: the link is down."""
        assert connection.identity is not None
        node_id = connection.identity.node_id
        if self._live.get(node_id) is connection:
            self._link_gone(node_id, error)
        dialer = self._dialers.get(node_id)
        if dialer is not None and dialer.connection is connection:
            dialer.retry()

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """ConnectionOwner: `send` looks at the buffer by itself."""

    def _accepted(self, connection: Connection) -> None:
        connection.owner = self
        self._link_up(connection)

    def _link_ready(self, connection: Connection) -> None:
        connection.owner = self
        self._link_up(connection)

    def _link_up(self, connection: Connection) -> None:
        assert connection.identity is not None and self._receiver is not None
        node_id = connection.identity.node_id
        older = self._live.get(node_id)
        if older is not None and older.serial > connection.serial:
            connection.detach()
            return
        if older is not None:
            self.counters["links_replaced"] += 1
            older.detach()
            self._link_gone(node_id, None)
        self._live[node_id] = connection
        self._heartbeat.add(connection)
        self.counters["links_up"] += 1
        log.info("link to %s is up (%s)", node_id, connection.remote)
        self._receiver.link_up(Peer(*connection.identity[1:]))

    def _link_gone(self, node_id: str, error: Exception | None) -> None:
        assert self._receiver is not None
        self._heartbeat.remove(self._live.pop(node_id))
        self.counters["links_down"] += 1
        log.info("link to %s is down: %s", node_id, error or "closed")
        self._receiver.link_down(node_id)

    def _admit_caller(self, caller: Identity) -> str | None:
        """The listener's judgement of an authenticated caller."""
        if caller.role != "node":
            return f"role {caller.role!r} has no business on a peer port"
        if caller.node_id == self._self.node_id:
            return f"node id {caller.node_id!r} is this node's own"
        if caller.node_id not in self._addresses:
            return f"node id {caller.node_id!r} is not a known peer of {self._self.node_id!r}"
        if caller.node_id > self._self.node_id:
            return f"the smaller node id dials: {self._self.node_id!r}, not {caller.node_id!r}"
        return None

    def _outgoing(self, node_id: str, dialer: Dialer) -> Connection:
        host, port = dialer.address

        def admit(server: Identity) -> str | None:
            if server[:2] == ("node", node_id):
                return None
            return f"{host}:{port} should be node {node_id!r} and says it is {server.role} {server.node_id!r}"

        connection = Connection(self._runtime, self._credentials.as_client(admit), FRAME_LIMIT_BYTES, dialer)
        connection.blackholed = self._isolated
        return connection

    def _overflow(self, node_id: str, connection: Connection, frame_bytes: int) -> None:
        self.counters["buffer_overflows"] += 1
        error = Overloaded(
            f"a frame of {frame_bytes} bytes for {node_id} behind {connection.buffered_bytes} buffered bytes; the "
            f"limits are {FRAME_LIMIT_BYTES} and {BUFFER_LIMIT_BYTES}"
        )
        log.warning("link dropped: %s", error)
        connection.close(error)

    def _blackhole(self, connection: Connection | None, on: bool) -> None:
        if connection is not None:
            connection.blackholed = on
            if not on:
                connection.close()

    def _drop(self, node_id: str) -> None:
        if node_id in self._live:
            self._live[node_id].close()

    def _retire(self, node_id: str) -> None:
        """Let a dialer go, and keep it until its task and socket are gone."""
        dialer = self._dialers.pop(node_id, None)
        if dialer is not None:
            dialer.stop()
            self._retired = {old for old in self._retired if not old.gone} | {dialer}
