"""Length-prefixed frames: a big endian u32, then that many bytes. Pure: bytes in, frames out.

Peer links and RPC both cut their streams this way. An empty frame is a sign of life and carries nothing.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

HEADER_BYTES: Final = 4
_HEADER: Final = Struct("!I")

CHUNK_BYTES: Final = 4096
"""A chunk this long waits as it is."""

PING: Final = _HEADER.pack(0)
"""An empty frame, ready to be written."""


class FrameTooLarge(ValueError):
    """A header announced more than the limit. `frames` are the whole ones received before it.

    There is no way to find the next frame, so the stream is of no more use.
    """

    def __init__(self, length: int, limit_bytes: int, frames: list[bytes]) -> None:
        super().__init__(f"frame length {length} bytes is over the limit of {limit_bytes} bytes")
        self.length = length
        self.limit_bytes = limit_bytes
        self.frames = frames


def frame_header(size_bytes: int) -> bytes:
    """What stands before a payload of so many bytes."""
    return _HEADER.pack(size_bytes)


def pack_frame(payload: bytes) -> bytes:
    """The frame that carries `payload`."""
    return _HEADER.pack(len(payload)) + payload


def pack_frames(payloads: list[bytes]) -> bytes:
    """The frames of many payloads, as one piece for one write."""
    header = _HEADER.pack
    return b"".join([part for payload in payloads for part in (header(len(payload)), payload)])


class FrameReader:
    """Cuts a stream into frames, however it arrives.

    A chunk that holds whole frames only is cut where it lies. What remains of a chunk waits, and what comes behind it,
    until the frame that it begins is complete; then the chunks are put together once. So a large frame in many chunks
    is copied as often as a small one. What waits never grows over `limit_bytes`, a header and one chunk.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: list[bytes | bytearray] = []
        self._wanted = HEADER_BYTES
        self._in_body = False
        self.buffered_bytes = 0
        """How many bytes of an unfinished frame are held."""

    def receive_data(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, in order. Raises `FrameTooLarge` before it buffers such a frame."""
        frames: list[bytes] = []
        if self._waiting:
            self._wait_with(data)
            if self.buffered_bytes < self._wanted:
                return frames
            data = b"".join(self._waiting)
            self._waiting.clear()
            self.buffered_bytes = 0
            if self._in_body:
                self._in_body = False
                if len(data) == self._wanted:
                    return [data]
                frames.append(data[: self._wanted])
                data = data[self._wanted :]
        self._cut(data, frames)
        return frames

    def _wait_with(self, data: bytes) -> None:
        """Small chunks are put together at once, so that what waits costs no more than its bytes."""
        self.buffered_bytes += len(data)
        last = self._waiting[-1]
        if len(data) >= CHUNK_BYTES:
            self._waiting.append(data)
        elif type(last) is bytearray:
            last += data
        else:
            self._waiting.append(bytearray(data))

    def _cut(self, data: bytes, frames: list[bytes]) -> None:
        size, start = len(data), 0
        while size - start >= HEADER_BYTES:
            length: int = _HEADER.unpack_from(data, start)[0]
            if length > self._limit_bytes:
                raise FrameTooLarge(length, self._limit_bytes, frames)
            start += HEADER_BYTES
            if start + length > size:
                return self._wait(data[start:], length, True)
            frames.append(data[start : start + length])
            start += length
        if start < size:
            self._wait(data[start:], HEADER_BYTES, False)

    def _wait(self, rest: bytes, wanted: int, in_body: bool) -> None:
        self._waiting.append(rest)
        self._wanted, self._in_body, self.buffered_bytes = wanted, in_body, len(rest)
