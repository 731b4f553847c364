"""The few protobuf messages of etcd's v3 API that the benchmark needs, by hand: no generated code, no protoc. Pure.

A message is fields one after another: a tag, which is the field's number and how its value is laid out, then the value.
Only two layouts occur here: 0, a varint (seven bits a byte, lowest first, the high bit says that more follow), and 2,
a length as a varint and that many bytes. Fields of no interest are skipped.

| message | fields used |
|---|---|
| `PutRequest` | 1 key, 2 value |
| `RangeRequest` | 1 key |
| `RangeResponse` | 2 kvs, repeated `KeyValue` |
| `KeyValue` | 1 key, 5 value |
"""

from __future__ import annotations

from collections.abc import Iterator

PUT = "/etcdserverpb.KV/Put"
RANGE = "/etcdserverpb.KV/Range"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class Malformed(ValueError):
    """Bytes that are no message."""


def varint(number: int) -> bytes:
    """A number from 0 up."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def bytes_field(number: int, value: bytes) -> bytes:
    """One field of bytes."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def put_request(key: bytes, value: bytes) -> bytes:
    """A `PutRequest`."""
    return bytes_field(1, key) + bytes_field(2, value)


def range_request(key: bytes) -> bytes:
    """A `RangeRequest` for one key."""
    return bytes_field(1, key)


def range_values(response: bytes) -> dict[bytes, bytes]:
    """The keys and values of a `RangeResponse`. Raises Malformed."""
    found = {}
    for number, field in fields(response):
        if number == 2 and isinstance(field, bytes):
            pair = dict(fields(field))
            found[_as_bytes(pair.get(1, b""))] = _as_bytes(pair.get(5, b""))
    return found


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message as `(number, value)`. Raises Malformed."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, layout = tag >> 3, tag & 7
        if layout == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if layout == _BYTES:
            size, at = _read_varint(message, at)
        elif layout in _FIXED_BYTES:
            size = _FIXED_BYTES[layout]
        else:
            raise Malformed(f"field {number} has layout {layout}, which etcd does not use")
        if at + size > len(message):
            raise Malformed(f"field {number} of {size} bytes at {at} ends after the message's {len(message)}")
        yield number, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message):
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise Malformed(f"a varint is cut off at the end of {len(message)} bytes")


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed(f"bytes were expected, found the number {value}")
    return value
