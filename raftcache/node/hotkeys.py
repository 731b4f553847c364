"""The hot keys of one node, and those of the whole cluster, gathered over its nodes.

A key's operations may be spread over nodes: its shard's leader executes most of them, others answer replica reads, and
the leader may have changed. So every node tells what it executed itself, span by span, and here that is added up: by
shard and key, beside the sum of all that the shard executed. A node puts its shards together one a turn, for one of
them takes up to 4 ms, and tells twice as many keys a span as are asked for, in case one is the hottest only in sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import msgspec

from raftcache.clock import Clock
from raftcache.commands.policy import DEFAULT
from raftcache.errors import BadRequest, RaftcacheError
from raftcache.frontends.backend import HotBucket, HotDone, HotKey, HotReport
from raftcache.node.core import NodeCore
from raftcache.node.snapshots import Call
from raftcache.shard.hotkeys import KeyRow
from raftcache.shard.replica import ShardReplica
from raftcache.shard.sources import Sources

HOT_KEYS_LIMIT = 100
"""Keys a bucket that one answer lists."""
BUCKET_LIMIT_S = 60
"""How long a bucket may be: half of what replicas keep, so that there is always a whole one."""


class HotKeysBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the RPC `hot_keys`: of one namespace, or null for all; how many a bucket, of how many seconds."""

    namespace: str | None
    limit: int
    bucket_s: int


class ShardSum(msgspec.Struct, array_like=True):
    """All that a node executed of a shard in a bucket, and the front ends by which it was asked for hot keys."""

    start_s: int
    shard: str
    operations: int
    sources: tuple[str, ...]


class NodeRow(msgspec.Struct, array_like=True):
    """What a node executed of one key in a bucket, see `shard.hotkeys.KeyRow`. `sources` is a set of those of its
    `ShardSum`."""

    start_s: int
    shard: str
    namespace: str
    key: bytes
    operations: int
    more: int
    reads: int
    hits: int
    size_bytes: int
    sources: int


class NodeRows(msgspec.Struct, array_like=True):
    """The answer of one node."""

    sums: list[ShardSum]
    rows: list[NodeRow]


_decode_wanted = msgspec.json.Decoder(HotKeysBody).decode
_decode_rows = msgspec.msgpack.Decoder(NodeRows).decode
_encode_rows = msgspec.msgpack.Encoder().encode


def serve_hot_keys(core: NodeCore, body: bytes, reply: Callable[[bytes | RaftcacheError], None]) -> None:
    """Answer the RPC `hot_keys`."""
    try:
        wanted = _decode_wanted(body)
    except msgspec.MsgspecError as error:
        reply(BadRequest(f"hot_keys: {error}"))
        return
    if not 1 <= wanted.limit <= HOT_KEYS_LIMIT:
        reply(BadRequest(f"hot_keys: a limit of {wanted.limit} is not within 1 to {HOT_KEYS_LIMIT}"))
    elif not 1 <= wanted.bucket_s <= BUCKET_LIMIT_S:
        reply(BadRequest(f"hot_keys: a bucket of {wanted.bucket_s} s is not within 1 to {BUCKET_LIMIT_S} s"))
    else:
        _Collecting(core, wanted, lambda rows: reply(_encode_rows(rows))).step()


