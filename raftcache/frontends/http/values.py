"""Between what HTTP shows and what shards store: values, times to live, instants, levels.

A JSON value is stored as its own text without the white space between tokens, so no number loses a digit on
its way, and the JSON integer `7` is the one byte `7` that `incr` and the Redis protocol read. Raw bytes are
stored as they are; asked for as JSON they are shown in base64. The other direction is not taken: a JSON value
of that form is stored as the JSON that it is.
"""

from __future__ import annotations

from binascii import b2a_base64
from datetime import UTC, datetime, timedelta

import msgspec

from raftcache.commands.types import JSON, VALUE_LIMIT_BYTES, AckLevel, Get, ReadLevel, Version
from raftcache.errors import BadRequest, ValueTooLarge
from raftcache.frontends.http.types import ReadOptions

DURABILITY_NAMES = {level: level.name.lower() for level in AckLevel}
CONSISTENCY_NAMES = {level: level.name.lower() for level in ReadLevel}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored_json(value: msgspec.Raw, field: str = "value") -> bytes:
    """The bytes to store for a JSON value. Raises ValueTooLarge."""
    return checked_value(msgspec.json.format(bytes(value), indent=-1), field)


def checked_value(value: bytes, field: str = "value") -> bytes:
    """`value` itself. Raises ValueTooLarge."""
    if len(value) > VALUE_LIMIT_BYTES:
        raise ValueTooLarge(f"{field} has {len(value)} bytes: the limit is {VALUE_LIMIT_BYTES} bytes")
    return value


def shown_json(value: bytes, flag: int) -> msgspec.Raw:
    """A stored value as JSON text."""
    if flag == JSON:
        return msgspec.Raw(value)
    return msgspec.Raw(b'{"encoding":"base64","value":"' + b2a_base64(value, newline=False) + b'"}')


def ttl_ms(seconds: float | None) -> int | None:
    """Seconds to whole milliseconds, at least one."""
    return None if seconds is None else max(1, round(seconds * 1000))


def ttl_seconds(milliseconds: int | None) -> int | None:
    """Milliseconds to whole seconds, rounded up: a key that still lives never shows zero."""
    return None if milliseconds is None else -(-milliseconds // 1000)


def instant(wall_ms: int | None) -> str | None:
    """Milliseconds since the Unix epoch as RFC 3339 in UTC; milliseconds are shown where there are any."""
    if wall_ms is None:
        return None
    at = _EPOCH + timedelta(milliseconds=wall_ms)
    precision = "milliseconds" if wall_ms % 1000 else "seconds"
    return at.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def ack_level(name: str | None) -> AckLevel | None:
    """The ack level of a validated `durability`."""
    return None if name is None else AckLevel[name.upper()]


def read_level(name: str | None) -> ReadLevel | None:
    """The read level of a validated `consistency`."""
    return None if name is None else ReadLevel[name.upper()]


def get_command(address: tuple[bytes, int], asked: ReadOptions) -> Get:
    """A read as it was asked for, of a key and with the `named_at` for it. Raises BadRequest."""
    replica, min_version = asked.read_preference == "replica", version(asked.min_version, "minVersion")
    key, named_at = address
    return Get(key, read_level(asked.consistency), replica, min_version, asked.max_staleness_ms, named_at)


def version(text: str | None, field: str = "ifVersion") -> Version | None:
    """The version that `field` names. Raises BadRequest."""
    return None if text is None else parsed_version(text, field)


def parsed_version(text: str, field: str = "version") -> Version:
    """The version that a text is. Raises BadRequest."""
    try:
        return Version.parse(text)
    except ValueError:
        raise BadRequest(f"{field}: {text!r:.90} is not a version such as 'v7c1.3.42'") from None
