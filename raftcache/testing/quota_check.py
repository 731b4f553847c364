"""Quotas in a simulated run: what namespaces hold, held against what they may, at every answer and on every replica.

`Hoarders` write more keys than three namespaces may have: one evicts by last use, one by `s3fifo` behind `tinylfu`, one
evicts nothing. The `QuotaWatch` looks at the shard of every answer at the moment in which its leader gives it: no
namespace has more there than the shard's part, and who was refused for its quota has all of it. Followers take in what
the leaders decided, so on every replica the accounts must be exact and the orders whole, through elections, undone
evictions, snapshots and restarts; and where nobody leads, no more than one part is ever in use either.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

from raftcache.commands.policy import Admission, Eviction, Limits, Namespace
from raftcache.commands.types import Command, Delete, Failure, Get, Incr, MultiGet, MultiSet, Reply, Set, Written
from raftcache.errors import QuotaExceeded
from raftcache.shard.replica import ShardReplica
from raftcache.shard.upkeep import quota_of
from raftcache.store.entry import Entry, TaggedEntry, entry_bytes
from raftcache.store.keyspace import PAGES
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimCluster, SimProcess

QUOTA = Limits(quota_items=40)
HOARDS = (
    Namespace("hoard-lru", 0, limits=QUOTA),
    Namespace("hoard-s3fifo", 0, limits=QUOTA, eviction=Eviction.S3FIFO, admission=Admission.TINYLFU),
    Namespace("hoard-none", 0, limits=QUOTA, eviction=Eviction.NONE),
)
HOARDERS = 2
HOARD_KEYS = 150
"""Of each namespace: nearly four times its quota."""
TIMEOUT_S = 2.0


class QuotaWatch:
    """Every answer about a hoard. `refused` and `evicted` say whether a run proves anything."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self.refused: Counter[str] = Counter()
        self.full: Counter[str] = Counter()
        """Answers that found a shard's part used up, by namespace."""

    def answered(self, process: SimProcess, command: Command, answer: Reply) -> None:
        """A replica on `process` has answered. Raises Violation."""
        if isinstance(answer, Failure) and answer.code == QuotaExceeded.code:
            self.refused[str(answer.details["namespace"])] += 1
            if not str(answer.details["namespace"]).endswith("none"):
                raise Violation(f"{answer.message}: of a namespace that evicts")
        elif isinstance(answer, Written) and answer.written:
            key = command.key  # type: ignore[union-attr]
            name = key.partition(b":")[0].decode()
            if name.startswith("hoard"):
                self._hold(process.core.shards[answer.version.shard], process, name)

    def _hold(self, replica: ShardReplica, process: SimProcess, name: str) -> None:
        namespace = replica.policies.in_force.by_name.get(name)
        if namespace is None or not replica.serving:
            return
        items = replica.keyspace.tenants.get(namespace.id).items
        part = quota_of(namespace, process.core.view.place_of(replica.shard_id))[1]
        if part is None or items > part:
            raise Violation(f"{name} has {items} keys in shard {replica.shard_id}, of {part}")
        self.full[name] += items == part

    def check(self) -> None:
        """At the end, without load: no replica has more than a part, and its accounts are exact. Raises Violation."""
        for node_id, process in sorted(self._cluster.processes.items()):
            for shard_id, replica in sorted(process.core.shards.items()):
                check_accounts(replica, f"shard {shard_id} on {node_id}")
                for namespace in replica.policies.applied.by_name.values():
                    part = quota_of(namespace, process.core.view.place_of(shard_id))[1]
                    items = replica.keyspace.tenants.get(namespace.id).items
                    if part is not None and items > part:
                        where = f"shard {shard_id} on {node_id}"
                        raise Violation(f"{namespace.name} has {items} keys in {where}, of {part}")

    def check_evidence(self) -> None:
        """That quotas were reached at all. Raises Violation."""
        idle = [space.name for space in HOARDS if not self.full[space.name]]
        if idle or not self.refused["hoard-none"]:
            raise Violation(f"proves nothing: {idle} never reached a quota, {self.refused['hoard-none']} refusals")


def check_accounts(replica: ShardReplica, where: str) -> None:
    """A recount of everything: keys, bytes, orders. Raises Violation."""
    rows: dict[int, list[tuple[bytes, Entry]]] = {}
    for number in range(PAGES):
        for key, entry in replica.keyspace.rows_of_page(number):
            rows.setdefault(entry.namespace_id, []).append((key, entry))
    tenants = replica.keyspace.tenants
    for id_ in sorted({*rows, *tenants.by_id}):
        tenant, mine = tenants.get(id_), rows.get(id_, [])
        plain_bytes = sum(entry_bytes(*row) for row in mine)
        tagged = any(isinstance(entry, TaggedEntry) for _, entry in mine)
        if tenant.items != len(mine) or (tenant.bytes != plain_bytes and not (tagged and tenant.bytes > plain_bytes)):
            raise Violation(
                f"{where}: namespace {id_} is charged {tenant.items} keys and {tenant.bytes} bytes, it has {len(mine)} "
                f"and {plain_bytes}"
            )
        expiring = sum(entry.expires_ms > 0 for _, entry in mine)
        if tenant.expiring != expiring:
            raise Violation(f"{where}: of namespace {id_} {tenant.expiring} keys count as expiring, {expiring} do")
        order = tenant.order
        if order is not None and (len(order) != len(mine) or not all(key in order for key, _ in mine)):
            raise Violation(f"{where}: the order of namespace {id_} has {len(order)} keys, of {len(mine)}")


class Hoarder:
    """A client that writes many keys, reads some, and waits for nothing."""

    def __init__(self, number: int, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._random = random.Random(cluster.loop.seed * 5171 + number)
        self.stopped = False

    def start(self) -> None:
        """Begin."""
        self._later()

    def _later(self) -> None:
        self._cluster.loop.call_later(self._random.uniform(0.05, 0.3), self._next)

    def _next(self) -> None:
        if self.stopped:
            return
        running = self._cluster.running()
        if running:
            process = self._random.choice(running)
            deadline = process.runtime.now() + TIMEOUT_S
            for _ in range(self._random.randrange(1, 5)):
                process.runtime.deliver(partial(process.dispatcher.execute, self._command(), deadline, _ignore))
        self._later()

    def _command(self) -> Command:
        rnd = self._random
        prefix = rnd.choice(HOARDS).name.encode()
        key = self._key(prefix)
        return rnd.choice(
            (
                Set(key, b"x" * rnd.choice((1, 30, 300))),
                Set(key, b"y", ttl_ms=rnd.randrange(500, 20_000)),
                MultiSet(tuple(Set(self._key(prefix), b"m") for _ in range(4))),
                Incr(key),
                Get(key),
                MultiGet(tuple(Get(self._key(prefix)) for _ in range(4))),
                Delete(key),
            )
        )

    def _key(self, prefix: bytes) -> bytes:
        """The lower numbers more often than the higher ones."""
        return prefix + b":%d" % int(HOARD_KEYS * self._random.random() ** 2)


def _ignore(_reply: Reply) -> None:
    """The watch has seen it."""
