"""What a front end needs from whoever runs it: a node that holds shards, or a process that holds none.

Everything is callbacks on the backend's `Runtime`: a front end adds its protocol and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from prometheus_client.core import Metric

from raftcache.clock import Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.types import Command, Failure, Receipt, Reply, Version
from raftcache.errors import RaftcacheError
from raftcache.routing.moments import Added, Pair, Wrote
from raftcache.shard.joint import Joint
from raftcache.store.entry import Looked


class PolicyWritten(NamedTuple):
    """A policy change that every shard follows from now on. `document` is as `namespace_document` gives it."""

    created: bool
    document: dict[str, Any]


class ShardReplaced(NamedTuple):
    """A lost shard's place is taken. `source` is the node whose replica the new one starts from; None: it is empty."""

    shard: str
    replaces: str
    source: str | None


class LostRow(NamedTuple):
    """A write that was acknowledged and is lost. `acked_ms` is wall time, milliseconds since the Unix epoch."""

    namespace: str
    key: str
    version: str
    acked_ms: int


class LostReport(NamedTuple):
    """The newest lost writes, newest first, how many there were in all, and the nodes that did not answer."""

    lost: list[LostRow]
    total: int
    unreachable: list[str]


class HotKey(NamedTuple):
    """A key with much traffic in one bucket: operations a second for certain, and how many more there may have been.

    `hit_rate` is None where nothing was read. `size_bytes` are those of keys and values read and written in the bucket,
    `share` is the key's part of all that its shard executed, and `fanout` the front ends by which it was asked for, as
    far as they were noticed. `key` is as it is addressed within `namespace`.
    """

    namespace: str
    key: str
    shard: str
    qps: float
    qps_error: float
    hit_rate: float | None
    size_bytes: int
    share: float
    fanout: int


class HotBucket(NamedTuple):
    """Some time, from `start_s` of wall time: the `seconds` of it that have passed, operations, the hottest keys."""

    start_s: int
    seconds: float
    operations: int
    keys: list[HotKey]


class HotReport(NamedTuple):
    """Buckets, the newest first, of what `asked` nodes executed, and the nodes that did not answer."""

    bucket_s: int
    buckets: list[HotBucket]
    asked: int
    unreachable: list[str]


ReceiptsDone = Callable[[list[Receipt | Failure]], None]
LostDone = Callable[[LostReport], None]
HotDone = Callable[[HotReport], None]
PolicyDone = Callable[[PolicyWritten | RaftcacheError], None]
DeleteDone = Callable[[RaftcacheError | None], None]
InvalidateDone = Callable[[RaftcacheError | None], None]
RefreshDone = Callable[[RaftcacheError | None], None]
ReplaceDone = Callable[[ShardReplaced | RaftcacheError], None]
SnapshotsDone = Callable[[list[dict[str, Any]]], None]


Later = Callable[[], Callable[[Reply], None]]
"""Makes the receiver of a reply."""


