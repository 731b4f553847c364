"""Commands and replies: what clients ask and what shards answer, on every interface the same.

All are arrays on the wire (msgspec msgpack, tagged by name). A command names whole keys: the namespace is part
of the key (`routing.namespaces` joins and splits them). Times are milliseconds, levels are the words of DESIGN.

A single-key write may carry an idempotency key, `idempotency`: of several with the same key, within a namespace, only
the first is executed, and all get its reply.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Union

import msgspec

KEY_LIMIT_BYTES = 1024
VALUE_LIMIT_BYTES = 1 << 20
MULTI_KEY_LIMIT = 1000
IDEMPOTENCY_KEY_LIMIT_BYTES = 128
TTL_LIMIT_MS = 10 * 365 * 24 * 3600 * 1000
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

RAW, JSON = 0, 1
"""Value flags: opaque bytes, or compact JSON text."""


class AckLevel(IntEnum):
    """When a write is acknowledged; the public field is `durability`."""

    PRIMARY = 1
    QUORUM = 2
    DURABLE = 3


class ReadLevel(IntEnum):
    """What a read may see; the public field is `consistency`."""

    LATEST = 1
    COMMITTED = 2
    LINEARIZABLE = 3


class Version(msgspec.Struct, frozen=True, array_like=True, order=True):
    """`(shard, term, seq)`: unique for ever. Text form `v<shard>.<term>.<seq>`."""

    shard: str
    term: int
    seq: int

    def __str__(self) -> str:
        return f"v{self.shard}.{self.term}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """The inverse of `str`. Raises ValueError."""
        shard, term, seq = text.rsplit(".", 2)
        if not shard.startswith("v") or len(shard) < 2 or not (term + seq).isascii() or not (term + seq).isdigit():
            raise ValueError(f"not a version: {text[:80]!r}")
        return cls(shard[1:], int(term), int(seq))


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class _Command(msgspec.Struct, frozen=True, array_like=True, tag=_snake):
    pass


class Get(_Command, frozen=True):
    """Read one key. `level` None means the namespace's. Answers `Value`."""

    key: bytes
    level: ReadLevel | None = None


class Set(_Command, frozen=True):
    """Write one key. `ttl_ms` None means the namespace's default. Answers `Written`."""

    key: bytes
    value: bytes
    flag: int = RAW
    ttl_ms: int | None = None
    if_version: Version | None = None
    if_absent: bool = False
    ack: AckLevel | None = None
    idempotency: bytes | None = None


class Delete(_Command, frozen=True):
    """Remove one key. Answers `Written`, whose `existed` tells whether anything was there."""

    key: bytes
    if_version: Version | None = None
    ack: AckLevel | None = None
    idempotency: bytes | None = None


class Incr(_Command, frozen=True):
    """Add to a counter; `ttl_ms` counts only where the counter is new. Answers `Counted`."""

    key: bytes
    delta: int = 1
    ttl_ms: int | None = None
    ack: AckLevel | None = None
    idempotency: bytes | None = None


class Expire(_Command, frozen=True):
    """Give a key another time to live. Answers `Written`; `written` is false where nothing was there."""

    key: bytes
    ttl_ms: int
    ack: AckLevel | None = None
    idempotency: bytes | None = None


class Persist(_Command, frozen=True):
    """Take a key's time to live away. Answers `Written`; `written` is false where nothing was there."""

    key: bytes
    ack: AckLevel | None = None
    idempotency: bytes | None = None


class MultiGet(_Command, frozen=True):
    """Many reads, answered in order by one `Many`; at one shard they are executed together."""

    items: tuple[Get, ...]


class MultiSet(_Command, frozen=True):
    """Many sets, without idempotency keys. No atomicity over shards."""

    items: tuple[Set, ...]


class MultiDelete(_Command, frozen=True):
    """Many deletes, without idempotency keys."""

    items: tuple[Delete, ...]


Single = Union[Get, Set, Delete, Incr, Expire, Persist]
Multi = Union[MultiGet, MultiSet, MultiDelete]
Command = Union[Get, Set, Delete, Incr, Expire, Persist, MultiGet, MultiSet, MultiDelete]


class _Reply(msgspec.Struct, frozen=True, array_like=True, tag=_snake):
    pass


class Value(_Reply, frozen=True):
    """A read's answer. On a miss `value` is None, and `version` is the newest effect's executed before."""

    value: bytes | None
    flag: int
    version: Version
    ttl_ms: int | None
    level: ReadLevel


class Written(_Reply, frozen=True):
    """A write's answer.

    `written` false: the condition failed (`current` is what stands there, or None) or nothing was there to
    change; `version` then names the newest effect executed before. `expires_at_ms` is on the shard's clock.
    """

    written: bool
    version: Version
    expires_at_ms: int | None
    ack: AckLevel
    existed: bool = False
    current: Version | None = None


class Counted(_Reply, frozen=True):
    """An `incr`'s answer."""

    value: int
    version: Version
    expires_at_ms: int | None
    ack: AckLevel


class Failure(_Reply, frozen=True):
    """An error in place of an answer: `errors.from_wire({"code", "message", "details"})`."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Many(_Reply, frozen=True):
    """A multi-key command's answer: one reply an item, in the order asked."""

    items: tuple[Value | Written | Counted | Failure, ...]


Reply = Union[Value, Written, Counted, Failure, Many]

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
encode_reply = msgspec.msgpack.Encoder().encode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
