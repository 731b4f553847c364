"""The bodies, query parameters and answers of the HTTP interface.

These types validate what comes in, write what goes out, and are what the OpenAPI document is made from. Names
are camelCase on the wire. Limits that count bytes, or that have an error code of their own, are described here
(`extra_json_schema`) and checked where the command is built.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from raftcache.commands.policy import (
    LIMIT_RANGES,
    TTL_JITTER_LIMIT_PERCENT,
    WINDOW_LIMITS,
    Admission,
    Eviction,
    Limits,
)
from raftcache.commands.policy import LossWindow as Defaults
from raftcache.commands.types import (
    INT64_MAX,
    INT64_MIN,
    KEY_LIMIT_BYTES,
    MULTI_KEY_LIMIT,
    RECEIPT_WAIT_LIMIT_MS,
    STALENESS_LIMIT_MS,
    TAG_PATTERN,
    TAGS_LIMIT,
    TTL_LIMIT_MS,
    VALUE_LIMIT_BYTES,
)

TTL_LIMIT_SECONDS = TTL_LIMIT_MS // 1000
TIMEOUT_DEFAULT_MS, TIMEOUT_LIMIT_MS = 5_000, 60_000

Ttl = Annotated[float, Meta(gt=0, le=TTL_LIMIT_SECONDS, description="Seconds; fractions count to the millisecond.")]
Delta = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
Durability = Literal["primary", "quorum", "durable"]
Consistency = Literal["latest", "committed", "linearizable"]
ReadPreference = Literal["leader", "replica"]
MaxStaleness = Annotated[int, Meta(ge=0, le=STALENESS_LIMIT_MS)]
VersionText = Annotated[
    str,
    Meta(pattern=r"^v[0-9A-Za-z_-]{1,64}\.[0-9]{1,18}\.[0-9]{1,18}$", description="As an earlier answer gave it."),
]
State = Literal["pending", "committed", "lost"]
WaitMs = Annotated[int, Meta(ge=0, le=RECEIPT_WAIT_LIMIT_MS, description="Milliseconds.")]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
KeyText = Annotated[
    str,
    Meta(
        description=f"1 to {KEY_LIMIT_BYTES} bytes of UTF-8, the namespace's prefix included.",
        extra_json_schema={"minLength": 1, "maxLength": KEY_LIMIT_BYTES},
    ),
]
ItemKey = Annotated[
    str, Meta(description=f"As any key; one that is not 1 to {KEY_LIMIT_BYTES} bytes long is the error of its item.")
]
PlainName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
"""A node or a shard."""
NamespaceName = Annotated[str, Meta(extra_json_schema={"pattern": "^[A-Za-z0-9_.-]{1,64}$"})]
Tag = Annotated[str, Meta(pattern=TAG_PATTERN)]
"""A family of keys that can be dropped together."""
Tags = Annotated[list[Tag], Meta(max_length=TAGS_LIMIT, description="Families that the key is to be dropped with.")]
TagsText = Annotated[
    str,
    Meta(
        pattern=rf"^{TAG_PATTERN[1:-1]}(,{TAG_PATTERN[1:-1]}){{0,{TAGS_LIMIT - 1}}}$",
        description="Families that the key is to be dropped with, with commas between them.",
    ),
]
MANY = Meta(extra_json_schema={"maxItems": MULTI_KEY_LIMIT}, description="None is fine, and is answered by none.")
ErrorDetail = Annotated[
    dict[str, Any],
    Meta(
        description="What went wrong; details such as `version` beside `code` and `message`.",
        extra_json_schema={
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
        },
    ),
]

CHOICES: dict[str, tuple[str, ...]] = {
    "durability": ("primary", "quorum", "durable"),
    "ack": ("primary", "quorum", "durable"),
    "consistency": ("latest", "committed", "linearizable"),
    "readLevel": ("latest", "committed", "linearizable"),
    "readPreference": ("leader", "replica"),
    "onExceeded": ("quorum", "wait", "reject"),
    "eviction": tuple(choice.value for choice in Eviction),
    "admission": tuple(choice.value for choice in Admission),
}
"""What a field of each name may be, for error messages."""


class Input(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of what clients send: an unknown field is an error. An optional field may be null or left out."""


