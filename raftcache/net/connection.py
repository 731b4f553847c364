"""One TCP connection: first the handshake, then frames. Only bytes are carried here; owners decide.

A connection has one owner at a time. The one it starts with learns of the handshake's end and may hand it on by
setting `owner`; `detach` takes it away for good, after which nothing that the socket still delivers is seen.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from typing import Final, NamedTuple, Protocol, cast

from raftcache.clock import Handle
from raftcache.errors import RaftcacheError, Unauthenticated, Unavailable
from raftcache.net.runtime import AsyncioRuntime
from raftcache.wire.frames import PING, FrameReader, FrameTooLarge, frame_header, pack_frame
from raftcache.wire.handshake import NONCE_BYTES, Admit, ClientHandshake, Identity, ServerHandshake

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_MS = 2000
DIAL_TIMEOUT_MS: Final = 1000


class Credentials(NamedTuple):
    """What one end brings to a handshake."""

    secret: bytes
    cluster_id: str
    identity: Identity

    def as_client(self, admit: Admit | None = None) -> ClientHandshake:
        """The dialling side's handshake, with a fresh nonce."""
        return ClientHandshake(*self, nonce=secrets.token_bytes(NONCE_BYTES), admit=admit)

    def as_server(self, admit: Admit | None = None) -> ServerHandshake:
        """The listening side's handshake, with a fresh nonce."""
        return ServerHandshake(*self, nonce=secrets.token_bytes(NONCE_BYTES), admit=admit)


class ConnectionOwner(Protocol):
    """Gets what a connection brings, always from the event loop and never inside a call of its own."""

    def connection_ready(self, connection: Connection) -> None:
        """Both ends have proved themselves; `connection.identity` is set."""

    def frames_received(self, connection: Connection, frames: list[bytes]) -> None:
        """At least one whole frame, in order; pings are left out."""

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        """The connection is gone. `error` None: the other end closed it in good order."""

    def writing_blocked(self, connection: Connection, blocked: bool) -> None:
        """The other end reads too slowly, or reads again."""