class _Collecting:
    """Goes through the shards of a node, one a turn."""

    def __init__(self, core: NodeCore, wanted: HotKeysBody, done: Callable[[NodeRows], None]) -> None:
        self._runtime, self._wanted, self._done = core.runtime, wanted, done
        self._left = list(core.shards.items())
        self._sums: list[ShardSum] = []
        self._rows: dict[int, list[NodeRow]] = {}

    def step(self) -> None:
        """Take the next shard in, or answer."""
        if self._left:
            self._take(*self._left.pop())
            self._runtime.call_soon(self.step)
        else:
            best = [self._hottest(rows) for rows in self._rows.values()]
            self._done(NodeRows(self._sums, [row for rows in best for row in rows]))

    def _take(self, shard_id: str, replica: ShardReplica) -> None:
        for span in replica.hotkeys.spans(self._wanted.bucket_s, self._runtime.wall_ms() // 1000):
            self._sums.append(ShardSum(span.start_s, shard_id, span.operations, span.sources))
            some = islice(self._of_namespace(replica, span.keys), 2 * self._wanted.limit)
            rows = [NodeRow(span.start_s, shard_id, name, *row) for name, row in some]
            self._rows.setdefault(span.start_s, []).extend(rows)

    def _of_namespace(self, replica: ShardReplica, rows: Iterable[KeyRow]) -> Iterable[tuple[str, KeyRow]]:
        resolve, wanted = replica.policies.in_force.resolve, self._wanted.namespace
        for row in rows:
            name = resolve(row.key).name
            if wanted is None or name == wanted:
                yield name, row

    def _hottest(self, rows: list[NodeRow]) -> list[NodeRow]:
        return sorted(rows, key=lambda row: -row.operations)[: 2 * self._wanted.limit]


class _Gathered:
    """The answers of a known number of nodes, added up."""

    def __init__(self, clock: Clock, count: int, limit: int, bucket_s: int, done: HotDone) -> None:
        self._clock, self._left, self._count, self._done = clock, count, count, done
        self._limit, self._bucket_s = limit, bucket_s
        self._sums: dict[int, dict[str, int]] = {}
        self._sources: dict[int, Sources] = {}
        self._rows: dict[int, dict[tuple[str, bytes], NodeRow]] = {}
        self._silent: list[str] = []
        if not count:
            self._finish()

    def put(self, node_id: str, answer: bytes | RaftcacheError) -> None:
        """The answer of one node."""
        if isinstance(answer, RaftcacheError):
            self._silent.append(node_id)
        else:
            self._add(_decode_rows(answer))
        self._left -= 1
        if not self._left:
            self._finish()

    def _add(self, found: NodeRows) -> None:
        theirs: dict[tuple[int, str], Sources] = {}
        for start_s, shard, operations, names in map(msgspec.structs.astuple, found.sums):
            sums = self._sums.setdefault(start_s, {})
            sums[shard] = sums.get(shard, 0) + operations
            theirs[start_s, shard] = Sources(names)
        for row in found.rows:
            ours = self._sources.setdefault(row.start_s, Sources())
            row.sources = ours.taken_from(theirs[row.start_s, row.shard], row.sources)
            self._add_row(self._rows.setdefault(row.start_s, {}), row)

    def _add_row(self, rows: dict[tuple[str, bytes], NodeRow], row: NodeRow) -> None:
        known = rows.setdefault((row.shard, row.key), row)
        if known is not row:
            known.sources |= row.sources
            known.operations += row.operations
            known.more += row.more
            known.reads += row.reads
            known.hits += row.hits
            known.size_bytes += row.size_bytes

    def _finish(self) -> None:
        newest = [self._bucket(start_s) for start_s in sorted(self._sums, reverse=True)]
        self._done(HotReport(self._bucket_s, newest, self._count, sorted(self._silent)))

    def _bucket(self, start_s: int) -> HotBucket:
        """The newest bucket is not over yet: its rates are of the seconds that have passed, one at least."""
        passed_s = self._clock.wall_ms() / 1000 - start_s
        seconds = min(float(self._bucket_s), max(1.0, passed_s))
        sums = self._sums[start_s]
        rows = sorted(self._rows.get(start_s, {}).values(), key=lambda row: (-row.operations, row.key))
        keys = [_hot_key(row, seconds, sums[row.shard]) for row in rows[: self._limit]]
        return HotBucket(start_s, seconds, sum(sums.values()), keys)


def _hot_key(row: NodeRow, seconds: float, of_shard: int) -> HotKey:
    """A key that is no UTF-8 is shown with its odd bytes as `\\xff`."""
    key = row.key if row.namespace == DEFAULT else row.key.partition(b":")[2]
    return HotKey(
        row.namespace,
        key.decode("utf-8", "backslashreplace"),
        row.shard,
        row.operations / seconds,
        row.more / seconds,
        row.hits / row.reads if row.reads else None,
        row.size_bytes,
        row.operations / of_shard,
        row.sources.bit_count(),
    )


def gather_hot_keys(
    clock: Clock,
    call: Call,
    nodes: Sequence[str],
    wanted: HotKeysBody,
    deadline: float,
    done: HotDone,
) -> None:
    """Ask each of `nodes`; `done` gets the hottest keys of each bucket, and who did not answer."""
    body = msgspec.json.encode(wanted)
    gathered = _Gathered(clock, len(nodes), wanted.limit, wanted.bucket_s, done)
    for node_id in nodes:
        call(node_id, "hot_keys", body, deadline, partial(gathered.put, node_id))