class NoQuery(Input, frozen=True):
    """No query parameters."""


class ReadOptions(Input, frozen=True):
    """How to read. `consistency` absent: the namespace's.

    `readPreference` `replica`: any replica answers, from its committed state, and says its `version` and how old it may
    be. `minVersion`, of an earlier answer of the same shard, and `maxStalenessMs` are what it must come up to.
    """

    consistency: Consistency | None = None
    read_preference: ReadPreference | None = None
    min_version: VersionText | None = None
    max_staleness_ms: MaxStaleness | None = None


class GetQuery(ReadOptions, frozen=True):
    """The query parameters of a read."""


class DeleteQuery(Input, frozen=True):
    """`ifVersion`: delete only what has this version."""

    if_version: VersionText | None = None
    durability: Durability | None = None


class SetOptions(Input, frozen=True):
    """How to write.

    `ttlSeconds` absent: the namespace's default. `ifVersion` and `ifAbsent` are conditions; both must hold.
    """

    ttl_seconds: Ttl | None = None
    if_version: VersionText | None = None
    if_absent: bool = False
    durability: Durability | None = None


class SetQuery(SetOptions, frozen=True):
    """The query parameters beside a raw body."""

    tags: TagsText | None = None


class PutBody(SetOptions, frozen=True, kw_only=True):
    """A value, any JSON, and how to write it."""

    value: msgspec.Raw
    tags: Tags | None = None


class GetMany(ReadOptions, frozen=True, kw_only=True):
    """Many reads. A key that lies in another shard than `minVersion` is the error of its item."""

    namespace: NamespaceName
    keys: Annotated[list[ItemKey], MANY]


class SetItem(Input, frozen=True):
    """One of many writes."""

    key: ItemKey
    value: msgspec.Raw
    ttl_seconds: Ttl | None = None
    tags: Tags | None = None


class SetMany(Input, frozen=True):
    """Many writes."""

    namespace: NamespaceName
    items: Annotated[list[SetItem], MANY]
    durability: Durability | None = None


class DeleteMany(Input, frozen=True):
    """Many deletes."""

    namespace: NamespaceName
    keys: Annotated[list[ItemKey], MANY]
    durability: Durability | None = None


class IncrBody(Input, frozen=True):
    """Add `delta` to a counter; `ttlSeconds` counts only where the counter is new."""

    namespace: NamespaceName
    key: KeyText
    delta: Delta = 1
    ttl_seconds: Ttl | None = None
    durability: Durability | None = None


class ReplaceBody(Input, frozen=True):
    """Which lost shard to replace, and where the new one starts `from`: the node of a survivor, or null for empty."""

    shard: str
    source: str | None = msgspec.field(name="from")


class ExpireBody(Input, frozen=True):
    """Give a key another time to live; null takes it away."""

    namespace: NamespaceName
    key: KeyText
    ttl_seconds: Ttl | None
    durability: Durability | None = None


INTEGER = {"type": "integer"}
"""For what may be null: msgspec takes 5.0 for an integer, as JSON does, but not for one that may be null as well. So it
is a float here, and `namespaces` makes an integer of it."""
WindowMs = Annotated[float, Meta(ge=1, le=WINDOW_LIMITS["ms"], multiple_of=1, extra_json_schema=INTEGER)]
WindowWrites = Annotated[float, Meta(ge=1, le=WINDOW_LIMITS["writes"], multiple_of=1, extra_json_schema=INTEGER)]
WindowBytes = Annotated[float, Meta(ge=1, le=WINDOW_LIMITS["bytes"], multiple_of=1, extra_json_schema=INTEGER)]