class Connection(asyncio.Protocol):
    """The asyncio protocol of both ends. `blackholed` makes it deaf and dumb without closing it (a fault drill).

    `heard` and `sent` are set by traffic and cleared by the heartbeat. `done` completes when the socket is gone.
    `serial` counts the connections of one listener in the order in which they were made.
    """

    def __init__(
        self,
        runtime: AsyncioRuntime,
        handshake: ClientHandshake | ServerHandshake,
        frame_limit_bytes: int,
        owner: ConnectionOwner,
    ) -> None:
        self.owner: ConnectionOwner | None = owner
        self.identity: Identity | None = None
        self.remote = "?"
        self.serial = 0
        self.closing = self.blackholed = False
        self.heard, self.sent, self.silent_ticks = True, True, 0
        self.done: asyncio.Future[None] = runtime.loop.create_future()
        self._runtime = runtime
        self._handshake = handshake
        self._reader = FrameReader(frame_limit_bytes)
        self._transport: asyncio.Transport | None = None
        self._deadline: Handle | None = None
        self._error: Exception | None = None

    @property
    def opened(self) -> bool:
        """Whether there ever was a socket; `done` completes only then."""
        return self._transport is not None

    @property
    def buffered_bytes(self) -> int:
        """How much was sent and is not yet taken by the operating system."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, *data: bytes) -> None:
        """Hand over frames, already packed, in one write; several pieces are not put together first. Dropped while
        closing."""
        if self._transport is not None and not self.closing and not self.blackholed:
            self.sent = True
            if len(data) == 1:
                self._transport.write(data[0])
            else:
                self._transport.writelines(data)

    def send_frame(self, *pieces: bytes) -> None:
        """Send one frame, whose pieces these are, in one write."""
        if len(pieces) == 1:
            self.write(pack_frame(pieces[0]))
        else:
            self.write(frame_header(sum([len(piece) for piece in pieces])), *pieces)

    def ping(self) -> None:
        """Show life."""
        self.write(PING)

    def pause_reading(self, paused: bool) -> None:
        """Stop or go on taking what the other end sends."""
        if self._transport is not None and not self.closing:
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def close(self, error: Exception | None = None) -> None:
        """Drop the connection now; the owner hears of it in a later loop turn."""
        self._end(error, last_words=b"")

    def detach(self, error: Exception | None = None) -> None:
        """Drop the connection and its owner: nothing is reported any more."""
        self.owner = None
        self.close(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is open."""
        self._transport = cast(asyncio.Transport, transport)
        if self.closing:
            self._transport.abort()
            return
        address = transport.get_extra_info("peername")
        self.remote = f"{address[0]}:{address[1]}" if address else "?"
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = self._runtime.call_later(HANDSHAKE_TIMEOUT_MS / 1000, self._handshake_late)
        if hello := self._handshake.data_to_send():
            self.write(hello)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        if self.closing or self.blackholed:
            return
        self.heard = True
        try:
            if self.identity is None:
                data = self._shake_hands(data)
            if data and not self.closing:
                self._cut_frames(data)
        except Exception as error:
            # A frame that was not handled is a lost frame, and those are lost only together with their link.
            log.exception("connection with %s: a received frame could not be handled", self.remote)
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the socket is gone."""
        self.closing = True
        if self._deadline is not None:
            self._deadline.cancel()
        owner, self.owner = self.owner, None
        try:
            if owner is not None:
                owner.connection_closed(self, self._error or exc)
        finally:
            if not self.done.done():
                self.done.set_result(None)

    def pause_writing(self) -> None:
        """asyncio: the write buffer is over its high-water mark."""
        if self.owner is not None:
            self.owner.writing_blocked(self, True)

    def resume_writing(self) -> None:
        """asyncio: the write buffer has drained."""
        if self.owner is not None:
            self.owner.writing_blocked(self, False)

    def _cut_frames(self, data: bytes) -> None:
        too_large: FrameTooLarge | None = None
        try:
            frames = self._reader.receive_data(data)
        except FrameTooLarge as error:
            frames, too_large = error.frames, error
        if b"" in frames:
            frames = [frame for frame in frames if frame]
        if frames and self.owner is not None:
            self.owner.frames_received(self, frames)
        if too_large is not None:
            log.warning("connection with %s closed: %s", self.remote, too_large)
            self.close(too_large)

    def _shake_hands(self, data: bytes) -> bytes:
        """Go on with the handshake; returns what was received behind it."""
        try:
            self._handshake.receive_data(data)
        except Unauthenticated as error:
            self._end(error, last_words=self._handshake.data_to_send())
            return b""
        if answer := self._handshake.data_to_send():
            self.write(answer)
        if self._handshake.result is None:
            return b""
        self.identity = self._handshake.result
        if self._deadline is not None:
            self._deadline.cancel()
        if self.owner is not None:
            self.owner.connection_ready(self)
        return self._handshake.trailing

    def _handshake_late(self) -> None:
        # The other end is slow, paused or cut off: that is no refusal, and whoever waits for it may try elsewhere.
        self.close(Unavailable(f"no handshake within {HANDSHAKE_TIMEOUT_MS} ms", reason="timeout"))

    def _end(self, error: Exception | None, last_words: bytes) -> None:
        if self.closing:
            return
        if last_words:
            self.write(last_words)
        self.closing, self._error = True, error
        if self._transport is not None:
            (self._transport.close if last_words else self._transport.abort)()


async def dial(runtime: AsyncioRuntime, connection: Connection, host: str, port: int) -> None:
    """Connect `connection` to an address. Raises `Unavailable` where nobody answers within `DIAL_TIMEOUT_MS`."""
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_MS / 1000):
            await runtime.loop.create_connection(lambda: connection, host, port)
    except TimeoutError as error:
        raise Unavailable(f"{host}:{port} did not answer within {DIAL_TIMEOUT_MS} ms") from error
    except OSError as error:
        raise Unavailable(f"{host}:{port} cannot be reached: {error.strerror or error}") from error


def as_raftcache_error(error: Exception | None, otherwise: str) -> RaftcacheError:
    """`error` where clients may see it, else an `Unavailable` that tells of it."""
    if isinstance(error, RaftcacheError):
        return error
    return Unavailable(f"{otherwise}: {error}" if error is not None else otherwise)
