"""A lean HTTP/1.1 client for load: one request at a time on a connection that is kept alive.

A general client costs eight times the CPU of this one a request (measured: 130 µs to 16 µs), which on a machine
that also runs the cluster would be measured in its place. It knows what an answer of ours may look like, and calls
everything else a `ProtocolError`.
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple, cast

from raftcache.commands.types import VALUE_LIMIT_BYTES

HEAD_LIMIT_BYTES = 16 << 10
BODY_LIMIT_BYTES = 2 * VALUE_LIMIT_BYTES
_HEAD_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,15}) *(?=\r\n)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close *\r\n", re.IGNORECASE)
_BODYLESS = (204, 304)


class ProtocolError(ConnectionError):
    """The other end does not speak the HTTP that this client knows, or went away in the middle."""


class Response(NamedTuple):
    """One answer. `last`: the server closes the connection after it. `head` is what stood before the body."""

    status: int
    body: bytes
    last: bool
    head: bytes = b""

    def header(self, name: str) -> str:
        """The first header of that name; "" where there is none."""
        match = re.search(rb"\r\n%s: *([^\r\n]*)\r\n" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return match[1].decode("latin-1") if match is not None else ""


class ResponseReader:
    """Bytes in, answers out; sans IO."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[int, int, bool, bytes] | None = None

    def receive_data(self, data: bytes) -> Response | None:
        """Take what arrived; returns the answer once it is whole. Raises ProtocolError.

        No more than one answer is ever under way, so bytes behind one are an error.
        """
        self._buffer += data
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None
        status, length, last, head = self._head
        if len(self._buffer) < length:
            return None
        if len(self._buffer) > length:
            raise ProtocolError("bytes behind the end of an answer")
        body, self._buffer, self._head = bytes(self._buffer), bytearray(), None
        return Response(status, body, last, head)

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0 or end > HEAD_LIMIT_BYTES:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise ProtocolError(f"an answer's head is over {HEAD_LIMIT_BYTES} bytes")
            return False
        head = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 4]
        self._head = *_parse_head(head), head
        return True


def _parse_head(head: bytes) -> tuple[int, int, bool]:
    """Status, length of the body, whether it is the last answer."""
    status, length = _STATUS.match(head), _LENGTH.search(head)
    if status is None:
        raise ProtocolError(f"not an HTTP/1.1 answer: {head[:80]!r}")
    code = int(status[1])
    if length is None and code not in _BODYLESS:
        raise ProtocolError(f"an answer without Content-Length: {head[:80]!r}")
    size = int(length[1]) if length is not None else 0
    if size > BODY_LIMIT_BYTES:
        raise ProtocolError(f"an answer of {size} bytes, over {BODY_LIMIT_BYTES}")
    return code, size, _CLOSE.search(head) is not None


class _Channel(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._reader = ResponseReader()
        self._waiting: asyncio.Future[Response] | None = None
        self.transport: asyncio.Transport | None = None
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.usable = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        try:
            response = self._reader.receive_data(data)
        except ProtocolError as error:
            self._end(error)
            return
        if response is not None:
            waiting, self._waiting = self._waiting, None
            if response.last:
                self._end(None)
            if waiting is not None and not waiting.done():
                waiting.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ProtocolError(f"the connection was lost: {exc or 'closed by the server'}"))

    def _end(self, error: ProtocolError | None) -> None:
        self.usable = False
        if self.transport is not None:
            self.transport.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ProtocolError("closed"))

    def send(self, request: bytes) -> asyncio.Future[Response]:
        assert self.transport is not None and self._waiting is None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting


class KeepAlive:
    """A connection to `host:port` that is dialled when needed, and again after it broke."""

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self._address = host, port
        self._timeout = timeout_seconds
        self._channel: _Channel | None = None
        self.local_port = 0
        """From which port the newest connection was made; 0 before there was one."""
        self._host_line = f"Host: {host}:{port}\r\n".encode()

    async def ask(self, method: bytes, path: bytes, headers: bytes = b"", body: bytes = b"") -> Response:
        """One request and its answer. `headers` are whole lines. Raises OSError (timeouts included)."""
        length = b"Content-Length: %d\r\n" % len(body) if body or method == b"PUT" else b""
        head = b"%s %s HTTP/1.1\r\n%s%s%s\r\n" % (method, path, self._host_line, headers, length)
        try:
            async with asyncio.timeout(self._timeout):
                channel = self._channel
                if channel is None or not channel.usable:
                    channel = self._channel = await self._dial()
                return await channel.send(head + body)
        except BaseException:
            self.close()
            raise

    async def _dial(self) -> _Channel:
        transport, channel = await asyncio.get_running_loop().create_connection(_Channel, *self._address)
        self.local_port = int(transport.get_extra_info("sockname")[1])
        return channel

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._channel is not None and self._channel.transport is not None:
            self._channel.transport.close()
        self._channel = None