def _within(limit: str, **schema: Any) -> Meta:
    low, high = LIMIT_RANGES[limit]
    return Meta(ge=low, le=high, **schema)


def _nullable(limit: str) -> Meta:
    return _within(limit, multiple_of=1, extra_json_schema=INTEGER)


QuotaBytes = Annotated[float, _nullable("quota_bytes")]
QuotaItems = Annotated[float, _nullable("quota_items")]
OperationsPerSecond = Annotated[float, _nullable("operations_per_second")]
BytesPerSecond = Annotated[float, _nullable("bytes_per_second")]
DEFAULT_LIMITS = Limits()


class LossWindow(Input, frozen=True):
    """How much may be acknowledged at `primary` and not yet committed, over all shards; null lifts a bound. `ms` is the
    age that the oldest of it may reach; `bytes` count keys, values and 40 a write. Left out: the default.
    """

    ms: WindowMs | None = Defaults().ms
    writes: WindowWrites | None = Defaults().writes
    bytes: WindowBytes | None = Defaults().bytes


class Policy(Input, frozen=True):
    """The whole policy of a namespace; what is left out takes its default.

    `readLevel` null: `latest` where `ack` is `primary`, else `linearizable`. `allowReplicaReads` null: true where `ack`
    is `primary`, else false. No key lives longer than `maxTtlSeconds`, whatever is asked; null: no bound.
    `ttlJitterPercent` takes up to that share off each time to live, at random. `lossWindow`, and what becomes of a
    write that it has no room for (`onExceeded`), mean something where `ack` is `primary`.

    `quotaBytes` and `quotaItems` bound what it keeps, over the cluster; null: no bound. Over them, or where a node's
    memory is full and this namespace has more of it than its `weight` grants, `eviction` says which keys go (`none`:
    writes are refused), and `admission` whether a new key is worth another's place. `operationsPerSecond` and
    `bytesPerSecond` bound its traffic over the cluster, with what is allowed in `burstMs` at once.
    """

    ack: Durability = "primary"
    read_level: Consistency | None = None
    allow_replica_reads: bool | None = None
    default_ttl_seconds: Ttl | None = None
    max_ttl_seconds: Ttl | None = None
    ttl_jitter_percent: Annotated[int, Meta(ge=0, le=TTL_JITTER_LIMIT_PERCENT)] = 0
    max_item_bytes: Annotated[int, Meta(ge=1, le=VALUE_LIMIT_BYTES)] = VALUE_LIMIT_BYTES
    loss_window: LossWindow = LossWindow()
    on_exceeded: Literal["quorum", "wait", "reject"] = "quorum"
    eviction: Literal["lru", "lfu", "lrm", "ttl", "random", "s3fifo", "none"] = "lru"
    admission: Literal["all", "tinylfu"] = "all"
    quota_bytes: QuotaBytes | None = None
    quota_items: QuotaItems | None = None
    weight: Annotated[int, _within("weight")] = DEFAULT_LIMITS.weight
    operations_per_second: OperationsPerSecond | None = None
    bytes_per_second: BytesPerSecond | None = None
    burst_ms: Annotated[int, _within("burst_ms")] = DEFAULT_LIMITS.burst_ms


class ReceiptQuery(Input, frozen=True):
    """`waitMs`: while the version is pending, hold the answer back for up to so long, on top of the timeout."""

    wait_ms: WaitMs = 0


class ReceiptItem(Input, frozen=True):
    """A version, and the key that it was given out for."""

    key: ItemKey
    version: VersionText


class ReceiptMany(Input, frozen=True):
    """Many versions. `waitMs`: hold the answer back for up to so long while one of a shard's is pending."""

    namespace: NamespaceName
    items: Annotated[list[ReceiptItem], MANY]
    wait_ms: WaitMs = 0


class LostWritesQuery(Input, frozen=True):
    """`namespace` absent: all of them."""

    namespace: NamespaceName | None = None


