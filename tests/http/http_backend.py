"""A cache in one dict, with the replies that shards give: what the HTTP front end is tested against."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from raftcache.clock import Handle
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Admission, Eviction, Limits, LossWindow, Namespace, OnExceeded
from raftcache.commands.types import (
    INT64_MAX,
    INT64_MIN,
    RAW,
    AckLevel,
    Append,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Fate,
    Get,
    Incr,
    Many,
    MultiDelete,
    MultiGet,
    MultiSet,
    Persist,
    ReadLevel,
    Receipt,
    Reply,
    Scan,
    Scanned,
    Script,
    Set,
    Single,
    Transaction,
    Unmet,
    Value,
    Version,
    Written,
    failure_of,
)
from raftcache.errors import (
    BadRequest,
    LevelTooLow,
    NotAnInteger,
    RaftcacheError,
    UnknownNamespace,
    ValueTooLarge,
)
from raftcache.frontends.backend import (
    DeleteDone,
    HotBucket,
    HotDone,
    HotKey,
    HotReport,
    InvalidateDone,
    LostDone,
    LostReport,
    LostRow,
    PolicyDone,
    PolicyWritten,
    ReceiptsDone,
    ReplaceDone,
    ShardReplaced,
)
from raftcache.metadata.policy import LIMIT_FIELDS
from raftcache.routing.moments import Added, Wrote
from raftcache.shard.joint import Joint, JointWrites
from raftcache.store.entry import Looked

WALL_MS = 1_700_000_000_000
SHARD, TERM = "7c1f", 3
STALENESS_MS = 120


class StoppedRuntime:
    """A clock that stands still, on the running asyncio loop."""

    def __init__(self) -> None:
        self.random = random.Random(1)

    def now(self) -> float:
        return 1000.0

    def wall_ms(self) -> int:
        return WALL_MS

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        return asyncio.get_running_loop().call_soon(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.call_soon(lambda: done(work()))


Entry = tuple[bytes, int, Version, int | None]


class FakeBackend:
    """All commands on one shard that never fails, unless `failing` says how.

    `later`: replies come in a later loop turn. `held`: they come when `release` is called.
    """

    def __init__(self) -> None:
        self.runtime = StoppedRuntime()
        self.entries: dict[bytes, Entry] = {}
        self.policies: dict[str, Namespace] = {}
        self.seq = 0
        self.failing: RaftcacheError | None = None
        self.later = False
        self.held: list[Callable[[], None]] | None = None
        self.commands: list[tuple[Command, float]] = []
        self.is_ready = (True, "")
        self.asked: list[tuple[list[tuple[bytes, Version]], int, float]] = []
        self.lost: list[LostRow] = []
        self.lost_beyond = 0
        self.unreachable: list[str] = []
        self.refreshed = 0
        self.refresh_error: RaftcacheError | None = None
        self.unheard_of: list[str] = []
        self.invalidated: list[tuple[str, str | None]] = []
        self.hot_asked: list[tuple[str | None, int, int]] = []
        self.replaced: list[tuple[str, str | None]] = []
        self._know(Namespace("default", 1))
        self._know(Namespace("safe", 2, ack=AckLevel.QUORUM))
        self._know(Namespace("brief", 3, default_ttl_ms=90_000, max_item_bytes=100))

    def execute_now(self, command: Command, deadline: float, later: Callable[[], Callable[[Reply], None]]) -> None:
        self.execute(command, deadline, later())

    def look(self, key: bytes, now_s: float) -> Looked:
        """All is to be executed here, and recorded."""
        return None

    def write(
        self, key: bytes, value: bytes, now_s: float, joint: Joint | None = None
    ) -> Version | JointWrites | None:
        """Likewise."""
        return None

    def look_many(self, keys: Sequence[bytes], now_s: float, until_bytes: int | None = None) -> list[Looked]:
        found = list[Looked]()
        for key in keys:
            found.append(looked := self.look(key, now_s))
            size_bytes = sum(len(each.value) for each in found if each)
            if until_bytes is not None and (looked is None or size_bytes >= until_bytes):
                break
        return found

    def write_many(self, pairs: Sequence[tuple[bytes, bytes]], now_s: float, joint: Joint | None = None) -> Wrote:
        """A run ends where the next write is answered in another way, which is found out by executing it. So here a run
        is of one write, but for joint ones."""
        joined = list[JointWrites]()
        for key, value in pairs:
            wrote = self.write(key, value, now_s, joint)
            if not isinstance(wrote, JointWrites):
                assert not joined or wrote is None, "no test mixes them"
                return Wrote(len(joined), [], joined) if wrote is None else Wrote(1, [(key, wrote)], [])
            joined.append(wrote)
        return Wrote(len(joined), [], joined)

    def add_many(self, items: Sequence[tuple[bytes, int]], now_s: float) -> Added:
        """All is to be executed here."""
        return Added([], [])

    def execute(self, command: Command, deadline: float, reply: Callable[[Reply], None]) -> None:
        self.commands.append((command, deadline))
        answer = partial(reply, self._reply(command))
        if self.held is not None:
            self.held.append(answer)
        elif self.later:
            self.runtime.call_soon(answer)
        else:
            answer()

    def release(self) -> None:
        held, self.held = self.held or [], None
        for answer in held:
            answer()

    def receipts(
        self, asked: Sequence[tuple[bytes, Version]], wait_ms: int, deadline: float, done: ReceiptsDone
    ) -> None:
        self.asked.append((list(asked), wait_ms, deadline))
        if self.failing is not None:
            return done([failure_of(self.failing)] * len(asked))
        done([self._receipt(version) for _, version in asked])

    def lost_writes(self, namespace: str | None, deadline: float, done: LostDone) -> None:
        rows = [row for row in self.lost if namespace in (None, row.namespace)]
        done(LostReport(rows, len(rows) + self.lost_beyond, self.unreachable))

    def _receipt(self, version: Version) -> Receipt | Failure:
        """What was written is committed and durable, other sequence numbers of this term are pending, earlier terms
        are lost."""
        if version.shard != SHARD:
            return Failure("unknown_version", f"version {version}: this cluster has no such shard", {})
        fate = Fate.PENDING if version.term >= TERM else Fate.LOST
        written = version.term == TERM and version.seq <= self.seq
        return Receipt(version, Fate.COMMITTED if written else fate, written)

    def namespaces(self) -> Namespaces:
        return self._namespaces

    def refresh_namespaces(self, deadline: float, done: Callable[[RaftcacheError | None], None]) -> None:
        self.refreshed += 1
        for name in self.unheard_of:
            self._know(Namespace(name, len(self.policies) + 1))
        done(self.refresh_error)

    def put_namespace(self, name: str, document: dict[str, Any], deadline: float, done: PolicyDone) -> None:
        if self.failing is not None:
            return done(self.failing)
        created = name not in self.policies
        ttl, longest = document["defaultTtlSeconds"], document["maxTtlSeconds"]
        level = document["readLevel"]
        self._know(
            Namespace(
                name,
                len(self.policies) + 1,
                AckLevel[document["ack"].upper()],
                None if level is None else ReadLevel[level.upper()],
                None if ttl is None else round(ttl * 1000),
                document["maxItemBytes"],
                LossWindow(**document["lossWindow"]),
                OnExceeded[document["onExceeded"].upper()],
                allow_replica_reads=document["allowReplicaReads"],
                max_ttl_ms=None if longest is None else round(longest * 1000),
                ttl_jitter_percent=document["ttlJitterPercent"],
                limits=Limits(**{name: document[field] for field, name in LIMIT_FIELDS.items()}),
                eviction=Eviction(document["eviction"]),
                admission=Admission(document["admission"]),
            )
        )
        done(PolicyWritten(created, document))

    def delete_namespace(self, name: str, deadline: float, done: DeleteDone) -> None:
        if name == "default":
            return done(BadRequest("namespace 'default' cannot be deleted"))
        if self.policies.pop(name, None) is None:
            return done(UnknownNamespace(f"namespace {name!r} does not exist"))
        self._namespaces = Namespaces(1, tuple(self.policies.values()))
        done(None)

    def invalidate_namespace(self, name: str, deadline: float, done: InvalidateDone) -> None:
        if self.failing is not None:
            return done(self.failing)
        if name not in self.policies:
            return done(UnknownNamespace(f"namespace {name!r} does not exist"))
        self.invalidated.append((name, None))
        done(None)

    def invalidate_tag(self, name: str, tag: str, deadline: float, done: InvalidateDone) -> None:
        self.invalidated.append((name, tag))
        done(self.failing)

    def hot_keys(self, namespace: str | None, limit: int, bucket_s: int, deadline: float, done: HotDone) -> None:
        self.hot_asked.append((namespace, limit, bucket_s))
        hot, cold = (0.25, 0.75, 900, 0.5, 3), (0, None, 9, 0.1, 1)
        keys = [HotKey("safe", "k", SHARD, 12.5, *hot), HotKey("safe", "w", SHARD, 1, *cold)]
        done(HotReport(bucket_s, [HotBucket(1_700_000_000, 4.0, 100, keys[:limit])], 3, self.unreachable))

    def namespace_document(self, name: str) -> dict[str, Any] | None:
        policy = self.policies.get(name)
        if policy is None:
            return None
        return {
            "ack": policy.ack.name.lower(),
            "readLevel": None if policy.read_level is None else policy.read_level.name.lower(),
            "allowReplicaReads": policy.allow_replica_reads,
            "defaultTtlSeconds": None if policy.default_ttl_ms is None else policy.default_ttl_ms / 1000,
            "maxTtlSeconds": None if policy.max_ttl_ms is None else policy.max_ttl_ms / 1000,
            "ttlJitterPercent": policy.ttl_jitter_percent,
            "maxItemBytes": policy.max_item_bytes,
            "lossWindow": msgspec.to_builtins(policy.loss_window),
            "onExceeded": policy.on_exceeded.name.lower(),
            "eviction": policy.eviction.value,
            "admission": policy.admission.value,
            **{field: getattr(policy.limits, name) for field, name in LIMIT_FIELDS.items()},
        }

    def replace_shard(self, shard_id: str, source: str | None, deadline: float, done: ReplaceDone) -> None:
        if self.failing is not None:
            return done(self.failing)
        self.replaced.append((shard_id, source))
        done(ShardReplaced("0b0b", shard_id, source))

    def cluster(self) -> dict[str, Any]:
        replicas = [{"node": "n0", "state": "voter"}]
        shard = {"id": SHARD, "slots": [[0, 16383]], "replicas": replicas, "leader": "n0", "term": TERM}
        return {"epoch": 7, "nodes": [{"id": "n0", "state": "up"}], "shards": [shard]}

    def take_snapshots(
        self, nodes: Sequence[str], shards: Sequence[str], deadline: float, done: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        taken = {"index": 7, "keys": len(self.entries), "bytes": 100, "seconds": 0.5, "error": None}
        failed = {"index": None, "keys": None, "bytes": None, "seconds": None, "error": "no such replica"}
        wanted = [(node, shard) for node in nodes or ["n0"] for shard in shards or [SHARD]]
        done([{"node": n, "group": s, **(taken if (n, s) == ("n0", SHARD) else failed)} for n, s in wanted])

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    def collect_metrics(self) -> Iterable[Metric]:
        return [GaugeMetricFamily("raftcache_fake_entries", "Entries.", len(self.entries))]

    def _know(self, policy: Namespace) -> None:
        self.policies[policy.name] = policy
        self._namespaces = Namespaces(1, tuple(self.policies.values()))

    def _reply(self, command: Command) -> Reply:
        if self.failing is not None:
            return failure_of(self.failing)
        if isinstance(command, Scan):
            return Scanned(tuple(self.entries)[: command.count], None, len(self.entries))
        if isinstance(command, Script):
            return failure_of(BadRequest("script: the fake backend runs none"))
        if isinstance(command, Transaction):
            for key, version in command.expected:
                if version != self._current(key):
                    return Unmet(key)
        if isinstance(command, (MultiGet, MultiSet, MultiDelete, Transaction)):
            items = tuple(self._single(item) for item in command.items)
            return Many(items)
        return self._single(command)

    def _single(self, command: Single) -> Value | Written | Counted | Failure:
        try:
            return self._execute(command)
        except RaftcacheError as error:
            return failure_of(error)

    def _execute(self, command: Single) -> Value | Written | Counted:
        policy = self._namespaces.resolve(command.key)
        if isinstance(command, Get):
            return self._get(command, policy)
        ack = command.ack or policy.ack
        if ack < policy.ack:
            raise LevelTooLow(
                f"durability is {ack.name.lower()}: namespace {policy.name!r} has {policy.ack.name.lower()}"
            )
        if isinstance(command, Set):
            return self._set(command, policy, ack)
        if isinstance(command, Delete):
            return self._delete(command, ack)
        if isinstance(command, Incr):
            return self._incr(command, ack)
        if isinstance(command, Append):
            return self._append(command, ack)
        return self._expire(command, ack)

    def _get(self, command: Get, policy: Namespace) -> Value:
        entry = self.entries.get(command.key)
        level = ReadLevel.REPLICA if command.replica else command.level or policy.reads_at
        staleness_ms = STALENESS_MS if command.replica else None
        if entry is None:
            return Value(None, RAW, self._version(), None, level, staleness_ms)
        value, flag, version, expires_ms = entry
        return Value(value, flag, version, None if expires_ms is None else expires_ms - WALL_MS, level, staleness_ms)

    def _set(self, command: Set, policy: Namespace, ack: AckLevel) -> Written:
        if len(command.value) > policy.max_item_bytes:
            raise ValueTooLarge(f"value has {len(command.value)} bytes: the limit is {policy.max_item_bytes}")
        current = self._current(command.key)
        wrong_version = command.if_version is not None and command.if_version != current
        if wrong_version or (command.if_absent and current is not None):
            return Written(False, self._version(), None, ack, current is not None, current)
        ttl_ms = policy.default_ttl_ms if command.ttl_ms is None else command.ttl_ms
        return self._put(command.key, command.value, command.flag, ttl_ms, ack)

    def _put(self, key: bytes, value: bytes, flag: int, ttl_ms: int | None, ack: AckLevel) -> Written:
        self.seq += 1
        existed, expires_ms = key in self.entries, None if ttl_ms is None else WALL_MS + ttl_ms
        self.entries[key] = (value, flag, self._version(), expires_ms)
        return Written(True, self._version(), expires_ms, ack, existed)

    def _delete(self, command: Delete, ack: AckLevel) -> Written:
        current = self._current(command.key)
        if current is None or command.if_version not in (None, current):
            return Written(False, self._version(), None, ack, current is not None, current)
        self.seq += 1
        del self.entries[command.key]
        return Written(True, self._version(), None, ack, True)

    def _incr(self, command: Incr, ack: AckLevel) -> Counted:
        value, flag, _, expires_ms = self.entries.get(command.key, (b"0", 1, None, None))
        try:
            total = int(value) + command.delta
        except ValueError:
            raise NotAnInteger("value is not an integer") from None
        if not INT64_MIN <= total <= INT64_MAX:
            raise NotAnInteger(f"value would be {total}: it must fit 64 bits")
        ttl_ms = command.ttl_ms if expires_ms is None else expires_ms - WALL_MS
        done = self._put(command.key, b"%d" % total, flag, ttl_ms, ack)
        return Counted(total, done.version, done.expires_at_ms, ack)

    def _append(self, command: Append, ack: AckLevel) -> Counted:
        value, flag, _, expires_ms = self.entries.get(command.key, (b"", RAW, None, None))
        ttl_ms = None if expires_ms is None else expires_ms - WALL_MS
        done = self._put(command.key, value + command.value, flag, ttl_ms, ack)
        return Counted(len(value) + len(command.value), done.version, done.expires_at_ms, ack)

    def _expire(self, command: Expire | Persist, ack: AckLevel) -> Written:
        entry = self.entries.get(command.key)
        if entry is None:
            return Written(False, self._version(), None, ack)
        return self._put(command.key, entry[0], entry[1], command.ttl_ms if isinstance(command, Expire) else None, ack)

    def _current(self, key: bytes) -> Version | None:
        entry = self.entries.get(key)
        return None if entry is None else entry[2]

    def _version(self) -> Version:
        return Version(SHARD, TERM, self.seq)
