"""Commands and replies: what clients ask and what shards answer, on every interface the same.

All are arrays on the wire (msgspec msgpack, tagged by name). A command names whole keys: the namespace is part
of the key (`routing.namespaces` joins and splits them). Times are milliseconds, levels are the words of DESIGN.

A single-key write may carry an idempotency key, `idempotency`: of several with the same key, within a namespace, only
the first is executed, and all get its reply. A write without one that a front end may have to send again goes in an
envelope with a key that the front end minted (`Minted`), to the same end; the client knows nothing of that.

`named_at` says of a key that it was addressed by the name of a namespace, which is its prefix then, and that this
namespace existed as of that metadata epoch; 0 says that it was not. The sender may not have heard that it was
deleted since, or the shard not yet that it was created: either way it does not become a key of `default`.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import sha1
from typing import Any, NamedTuple, Union

import msgspec

from raftcache.errors import RaftcacheError

KEY_LIMIT_BYTES = 1024
VALUE_LIMIT_BYTES = 1 << 20
MULTI_KEY_LIMIT = 1000
SLOT_LIMIT = 16_383
"""The highest slot."""
SCAN_PAGES = 1024
"""Every key of a shard is in one of so many pages, by its checksum, on every replica in the same."""
SCAN_LIMIT = 1000
"""Keys that one `Scan` asks for; the page that has the last of them is told of as a whole."""
TRANSACTION_LIMIT_BYTES = 4 << 20
"""Keys and values of a transaction's commands, with its scripts whole; keys and arguments of a script."""
SCRIPT_LIMIT_BYTES = 128 << 10
"""The source of a script."""
SESSION_LIMIT_BYTES = 16
"""The name of a front end among those that mint keys."""
SCRIPT_ARGUMENTS_LIMIT = 1024
"""Keys and arguments of a script."""
RECEIPT_WAIT_LIMIT_MS = 30_000
"""The longest that a question for receipts is held back."""
IDEMPOTENCY_KEY_LIMIT_BYTES = 128
TTL_LIMIT_MS = 10 * 365 * 24 * 3600 * 1000
STALENESS_LIMIT_MS = 24 * 3600 * 1000
"""What a read may name as the oldest state that it takes."""
TAGS_LIMIT, TAG_LIMIT_BYTES = 8, 64
"""How many tags a key may carry, and how long each may be."""
TAG_PATTERN = r"^[A-Za-z0-9_.:@=+-]{1,64}$"
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

RAW, JSON = 0, 1
"""Value flags: opaque bytes, or compact JSON text."""


class AckLevel(IntEnum):
    """When a write is acknowledged; the public field is `durability`."""

    PRIMARY = 1
    QUORUM = 2
    DURABLE = 3


class ReadLevel(IntEnum):
    """What a read may see; the public field is `consistency`.

    `REPLICA` stands beside the others: no policy and no `level` of a request names it. It is what a reply says that a
    replica gave from its committed state, which may be stale, because the request asked for that (`Get.replica`).
    """

    REPLICA = 0
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
    """Read one key. `level` None means the namespace's. Answers `Value`.

    `replica`: any replica may answer, from its committed state. Such a read may ask for a state that holds what
    `min_version` names (an earlier reply's version, of the key's shard), and for one no older than `max_staleness_ms`.
    """

    key: bytes
    level: ReadLevel | None = None
    replica: bool = False
    min_version: Version | None = None
    max_staleness_ms: int | None = None
    named_at: int = 0


class Set(_Command, frozen=True):
    """Write one key. `ttl_ms` None means the namespace's default. Answers `Written`.

    `tags` are the families that the key belongs to from now on, until it is set anew: dropping a tag drops it.
    `if_present`: only where something stands. `keep_ttl`: what stands keeps its time to live, also none. `reveal`: the
    answer's `previous` is what stood there, or stands there still.
    """

    key: bytes
    value: bytes
    flag: int = RAW
    ttl_ms: int | None = None
    if_version: Version | None = None
    if_absent: bool = False
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0
    tags: tuple[str, ...] | None = None
    if_present: bool = False
    keep_ttl: bool = False
    reveal: bool = False


class Delete(_Command, frozen=True):
    """Remove one key. Answers `Written`, whose `existed` tells whether anything was there; with `reveal` its `previous`
    is what."""

    key: bytes
    if_version: Version | None = None
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0
    reveal: bool = False


class Append(_Command, frozen=True):
    """Add bytes to the end of a value; a key that is missing is set to them, with the namespace's time to live. Answers
    `Counted`: the length of the value that stands now, in bytes."""

    key: bytes
    value: bytes
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0