class HotKeysQuery(Input, frozen=True):
    """`namespace` absent: all of them. `limit` is keys a bucket."""

    namespace: NamespaceName | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    bucket_seconds: Annotated[int, Meta(ge=1, le=60)] = 10


class SnapshotRequest(Input, frozen=True):
    """Of which groups snapshots are to be taken, and on which nodes. None named means all."""

    nodes: Annotated[list[PlainName], Meta(max_length=300)] = []
    shards: Annotated[list[PlainName], Meta(max_length=300)] = []


class Output(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what is answered."""


class ErrorAnswer(Output, frozen=True):
    """Any error."""

    error: ErrorDetail


class Stored(Output, frozen=True):
    """A write that took place."""

    written: bool
    version: str
    expires_at: Instant | None
    durability: str


class Refused(Output, frozen=True):
    """A condition that did not hold; `currentVersion` null: nothing is there."""

    written: bool
    current_version: str | None


class Hit(Output, frozen=True):
    """A value. A raw one is `{"encoding": "base64", "value": …}`. `stalenessMs` is there where a replica answered: all
    that was acknowledged at `quorum` longer ago than that is in the state that was read."""

    hit: bool
    value: msgspec.Raw
    version: str
    ttl_remaining_seconds: int | None
    staleness_ms: int | UnsetType = UNSET


class Miss(Output, frozen=True):
    """Nothing there; of a replica, with its `version` and how old its state may be."""

    hit: bool
    version: str | UnsetType = UNSET
    staleness_ms: int | UnsetType = UNSET


class GotItem(Output, frozen=True):
    """One result of many reads: a hit, a miss or an error."""

    key: str
    hit: bool | UnsetType = UNSET
    value: msgspec.Raw | UnsetType = UNSET
    version: str | UnsetType = UNSET
    ttl_remaining_seconds: int | UnsetType | None = UNSET
    staleness_ms: int | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class StoredItem(Output, frozen=True):
    """One result of many writes."""

    key: str
    written: bool | UnsetType = UNSET
    version: str | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET
    durability: str | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class DeletedItem(Output, frozen=True):
    """One result of many deletes; `existed` tells whether anything was there."""

    key: str
    existed: bool | UnsetType = UNSET
    version: str | UnsetType = UNSET
    durability: str | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class ReceiptAnswer(Output, frozen=True):
    """The fate of a version. `durable`: it is known to be synced on a majority of the replicas."""

    state: State
    durable: bool
    shard: str
    term: int


class ReceiptResult(Output, frozen=True):
    """One result of many receipts."""

    key: str
    version: str
    state: State | UnsetType = UNSET
    durable: bool | UnsetType = UNSET
    shard: str | UnsetType = UNSET
    term: int | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class ReceiptResults(Output, frozen=True):
    """One result an item, in the order asked."""

    results: list[ReceiptResult]


class LostWriteRow(Output, frozen=True):
    """A write that was acknowledged and is lost. Bytes of the key that are no UTF-8 are shown as `\\xff`."""

    namespace: str
    key: str
    version: str
    acked_at: Instant


class LostWrites(Output, frozen=True):
    """The newest lost writes, newest first. `total` counts all since the nodes started; `truncated`: it is more than
    are listed. `unreachable` are nodes that did not answer, whose losses are missing here."""

    lost: list[LostWriteRow]
    total: int
    truncated: bool
    unreachable: list[str]


class HotKeyRow(Output, frozen=True):
    """A key's traffic in a bucket. `qps` is of reads and writes, for certain; there may have been `qpsError` more.

    `hitRate` is of reads, null where there were none; `bytes` are those of keys and values, read and written in this
    bucket; `shareOfShard` is the key's part of all that its shard executed. `fanoutCount` is by how many front ends it
    was asked for: nodes that took requests for it, and processes of `raftcache frontend`, one that restarted counting
    anew; up to 64. Bytes of the key that are no UTF-8 are shown as `\\xff`. Of shards with over 250 operations a second
    the figures are estimates from a sample, and of `fanoutCount` a front end that asked seldom may be missing.
    """

    namespace: str
    key: str
    shard: str
    qps: float
    qps_error: float
    hit_rate: float | None
    bytes: int
    share_of_shard: float
    fanout_count: int


class HotKeyBucket(Output, frozen=True):
    """Some time, and the hottest keys first. `seconds` is how much of it has passed; `operations` are those of all
    shards, on all keys."""

    start: Instant
    seconds: float
    operations: int
    keys: list[HotKeyRow]


class HotKeys(Output, frozen=True):
    """The newest bucket, which is not over, comes first. Of a quiet time there is no bucket. `nodesAsked` is how many
    nodes were asked for what they executed; `unreachable` are those that did not answer, whose part is missing here."""

    bucket_seconds: int
    buckets: list[HotKeyBucket]
    nodes_asked: int
    unreachable: list[str]


class GotMany(Output, frozen=True):
    """One result a key, in the order asked."""

    results: list[GotItem]


class StoredMany(Output, frozen=True):
    """One result an item, in the order asked."""

    results: list[StoredItem]


class DeletedMany(Output, frozen=True):
    """One result a key, in the order asked."""

    results: list[DeletedItem]


class CountedAnswer(Output, frozen=True):
    """The counter after the addition."""

    value: int
    version: str
    durability: str


class ExpireAnswer(Output, frozen=True):
    """`applied` false: nothing was there."""

    applied: bool
    version: str
    durability: str


class NamedPolicy(Policy, frozen=True, kw_only=True):
    """A namespace in the list of all."""

    name: NamespaceName


class PolicyList(Output, frozen=True):
    """All namespaces, by name."""

    namespaces: list[NamedPolicy]


class Invalidated(Output, frozen=True):
    """What was dropped: the keys of a namespace, or those of them that carried a tag."""

    invalidated: bool
    namespace: str
    tag: str | UnsetType = UNSET


class NodeStatus(Output, frozen=True):
    """A node as the metadata group knows it."""

    id: str
    state: str


class ReplicaStatus(Output, frozen=True):
    """One replica of a shard; `reason` says why it is not open."""

    node: str
    state: str
    reason: str = ""


class SurvivorStatus(Output, frozen=True):
    """What is left of a lost shard on one node: how new its log is, and how many keys it holds (null: not known)."""

    node: str
    member: str
    term: int
    last_index: int
    keys: int | None


class ShardStatus(Output, frozen=True):
    """A shard; `slots` are inclusive ranges, `leader` is a node id. `survivors` are those of a lost one, the one with
    the newest log first."""

    id: str
    slots: list[tuple[int, int]]
    replicas: list[ReplicaStatus]
    leader: str | None
    term: int
    state: Literal["active", "lost"] = "active"
    survivors: list[SurvivorStatus] = []


class ClusterStatus(Output, frozen=True):
    """The cluster as this front end sees it."""

    epoch: int
    nodes: list[NodeStatus]
    shards: list[ShardStatus]


class ReplaceAnswer(Output, frozen=True):
    """The new shard, the lost one, and the node whose replica it starts from (null: it is empty)."""

    shard: str
    replaces: str
    source: str | None = msgspec.field(name="from")


class SnapshotRow(Output, frozen=True):
    """One replica's snapshot: of which entry, how many keys (null where they are not counted), its bytes on disk, and
    how long it took; or the error. A node that did not answer has a row without a group."""

    node: str
    group: str | None
    index: int | None
    keys: int | None
    bytes: int | None
    seconds: float | None
    error: str | None


class SnapshotList(Output, frozen=True):
    """The snapshots that were asked for."""

    snapshots: list[SnapshotRow]


class Health(Output, frozen=True):
    """`reason` says what is missing; it is empty when all is well."""

    ok: bool
    reason: str