class Backend(Protocol):
    """The cluster, seen from a front end. Every callback is called exactly once, now or later; none raises.

    A deadline is a time of `runtime.now()`, in seconds; the backend answers by then, with a `Failure` if need be.
    """

    @property
    def runtime(self) -> Runtime:
        """The clock and the event loop that all calls and callbacks share."""

    def execute(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        """Route and execute `command`. Errors are `Failure` replies."""

    def execute_now(self, command: Command, deadline: float, later: Later) -> Reply | None:
        """`execute` for one who can use a reply that is there at once: it is the result. Where it is not, the result is
        None, and what `later` returned, when it was called once, is the `reply`."""

    def look_many(self, keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        """What reads of these keys that name no level find, each if it can be said at once: an entry, or False for
        none; None where it has to be executed. With `until_bytes` there is nothing said behind the first None, nor
        behind the value with which there are so many bytes. `now_s` is `runtime.now()`, read since they were asked
        for."""

    def write_many(self, pairs: Sequence[Pair], now_s: float, joint: Joint | None = None) -> Wrote:
        """Write keys as sets do that name nothing but key and value, in order, up to the first that has to be executed:
        either all that are written are acknowledged at `primary`, and at once, or all wait for a quorum, in `joint`.
        `now_s` as for `look_many`."""

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Added:
        """Add to counters as `incr` does that names key and number only, in order, up to the first that has to be
        executed: all are acknowledged at `primary`, and at once. `now_s` as for `look_many`."""

    def receipts(
        self, asked: Sequence[tuple[bytes, Version]], wait_ms: int, deadline: float, done: ReceiptsDone
    ) -> None:
        """What became of versions, each beside the whole key that it was given out for. `done` gets a `Receipt` or a
        `Failure` for each, in order; it is held back for up to `wait_ms` while one is pending."""

    def lost_writes(self, namespace: str | None, deadline: float, done: LostDone) -> None:
        """What nodes that run acknowledged as leaders and lost: of one namespace, or of all (None)."""

    def hot_keys(self, namespace: str | None, limit: int, bucket_s: int, deadline: float, done: HotDone) -> None:
        """The `limit` hottest keys of each of the last buckets of `bucket_s` seconds, over all nodes: of one namespace,
        or of all (None)."""

    def namespaces(self) -> Namespaces:
        """The namespaces of the newest epoch known here."""

    def refresh_namespaces(self, deadline: float, done: RefreshDone) -> None:
        """Call `done(None)` once `namespaces` has every namespace whose creation was acknowledged before this call,
        wherever that was; `done` gets the error where that cannot be found out."""

    def put_namespace(self, name: str, document: dict[str, Any], deadline: float, done: PolicyDone) -> None:
        """Create `name`, or give it another policy; `document` is whole and validated. Once `done` gets no error, a
        request that is made anywhere obeys it. `OutcomeUnknown`: it is made, and not every shard has said so."""

    def delete_namespace(self, name: str, deadline: float, done: DeleteDone) -> None:
        """Delete `name` and drop its keys. `done` gets None, or the error: `UnknownNamespace`, `BadRequest`…"""

    def invalidate_namespace(self, name: str, deadline: float, done: InvalidateDone) -> None:
        """Drop all keys of `name` and keep its policy. Once `done` gets None, no read begun anywhere sees a value
        written before, but for replica reads, within their staleness. `OutcomeUnknown`: it is made, or may be, and not
        every shard has said so."""

    def invalidate_tag(self, name: str, tag: str, deadline: float, done: InvalidateDone) -> None:
        """Drop the keys of `name`, known here, that were set with `tag`: as `invalidate_namespace`."""

    def namespace_document(self, name: str) -> dict[str, Any] | None:
        """The whole policy of `name` in the names of the HTTP interface, None where there is no such namespace.

        `ack`, `readLevel` (null: the one that fits `ack`), `defaultTtlSeconds`, `maxTtlSeconds` (each null: none),
        `ttlJitterPercent`, `maxItemBytes`, `lossWindow` (`{ms, writes, bytes}`, each a number or null), `onExceeded`,
        `eviction`, `admission`, `quotaBytes`, `quotaItems`, `operationsPerSecond`, `bytesPerSecond` (each null: no
        bound), `weight`, `burstMs`.
        """

    def replace_shard(self, shard_id: str, source: str | None, deadline: float, done: ReplaceDone) -> None:
        """Start a new shard in the place of a lost one, from what the node `source` holds of it, or empty (None)."""

    def cluster(self) -> dict[str, Any]:
        """`{"epoch", "nodes": [{"id", "state"}], "shards": [{"id", "slots", "replicas", "leader", "term"}]}`."""

    def take_snapshots(self, nodes: Sequence[str], shards: Sequence[str], deadline: float, done: SnapshotsDone) -> None:
        """Take snapshots on `nodes` (none named: all) of `shards` (likewise; the metadata group counts as one).

        `done` gets a row a replica: `{"node", "group", "index", "keys", "bytes", "seconds", "error"}`, each null where
        it has no meaning; what is not over at the deadline is an error.
        """

    def ready(self) -> tuple[bool, str]:
        """Whether every shard has a leader that can be reached from here, and if not, why."""

    def collect_metrics(self) -> Iterable[Metric]:
        """The metrics of everything below the front ends; names start with `raftcache_`."""