class Incr(_Command, frozen=True):
    """Add to a counter; `ttl_ms` counts only where the counter is new. Answers `Counted`."""

    key: bytes
    delta: int = 1
    ttl_ms: int | None = None
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0


class ExpireIf(IntEnum):
    """When `Expire` does anything: by the time to live that the key has. A key without one lives longer than any."""

    ALWAYS = 0
    PERSISTENT = 1
    VOLATILE = 2
    LONGER = 3
    SHORTER = 4
    VOLATILE_SHORTER = 5


class Expire(_Command, frozen=True):
    """Give a key another time to live. Answers `Written`; `written` is false where nothing was there, or where `when`
    does not hold."""

    key: bytes
    ttl_ms: int
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0
    when: ExpireIf = ExpireIf.ALWAYS
    reveal: bool = False


class Persist(_Command, frozen=True):
    """Take a key's time to live away. Answers `Written`; `written` is false where nothing was there."""

    key: bytes
    ack: AckLevel | None = None
    idempotency: bytes | None = None
    named_at: int = 0
    reveal: bool = False


class MultiGet(_Command, frozen=True):
    """Many reads, answered in order by one `Many`; at one shard they are executed together."""

    items: tuple[Get, ...]


class MultiSet(_Command, frozen=True):
    """Many sets, without idempotency keys. No atomicity over shards."""

    items: tuple[Set, ...]


class MultiDelete(_Command, frozen=True):
    """Many deletes, without idempotency keys."""

    items: tuple[Delete, ...]


class Usage(_Command, frozen=True):
    """How is a key used, as far as the eviction of its namespace keeps that? Asking is no use of it. Answers `Used`."""

    key: bytes
    named_at: int = 0

    @property
    def idempotency(self) -> None:
        """Reads are not keyed."""
        return None


Single = Union[Get, Set, Delete, Incr, Append, Expire, Persist, Usage]
Multi = Union[MultiGet, MultiSet, MultiDelete]


class Scan(_Command, frozen=True):
    """What keys are there? Asked of the shard that owns `slot`: of its pages from `page` on, as many as have
    `count` keys together, or none where that is 0. Answers `Scanned`."""

    slot: int
    page: int = 0
    count: int = 0

    @property
    def key(self) -> bytes:
        """It names no key."""
        return b""


class Script(_Command, frozen=True):
    """A program in Lua that executes commands of one shard, in one batch with nothing between them; answers `Scripted`.

    `keys` are those that it says it uses, all of one shard; it may use others of that shard. `read_only`: it may not
    write. What it has done when it fails, or is stopped, remains.
    """

    source: bytes
    keys: tuple[bytes, ...] = ()
    args: tuple[bytes, ...] = ()
    read_only: bool = False

    @property
    def key(self) -> bytes:
        """A key by which to find the shard: without any, each script has a shard of its own."""
        return self.keys[0] if self.keys else sha1(self.source).hexdigest().encode()

    @property
    def idempotency(self) -> None:
        """Scripts are not keyed."""
        return None


class Transaction(_Command, frozen=True):
    """Single-key commands and scripts of one shard, without idempotency keys, executed in order, in one batch, with
    nothing between them. `expected` are keys of that shard with the versions that must stand there, None for nothing:
    where one does not, nothing is executed, and the answer is `Unmet`. Else it is `Many`, an item a command; commands
    fail alone. A script without keys is executed where the others are.
    """

    items: tuple[Union[Single, Script], ...]
    expected: tuple[tuple[bytes, Version | None], ...] = ()

    @property
    def key(self) -> bytes:
        """A key by which to find the shard: the first that is named; without any, as for a script."""
        for item in self.items:
            if type(item) is not Script or item.keys:
                return item.key
        return self.expected[0][0] if self.expected else self.items[0].key if self.items else b""

    @property
    def idempotency(self) -> None:
        """Transactions are not keyed."""
        return None


Command = Union[Single, Multi, Transaction, Scan, Script]


class MintedKey(NamedTuple):
    """What makes one write of a front end known again: its session, its number, from 1, and the session's floor at the
    shard asked, below the number: all that it sent there up to that is answered."""

    session: bytes
    number: int
    floor: int


class Minted(_Command, frozen=True):
    """A write under a key that a front end minted, a number for each item of a multi-key one; answered as `command` is.

    `repeat`: the outcome of an earlier attempt is not known. A number that the shard knows nothing of any more is
    answered with `outcome_unknown` and the detail `forgotten`.
    """

    command: Union[Set, Delete, Incr, Append, Expire, Persist, MultiSet, MultiDelete, Transaction, Script]
    session: bytes
    floor: int
    numbers: tuple[int, ...]
    repeat: bool = False

    @property
    def key(self) -> bytes:
        """A key by which to find the shard."""
        inner = self.command
        return inner.items[0].key if isinstance(inner, MultiSet | MultiDelete) else inner.key


