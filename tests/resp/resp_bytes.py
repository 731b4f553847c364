"""Commands as clients send them, and pieces to cut them into."""

from __future__ import annotations

from collections.abc import Iterable

from raftcache.frontends.resp.parsing import Parser, ProtocolError, Room


def packed(*words: bytes | str | int) -> bytes:
    """One command as an array of bulk strings."""
    pieces = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(pieces)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` cut at the places, which are taken modulo its length."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    starts = [0, *ends[:-1]]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]


def parse_all(pieces: Iterable[bytes]) -> list[list[bytes] | str]:
    """Every command of a stream, and in the end what is wrong with it, if anything."""
    parser, found = Parser(Room()), list[list[bytes] | str]()
    try:
        for piece in pieces:
            parser.feed(piece)
            while (command := parser.next()) is not None:
                found.append(command)
    except ProtocolError as error:
        found.append(str(error))
    parser.close()
    return found
