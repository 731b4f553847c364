"""From answers to bytes, in RESP2 and RESP3.

`encode` takes plain Python values, and a few types of its own for what Python has no word for. What RESP3 has and RESP2
has not becomes what Redis makes of it there: a map is a flat array, a set an array, a boolean 1 or 0, a double and a
verbatim text a bulk string. Answers on the fast path are put together from `bulk` and `integer` directly.

Source: the RESP specification, redis.io/docs/latest/develop/reference/protocol-spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

OK = b"+OK\r\n"
PONG: Final = b"+PONG\r\n"
ZERO: Final = b":0\r\n"
ONE: Final = b":1\r\n"
NULL_2: Final = b"$-1\r\n"
NULL_3: Final = b"_\r\n"
EMPTY_BULK: Final = b"$0\r\n\r\n"
_LINE_END: Final = b"\r\n"
_HEADS: Final = [b"$%d\r\n" % size for size in range(4097)]
ERROR_LIMIT_CHARS: Final = 1024
"""Of an error's text; it may repeat what was sent."""


class Status(NamedTuple):
    """A simple string: one line, by us and not by clients."""

    text: str


class Error(NamedTuple):
    """An error among other answers, with its prefix."""

    text: str


class Verbatim(NamedTuple):
    """A text for people."""

    text: str


class Group(NamedTuple):
    """A set: no order, nothing twice."""

    items: Sequence[Any]


def bulk(value: bytes) -> bytes:
    """A bulk string."""
    pieces = list[bytes]()
    add_bulk(pieces, value)
    return b"".join(pieces)


def add_bulk(pieces: list[bytes], value: bytes) -> None:
    """The same, not put together."""
    size = len(value)
    pieces.append(_HEADS[size] if size < len(_HEADS) else b"$%d\r\n" % size)
    pieces.append(value)
    pieces.append(_LINE_END)


def integer(value: int) -> bytes:
    """An integer."""
    return b":%d\r\n" % value


def null(resp3: bool) -> bytes:
    """Nothing: where a bulk string would be."""
    return NULL_3 if resp3 else NULL_2


def array_head(count: int) -> bytes:
    """What stands before the items of an array."""
    return b"*%d\r\n" % count


def error(text: str) -> bytes:
    """An error, `text` with its prefix. It is one line, whatever was quoted in it."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:ERROR_LIMIT_CHARS])
    return b"-%b\r\n" % shown.encode(errors="replace")


def encode(value: Any, resp3: bool) -> bytes:
    """Any answer. Raises TypeError for what no answer is made of."""
    pieces: list[bytes] = []
    _encode(value, resp3, pieces.append)
    return b"".join(pieces)


def _encode(value: Any, resp3: bool, put: Any) -> None:
    scalar = _scalar(value, resp3)
    if scalar is not None:
        put(scalar)
    elif isinstance(value, Mapping):
        put(b"%%%d\r\n" % len(value) if resp3 else array_head(2 * len(value)))
        for name, item in value.items():
            _encode(name, resp3, put)
            _encode(item, resp3, put)
    elif isinstance(value, Group):
        put(b"~%d\r\n" % len(value.items) if resp3 else array_head(len(value.items)))
        _all(value.items, resp3, put)
    elif isinstance(value, (list, tuple)):
        put(array_head(len(value)))
        _all(value, resp3, put)
    else:
        raise TypeError(f"no RESP type for {type(value).__name__}")


def _all(items: Iterable[Any], resp3: bool, put: Any) -> None:
    for item in items:
        _encode(item, resp3, put)


def _scalar(value: Any, resp3: bool) -> bytes | None:
    """What is no collection."""
    if value is None:
        return null(resp3)
    if isinstance(value, bytes):
        return bulk(value)
    if isinstance(value, str):
        return bulk(value.encode())
    if isinstance(value, bool):
        return (b"#t\r\n" if value else b"#f\r\n") if resp3 else integer(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return b",%b\r\n" % repr(value).encode() if resp3 else bulk(repr(value).encode())
    if isinstance(value, Status):
        return b"+%b\r\n" % value.text.encode()
    if isinstance(value, Error):
        return error(value.text)
    if isinstance(value, Verbatim):
        text = value.text.encode()
        return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if resp3 else bulk(text)
    return None