Asked = Union[Command, Minted]
"""What a shard is asked to execute."""


class Receipts(_Command, frozen=True):
    """What became of versions of one shard? Answers `ReceiptList`, an item a version.

    While one of them is pending the answer is held back for up to `wait_ms`, until none is. It is no command of the
    table: it names no keys, is routed by the shard's id, and a replica that does not lead may know the answer.
    """

    versions: tuple[Version, ...]
    wait_ms: int = 0


class _Reply(msgspec.Struct, frozen=True, array_like=True, tag=_snake):
    pass


class Value(_Reply, frozen=True):
    """A read's answer. On a miss `value` is None, and `version` is the newest effect's executed before: at `latest` the
    newest of all, else the newest that is committed when the reply leaves, so that no later one reveals itself.

    `staleness_ms` is set where `level` is `REPLICA`: every write acknowledged at `quorum` longer ago than that is in
    the state that was read."""

    value: bytes | None
    flag: int
    version: Version
    ttl_ms: int | None
    level: ReadLevel
    staleness_ms: int | None = None


class Written(_Reply, frozen=True):
    """A write's answer.

    `written` false: the condition failed (`current` is what stands there, or None) or nothing was there to
    change; `version` then names the newest effect executed before, as a `Value`'s does on a miss. `expires_at_ms` is on
    the shard's clock. `previous` is what stood there before, where the command asked for it and something did.
    """

    written: bool
    version: Version
    expires_at_ms: int | None
    ack: AckLevel
    existed: bool = False
    current: Version | None = None
    previous: bytes | None = None


class Counted(_Reply, frozen=True):
    """The answer of an `incr`: the counter, or of an `append`: the length."""

    value: int
    version: Version
    expires_at_ms: int | None
    ack: AckLevel


class Used(_Reply, frozen=True):
    """How a key is used. `eviction` and `admission` are its namespace's policy. `frequency` is the counter of `lfu`, up
    to 255, or with `tinylfu`, in front of any order, its estimate, up to 15. `idle_s` is how long ago the key was used
    last with `lru`, or written with `lrm`; what was before its order was made counts as of then. Each is None where
    nobody keeps it: by another policy, or as long as there is no order."""

    exists: bool
    eviction: str
    admission: str
    frequency: int | None = None
    idle_s: int | None = None


class Failure(_Reply, frozen=True):
    """An error in place of an answer: `errors.from_wire({"code", "message", "details"})`."""

    code: str
    message: str
    details: dict[str, Any] = {}


def failure_of(error: RaftcacheError) -> Failure:
    """An error in place of a reply."""
    return Failure(error.code, error.message, error.details)


class Scripted(_Reply, frozen=True):
    """What came of a script. `result` is nothing, an integer, bytes, a list of results, or a dict of one item, `ok`
    with a status or `err` with an error. `wrote` is the version of its last write, None where it wrote nothing."""

    result: Any
    wrote: Version | None
    ack: AckLevel


ItemReply = Union[Value, Written, Counted, Used, Failure, Scripted]


class Many(_Reply, frozen=True):
    """A multi-key command's or a transaction's answer: one reply an item, in the order asked. Only a transaction's
    items may be scripts."""

    items: tuple[ItemReply, ...]


class Scanned(_Reply, frozen=True):
    """Keys of some pages, none of them twice, the next page to ask for (None: that was the last one), how many keys the
    shard has in all, and how many of those have a time to live. What has expired may count until it is swept."""

    keys: tuple[bytes, ...]
    next_page: int | None
    size: int
    expiring: int = 0


class Unmet(_Reply, frozen=True):
    """A transaction of which nothing was executed: at `key` stands another version than was expected."""

    key: bytes


class Fate(IntEnum):
    """What has become of a version; the public field is `state`. Only `PENDING` ever changes."""

    PENDING = 0
    COMMITTED = 1
    LOST = 2


class Receipt(_Reply, frozen=True):
    """The fate of one version. `durable`: it is known to be synced on a quorum."""

    version: Version
    fate: Fate
    durable: bool = False


class ReceiptList(_Reply, frozen=True):
    """The answer to `Receipts`: one item a version, in the order asked."""

    items: tuple[Receipt | Failure, ...]


Reply = Union[Value, Written, Counted, Used, Failure, Many, Unmet, Scanned, Scripted, ReceiptList]

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
encode_reply = msgspec.msgpack.Encoder().encode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
