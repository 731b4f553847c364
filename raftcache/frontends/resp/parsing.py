"""From bytes to commands: hiredis behind a guard, and the guard alone where it has all before it.

hiredis believes what headers say: it makes a list for as many elements as an array announces, accepts every type of
RESP3, nested to any mix, and never looks at the line end behind a bulk string. So nothing reaches it that the guard has
not approved. The guard works in one of two ways, and which one can be seen only in the time it takes:

*The careful way* looks at each header when its line is whole, holds it against the limits before anything of what it
announces is kept, and hands the approved bytes on. It looks at a byte once, and into a bulk string never.

*The quick way* is for a read that begins with a command, and for what is behind one. It walks from header to header of
a command that has arrived whole and holds each against the limits. Then it knows where each argument stands, and cuts
them out itself: there is nothing left for hiredis to find. A connection asks as a rule what it asked before, with other
keys: how the last command began, its count and its name, is remembered and compared in one step. Anything else (the
unfinished command at the end of a read, an inline command, a defect) is left to the careful way, from that command's
first byte.

Source: the RESP specification (redis.io/docs/latest/develop/reference/protocol-spec), and for inline commands, empty
commands and the words of errors `processMultibulkBuffer` and `processInlineBuffer` in Redis's networking.c.
"""

from __future__ import annotations

import re
from typing import Any, Final

import hiredis

from raftcache.frontends.resp.inline import split_line

ARGUMENTS_LIMIT: Final = 1024
"""Arguments of one command, its name included."""
BULK_LIMIT_BYTES: Final = 2 << 20
"""One argument. Twice the largest value, so that one somewhat too large gets an error and not a closed connection."""
COMMAND_LIMIT_BYTES: Final = 16 << 20
"""All arguments of one command: what the HTTP interface takes in one body, and well below what an RPC carries."""
INLINE_LIMIT_BYTES: Final = 64 << 10
"""An inline command's line, as in Redis."""
RECEIVING_LIMIT_BYTES: Final = 256 << 20
"""Room for large commands that have not arrived whole, over all connections of a port."""
ROOM_FREE_BYTES: Final = 64 << 10
"""What a command may have without asking for room."""

QUICK_LIMIT_BYTES = 256 << 10
"""A longer read goes the careful way at once: below it no argument and no command can be over its limit."""
_HEADER_LIMIT_BYTES: Final = 32
"""A header's line with its line end; no number within the limits is half as long."""
_STAR: Final = 42
_DOLLAR: Final = 36
_ZERO: Final = 48
_NINE: Final = 57
_CR: Final = 13
_LF: Final = 10
_DIGITS: Final = 7
"""Of a number in a header; none within the limits has more."""
_OPENING_LIMIT_BYTES: Final = 64
"""How a command may begin that is remembered."""
_NUMBER: Final = re.compile(rb"-?[1-9][0-9]{0,18}\Z|0\Z")


class ProtocolError(Exception):
    """The bytes are no commands, or go over a limit: the text is for the client, and the connection is to be closed."""


