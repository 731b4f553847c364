"""Room for what is written: quotas, the node's memory, and what a leader evicts for them.

**Quotas** are the owner's totals over the cluster, split over the shards (`quota_of`): evenly at first, then by use,
as the metadata leader rebalances them (`Namespace.shares`). A leader asks before it executes a write whether that fits
into its shard's part, and evicts keys of the *same* namespace until it does. So a namespace never holds more than its
quota at any step, and never costs another one a key. Where a quota was lowered, or a share moved, the background trims
what is over, and each write meanwhile makes twice its own room.

**The node's memory** is what all namespaces share. Near its limit whoever has the most for its weight gives up
something, whichever shard of this node's it is in: see `store.memory`.

**Evictions** are effects, as expiry is, in the batch of the write that they make room for; they are undone with it. A
key whose time has come is expired, not evicted. Which key goes is for the namespace's order to say (`store.eviction`);
while that is being rebuilt, any of its keys. A write makes `VICTIMS_PER_WRITE` keys go at most, for a turn of the loop
is to be short. A value that needs the room of more is refused as `overloaded`, and those keys are gone when it comes
again.

**Followers** keep orders of their own by what they apply (`upkeep`). Of reads a leader tells them in the log, once a
second, for namespaces that have an order: so a new leader knows what is in use (`store.eviction.digest`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raftcache.commands.policy import Eviction, Namespace
from raftcache.commands.quotas import QuotaUse
from raftcache.errors import Overloaded, QuotaExceeded
from raftcache.shard.executor import Executor
from raftcache.shard.upkeep import Upkeep, all_of, quota_of
from raftcache.shard.window import Place
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES, READS
from raftcache.store.entry import entry_bytes
from raftcache.store.eviction.digest import DIGEST_S
from raftcache.store.eviction.evictor import VICTIMS_PER_CALL
from raftcache.store.keyspace import PAGES
from raftcache.store.memory import Use
from raftcache.store.tenants import Tenant

VICTIMS_PER_WRITE = 256
"""Keys that one write makes go: three or four milliseconds."""
TRIMMED_PER_TICK = 256
"""Keys that a tick of the background makes go, for the sake of one namespace or of the node."""
TRIM_BYTES = 256 << 10
"""What a tick of the background frees for the sake of the node."""
ROWS_PER_LOOK = 4000
"""Keys among which a victim is looked for while there is no order to ask."""

ITEMS, BYTES, NODE = "quota_items", "quota_bytes", "node_memory"
"""Why keys are evicted."""


class Rooms:
    """Makes room while its shard is served here. Implements `store.memory.Sharer`."""

    def __init__(self, executor: Executor, upkeep: Upkeep, place: Callable[[], Place]) -> None:
        self._ex = executor
        self._upkeep = upkeep
        self._place = place
        self._page = 0
        self._told_s = 0.0

    def start(self) -> None:
        """Begin a leadership."""
        self._ex.budget.sharers.append(self)

    def stop(self) -> None:
        """End it. Harmless when done twice."""
        if self in self._ex.budget.sharers:
            self._ex.budget.sharers.remove(self)

    def make(self, namespace: Namespace, key: bytes, size_bytes: int) -> None:
        """Make room for a write that is charged `size_bytes`: the last thing before it is executed. Raises
        QuotaExceeded, and Overloaded where more has to go than one write may make go."""
        limits = namespace.limits
        if limits.quota_bytes is not None or limits.quota_items is not None:
            self._within_quota(namespace, key, size_bytes)
        self._ex.budget.make_room(size_bytes)

    def _within_quota(self, namespace: Namespace, key: bytes, size_bytes: int) -> None:
        tenant = self._ex.keyspace.tenants.get(namespace.id)
        self._upkeep.wrote(namespace, tenant)
        quota_bytes, quota_items = quota_of(namespace, self._place())
        victims = VICTIMS_PER_WRITE
        while (over := self._over(namespace, tenant, key, size_bytes, quota_bytes, quota_items)) != (0, 0):
            refused = self._refusal(namespace, size_bytes, quota_bytes, quota_items)
            if refused is not None:
                raise refused
            reason = BYTES if over[0] else ITEMS
            went, _ = self._evict(namespace, tenant, over[0], over[1], min(victims, VICTIMS_PER_CALL), reason)
            victims -= went
            if not went or victims <= 0:
                self._ex.stats.overloaded["eviction"] += 1
                raise Overloaded(
                    f"namespace {namespace.name!r}: {size_bytes} bytes need the room of more than {VICTIMS_PER_WRITE} "
                    "keys, and so many are evicted; try again"
                )

    def _over(
        self,
        namespace: Namespace,
        tenant: Tenant,
        key: bytes,
        size_bytes: int,
        quota_bytes: int | None,
        quota_items: int | None,
    ) -> tuple[int, int]:
        """By how many bytes and items a write would be over its part; at most by twice what it brings."""
        old = self._ex.keyspace.get(key)
        is_new = old is None or old.namespace_id != namespace.id
        grown_bytes = size_bytes if old is None or is_new else size_bytes - entry_bytes(key, old)
        over_bytes = 0 if quota_bytes is None else tenant.bytes + grown_bytes - quota_bytes
        over_items = 0 if quota_items is None else tenant.items + is_new - quota_items
        return max(0, min(over_bytes, 2 * grown_bytes)), max(0, min(over_items, 2 * is_new))

    def _refusal(
        self, namespace: Namespace, size_bytes: int, quota_bytes: int | None, quota_items: int | None
    ) -> QuotaExceeded | None:
        """Why a write is refused that is over its part: nothing may go, or everything would have to."""
        name = namespace.name
        if quota_bytes is not None and size_bytes > quota_bytes:
            text = f"quotaBytes of namespace {name!r}: this shard's part is {quota_bytes}, one item costs {size_bytes}"
        elif quota_items == 0:
            text = f"quotaItems of namespace {name!r}: this shard has no part of {namespace.limits.quota_items}"
        elif namespace.eviction is Eviction.NONE:
            text = f"namespace {name!r} is at its quota and evicts nothing: this shard's part is {quota_bytes} bytes"
            text = text if quota_bytes is not None else f"{text.rpartition(':')[0]}: {quota_items} items"
        else:
            return None
        return QuotaExceeded(text, namespace=name, quota_bytes=quota_bytes, quota_items=quota_items)

    # -- evicting --

    def _evict(
        self, namespace: Namespace, tenant: Tenant, over_bytes: int, over_items: int, limit: int, reason: str
    ) -> tuple[int, int]:
        """Make keys go until so much less is in use, `limit` at most; returns how many went, and their bytes."""
        keyspace, before_bytes = self._ex.keyspace, tenant.bytes
        if tenant.order is not None:
            keys = tenant.order.victims(over_bytes, over_items, self._ex.now_ms(), limit)
        else:
            keys = self._any_keys(namespace.id, max(over_items, 1 + over_bytes // 1024), limit)
        for key in keys:
            entry = keyspace.get(key)
            if entry is None:
                continue
            if entry.expires_ms and entry.expires_ms <= self._ex.now_ms():
                self._ex.expire(key)
            else:
                self._ex.evict(key, namespace.name, reason)
        return len(keys), before_bytes - tenant.bytes

    def _any_keys(self, namespace_id: int, wanted: int, limit: int) -> list[bytes]:
        """Some keys of a namespace of which no order is known."""
        found: list[bytes] = []
        looked_at = 0
        for _ in range(PAGES):
            rows = self._ex.keyspace.rows_of_page(self._page)
            found += [key for key, entry in rows if entry.namespace_id == namespace_id]
            looked_at += len(rows)
            if len(found) >= min(wanted, limit) or looked_at >= ROWS_PER_LOOK:
                break
            self._page = (self._page + 1) % PAGES
        return found[: min(wanted, limit)]

    # -- for the node --

    def uses(self) -> Iterator[Use]:
        """What each namespace has here."""
        for namespace in all_of(self._ex.policies.in_force):
            tenant = self._ex.keyspace.tenants.by_id.get(namespace.id)
            if tenant is not None:
                evicts = namespace.eviction is not Eviction.NONE
                yield Use(namespace.name, tenant.bytes, namespace.limits.weight, evicts)

    def give_up(self, name: str, size_bytes: int) -> int:
        """Evict about so much of a namespace."""
        namespace = next((each for each in all_of(self._ex.policies.in_force) if each.name == name), None)
        if namespace is None or namespace.eviction is Eviction.NONE or not self._ex.pipeline.admit_background():
            return 0
        tenant = self._ex.keyspace.tenants.by_id.get(namespace.id)
        if tenant is None:
            return 0
        self._upkeep.wrote(namespace, tenant)
        _, freed_bytes = self._evict(namespace, tenant, size_bytes, 0, VICTIMS_PER_CALL, NODE)
        return freed_bytes

    def quota_uses(self) -> Iterator[QuotaUse]:
        """What each namespace with a quota has here, by the policies as of the log."""
        (index, count), evicted = self._place(), self._ex.stats.evicted
        for namespace in sorted(self._ex.policies.applied.by_name.values(), key=lambda each: each.id):
            limits = namespace.limits
            if limits.quota_bytes is None and limits.quota_items is None:
                continue
            tenant = self._ex.keyspace.tenants.get(namespace.id)
            share = namespace.shares[index] if len(namespace.shares) == count else 0
            went = evicted[namespace.name, BYTES] + evicted[namespace.name, ITEMS]
            yield QuotaUse(namespace.id, share, tenant.items, tenant.bytes, went)

    # -- in the background --

    def tick(self, now_s: float) -> bool:
        """Trim what is over, and tell of reads; returns whether there is more to trim at once."""
        tenants, budget = self._ex.keyspace.tenants, self._ex.budget
        tenants.now_ms = self._ex.now_ms()
        tells = now_s >= self._told_s + DIGEST_S
        more = False
        for namespace in all_of(self._ex.policies.in_force):
            tenant = tenants.by_id.get(namespace.id)
            if tenant is None or namespace.eviction is Eviction.NONE:
                continue
            more |= self._trim(namespace, tenant)
            if tells:
                self._tell(namespace.id, tenant)
        if tells:
            self._told_s = now_s
        if budget.settled_bytes > budget.mark_bytes:
            budget.make_room(TRIM_BYTES)
            more |= budget.settled_bytes > budget.mark_bytes
        return more

    def _trim(self, namespace: Namespace, tenant: Tenant) -> bool:
        quota_bytes, quota_items = quota_of(namespace, self._place())
        over_bytes = 0 if quota_bytes is None else max(0, tenant.bytes - quota_bytes)
        over_items = 0 if quota_items is None else max(0, tenant.items - quota_items)
        if (over_bytes or over_items) and self._ex.pipeline.admit_background():
            reason = BYTES if over_bytes else ITEMS
            went, _ = self._evict(namespace, tenant, over_bytes, over_items, TRIMMED_PER_TICK, reason)
            return went >= VICTIMS_PER_CALL
        return False

    def _tell(self, namespace_id: int, tenant: Tenant) -> None:
        reads = tenant.reads.take()
        if reads and self._ex.pipeline.admit_background():
            size_bytes = sum(map(len, reads)) + 8 * len(reads) + EFFECT_OVERHEAD_BYTES
            self._ex.record_reads((READS, namespace_id, [*reads], [*reads.values()]), size_bytes)
