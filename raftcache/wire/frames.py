"""Length-prefixed frames: a big endian u32, then that many bytes. Pure: bytes in, frames out.

Peer links and RPC both cut their streams this way. An empty frame is a sign of life and carries nothing.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

HEADER_BYTES: Final = 4
_HEADER: Final = Struct("!I")

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


def pack_frame(payload: bytes) -> bytes:
    """The frame that carries `payload`."""
    return _HEADER.pack(len(payload)) + payload


def pack_frames(payloads: list[bytes]) -> bytes:
    """The frames of many payloads, as one piece for one write."""
    header = _HEADER.pack
    return b"".join([part for payload in payloads for part in (header(len(payload)), payload)])


class FrameReader:
    """Cuts a stream into frames, however it arrives.

    A chunk that holds whole frames only is cut where it lies. What remains of a chunk waits in a buffer, which
    is looked at again only when the frame it begins with is complete: a large frame in many chunks costs no
    more than its bytes. The buffer never grows over `limit_bytes`, a header and one chunk.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pending = bytearray()
        self._wanted = 0

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._pending)

    def receive_data(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, in order. Raises `FrameTooLarge` before it buffers such a frame."""
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        size, start, self._wanted = len(data), 0, HEADER_BYTES
        while size - start >= HEADER_BYTES:
            length: int = _HEADER.unpack_from(data, start)[0]
            if length > self._limit_bytes:
                raise FrameTooLarge(length, self._limit_bytes, frames)
            end = start + HEADER_BYTES + length
            if end > size:
                self._wanted = HEADER_BYTES + length
                break
            frames.append(data[start + HEADER_BYTES : end])
            start = end
        if start < size:
            self._pending += data[start:]
        return frames