class Room:
    """What is left for large commands under way, over all connections of a port. `refused` counts those without."""

    def __init__(self, limit_bytes: int = RECEIVING_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.refused = 0

    def take(self, size: int) -> None:
        """Raises ProtocolError."""
        if self.used_bytes + size > self.limit_bytes:
            self.refused += 1
            raise ProtocolError(
                f"no room for a command of this size now: commands under way have {self.used_bytes} bytes, "
                f"the limit is {self.limit_bytes}"
            )
        self.used_bytes += size

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.used_bytes -= size


class Parser:
    """`feed` it what arrives, and take commands by `next` until there is none. `close` at the end."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._reader: Any = hiredis.Reader()
        self._chunk = b""  # What the quick way works on, from `_at` on; empty while the careful way has all.
        self._buffer = bytearray()  # What the careful way works on, from `_at` on.
        self._at = 0
        self._searched = 0
        self._opening, self._word, self._words = b"", b"", 0
        self._may_hurry = True
        self._arguments_left = self._body_left = self._size = self._reserved = 0
        self._in_body = False

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._may_hurry = True
        if self._chunk:
            self._leave_quick_way()
        if self._buffer or self._inside or len(data) > QUICK_LIMIT_BYTES or not self._try_quick_way(data):
            self._buffer += data

    def next(self) -> list[bytes] | None:
        """The next command, or None where more bytes are needed. Raises ProtocolError; then only `close`."""
        while True:
            if self._chunk:
                arguments = self._quick()
                if arguments is not None or not self._buffer:
                    return arguments
            arguments = self._careful()
            if arguments is None or arguments:
                return arguments
            # An empty command is no command, and no reason to answer.

    def more(self, word: bytes, most: int) -> list[list[bytes]]:
        """Commands that come next and begin as the last one did, whose name that object is; at most so many. Where it
        is not seen in passing that one does, `next` has it."""
        found = list[list[bytes]]()
        while len(found) < most and word is self._word and self._begins_alike():
            words = self._rest(self._at + len(self._opening), [self._word], self._words - 1)
            if words is None:
                break
            found.append(words)
        return found

    def close(self) -> None:
        """Give back what is reserved."""
        self._release()
        self._chunk = b""
        self._buffer.clear()

    @property
    def is_empty(self) -> bool:
        """Whether all that arrived has been given out as commands."""
        return not (self._chunk or self._buffer)

    @property
    def _inside(self) -> bool:
        """Whether part of a command has been handed to hiredis."""
        return self._arguments_left > 0

    # -- the quick way ---------------------------------------------------------------------------

    def _try_quick_way(self, data: bytes) -> bool:
        if data[:1] != b"*":
            return False
        self._may_hurry = False
        self._chunk, self._at = data, 0
        return True

    def _quick(self) -> list[bytes] | None:
        """The next command of the chunk; None where what comes next is none that is whole and plain."""
        words = self._split()
        if words is None:
            self._leave_quick_way()
        return words

    def _begins_alike(self) -> bool:
        """Whether the next command of the chunk begins as the one that is remembered."""
        opening, at = self._opening, self._at
        return opening != b"" and self._chunk[at : at + len(opening)] == opening

    def _split(self) -> list[bytes] | None:
        """The arguments of the chunk's next command, if all of it is there, plainly encoded and within the limits;
        `_at` is behind it then. No argument of a chunk can be over its limit, nor all of them together."""
        if self._begins_alike():
            return self._rest(self._at + len(self._opening), [self._word], self._words - 1)
        chunk, start = self._chunk, self._at
        count, at = _header(chunk, start, _STAR)
        if not 0 < count <= ARGUMENTS_LIMIT:
            return None
        words = list[bytes]()
        at = _argument(chunk, at, words)
        if not at:
            return None
        if at - start <= _OPENING_LIMIT_BYTES:
            self._opening, self._word, self._words = chunk[start:at], words[0], count
        return self._rest(at, words, count - 1)

    def _rest(self, at: int, words: list[bytes], left: int) -> list[bytes] | None:
        """`words` with the arguments that are left of a command, from `at` on. It is taken from the chunk then."""
        chunk = self._chunk
        while left:
            at = _argument(chunk, at, words)
            if not at:
                return None
            left -= 1
        self._at = at
        if at == len(chunk):
            self._chunk, self._at = b"", 0
        return words

    def _leave_quick_way(self) -> None:
        """What is left of the chunk goes the careful way."""
        self._buffer += memoryview(self._chunk)[self._at :]
        self._chunk, self._at, self._searched = b"", 0, 0

    # -- the careful way -------------------------------------------------------------------------

    def _careful(self) -> list[bytes] | None:
        """The next command, an empty list for an empty one, None where more bytes are needed."""
        if not self._inside:
            if self._at and self._hurry():
                return self._quick() or []
            first = self._buffer[self._at : self._at + 1]
            if not first:
                return self._wait_for_more()
            if first != b"*":
                return self._inline()
            if not self._begin():
                return self._wait_for_more()
            if not self._arguments_left:
                return []
        if self._arguments():
            arguments: list[bytes] = self._reader.gets()
            self._release()
            return arguments
        return self._wait_for_more()

    def _hurry(self) -> bool:
        """Between two commands, once for each read: what is left of it may go the quick way."""
        left = len(self._buffer) - self._at
        if not self._may_hurry or not 0 < left <= QUICK_LIMIT_BYTES:
            return False
        self._may_hurry = False
        rest = bytes(memoryview(self._buffer)[self._at :])
        if not self._try_quick_way(rest):
            return False
        self._buffer.clear()
        self._searched = 0
        return True

    def _wait_for_more(self) -> list[bytes] | None:
        """No command yet: let go of what was dealt with."""
        del self._buffer[: self._at]
        self._at = 0
        return None

    def _begin(self) -> bool:
        """Take an array's header. False where it is not whole."""
        line = self._line(b"*", "too big mbulk count string")
        if line is None:
            return False
        count = _number(line)
        if count is None:
            raise ProtocolError("invalid multibulk length")
        if count > ARGUMENTS_LIMIT:
            raise ProtocolError(f"invalid multibulk length: {count} arguments, the limit is {ARGUMENTS_LIMIT}")
        if count > 0:
            self._reader.feed(b"*%d\r\n" % count)
            self._arguments_left, self._size = count, 0
        return True

    def _arguments(self) -> bool:
        """Take arguments, as far as they have arrived. True where the command is whole."""
        while self._arguments_left:
            if not self._in_body:
                line = self._line(b"$", "too big bulk count string")
                if line is None:
                    return False
                self._announce(_number(line))
            if not self._body():
                return False
        return True

    def _announce(self, size: int | None) -> None:
        """An argument of this size is to come: hold it against the limits, before there is any of it."""
        if size is None or size < 0:
            raise ProtocolError("invalid bulk length")
        if size > BULK_LIMIT_BYTES:
            raise ProtocolError(f"invalid bulk length: {size} bytes, the limit is {BULK_LIMIT_BYTES}")
        self._size += size
        if self._size > COMMAND_LIMIT_BYTES:
            raise ProtocolError(
                f"invalid bulk length: {self._size} bytes with it in one command, the limit is {COMMAND_LIMIT_BYTES}"
            )
        if self._size > ROOM_FREE_BYTES:
            self._room.take(self._size - self._reserved)
            self._reserved = self._size
        self._reader.feed(b"$%d\r\n" % size)
        self._body_left, self._in_body = size, True

    def _body(self) -> bool:
        """Hand on what there is of an argument. True where it is whole, with its line end."""
        buffer, at = self._buffer, self._at
        taken = min(len(buffer) - at, self._body_left)
        if taken:
            with memoryview(buffer) as view:
                self._reader.feed(bytes(view[at : at + taken]))
            self._body_left -= taken
            self._at = at = at + taken
        if self._body_left or len(buffer) - at < 2:
            return False
        if buffer[at : at + 2] != b"\r\n":
            raise ProtocolError("expected a line end behind a bulk string of the announced length")
        self._reader.feed(b"\r\n")
        self._at = at + 2
        self._arguments_left -= 1
        self._in_body = False
        return True

    def _line(self, kind: bytes, too_long: str) -> bytes | None:
        """What stands behind `kind` up to the line end; None where that has not arrived."""
        buffer, at = self._buffer, self._at
        if at < len(buffer) and buffer[at : at + 1] != kind:
            raise ProtocolError(f"expected '{kind.decode()}', got '{_shown(buffer[at])}'")
        end = buffer.find(b"\r\n", at, at + _HEADER_LIMIT_BYTES)
        if end >= 0:
            self._at = end + 2
            return bytes(buffer[at + 1 : end])
        if len(buffer) - at >= _HEADER_LIMIT_BYTES:
            raise ProtocolError(too_long)
        return None

    def _inline(self) -> list[bytes] | None:
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\n", max(at, self._searched), at + INLINE_LIMIT_BYTES)
        if end < 0:
            if len(buffer) - at >= INLINE_LIMIT_BYTES:
                raise ProtocolError("too big inline request")
            self._wait_for_more()
            self._searched = len(buffer)
            return None
        self._at, self._searched = end + 1, 0
        words = split_line(bytes(buffer[at:end]).removesuffix(b"\r"))
        if words is None:
            raise ProtocolError("unbalanced quotes in request")
        if len(words) > ARGUMENTS_LIMIT:
            raise ProtocolError(f"{len(words)} arguments, the limit is {ARGUMENTS_LIMIT}")
        return words

    def _release(self) -> None:
        self._room.give(self._reserved)
        self._reserved = 0


def _argument(data: bytes, at: int, words: list[bytes]) -> int:
    """Add the argument that begins at `at`, if it is there, and return where it has ended; else 0."""
    size, at = _header(data, at, _DOLLAR)
    end = at + size
    if size < 0 or end + 2 > len(data) or data[end] != _CR or data[end + 1] != _LF:
        return 0
    words.append(data[at:end])
    return end + 2


def _header(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """The number of the header that begins at `at`, and where its line has ended; -1 where no whole and plain one is.
    Byte by byte, which is the fastest way once this is compiled."""
    end, first = len(data), at + 1
    if first >= end or data[at] != kind:
        return -1, 0
    number, at = 0, first
    while at < end and _ZERO <= data[at] <= _NINE and at - first < _DIGITS:
        number = number * 10 + data[at] - _ZERO
        at += 1
    if at == first or at + 1 >= end or data[at] != _CR or data[at + 1] != _LF:
        return -1, 0
    if data[first] == _ZERO and at - first > 1:
        return -1, 0
    return number, at + 2


def _number(digits: bytes) -> int | None:
    """As Redis reads numbers in headers: no sign but a minus, no zeros in front."""
    return int(digits) if _NUMBER.match(digits) else None


def _shown(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
