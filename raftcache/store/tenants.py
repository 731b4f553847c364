"""What each namespace has in a keyspace: how many keys, how many of them with a time to live, how many bytes, and in
which order they would go.

A keyspace tells its `Tenants` of every change, whoever makes it: a leader that executes, a follower that applies, an
undo. So the counts are exact on every replica after any sequence of changes, and each replica has the order of writes
of its own. Tenants go by the namespace's *id*: what an invalidation dropped stays with the old id, whose order is let
go of, and counts with nobody's quota.

**Orders** (`store.eviction`) are kept for the ids that `configure` names, by their policy. An order that is to be made
for keys which are here already, after a restart or a change of policy, is *rebuilt*: a walk over the pages notes the
keys in groups of neighbouring versions, and then writes group by group to a new order, oldest first. That is the order
of last writes but for `GROUP_WRITES` at a time. The walk is cut into steps; a write that comes meanwhile is noted with
the others, and until the end there is no order to ask.

**Reads** are told by a leader alone. Followers hear of them in digests: see `store.eviction.digest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from raftcache.commands.policy import Admission, Eviction
from raftcache.store.entry import Entry, entry_bytes
from raftcache.store.eviction.digest import ReadDigest
from raftcache.store.eviction.evictor import Evictor
from raftcache.store.trash import Parts

GROUP_WRITES: Final = 4096
"""Versions that a rebuilt order does not tell apart. A power of two."""

DIGEST_KEYS: Final = 1024
"""Keys in a digest: at most about 50 KB in the log, once a second, of each namespace that is near its quota."""

SCANS_PER_WRITE: Final = 8
"""Keys that are looked at in the time that one takes to be written to an order."""

KEYS_PER_STEP = 256
"""Keys that a rebuild writes to an order in one piece."""

_GROUP_SHIFT: Final = GROUP_WRITES.bit_length() - 1

Groups = dict[tuple[int, int], list[bytes]]


class Kind(NamedTuple):
    """Which order a tenant's keys are in."""

    eviction: Eviction
    admission: Admission


class Tenant:
    """One namespace id: `items`, `bytes` and how many items are `expiring`, as they have a time to live, are exact.
    `order` is None where there is none, or none yet."""

    __slots__ = ("bytes", "counts_misses", "expiring", "groups", "items", "kind", "order", "reads")

    def __init__(self) -> None:
        self.items = self.expiring = self.bytes = 0
        self.kind: Kind | None = None
        self.order: Evictor | None = None
        self.groups: Groups | None = None
        """While its order is being rebuilt: keys not in it yet."""
        self.counts_misses = False
        self.reads = ReadDigest(DIGEST_KEYS)

    def read(self, key: bytes, now_ms: int) -> None:
        """A leader read a key that stands here, of a tenant that has a `kind`."""
        if self.order is not None:
            self.order.read(key, now_ms)
        self.reads.read(key)

    def missed(self, key: bytes, now_ms: int) -> None:
        """A leader read a key that does not. Likewise."""
        if self.order is not None:
            self.order.read(key, now_ms)

    def heard(self, keys: Sequence[bytes], times: Sequence[int], now_ms: int) -> None:
        """A leader told of its reads."""
        if self.order is not None:
            for key, count in zip(keys, times, strict=True):
                self.order.read(key, now_ms, count)

    def note(self, key: bytes, entry: Entry) -> None:
        """Put a key down for the order that is being rebuilt."""
        assert self.groups is not None, "nothing is being rebuilt"
        self.groups.setdefault((entry.term, entry.seq >> _GROUP_SHIFT), []).append(key)


class Tenants:
    """All of one keyspace. `now_ms`, on the shard's clock, is kept roughly by whoever changes the keyspace."""

    def __init__(self, random: Callable[[], float] = lambda: 0.5) -> None:
        """`random()` is uniform in [0, 1): what the orders are built with."""
        self._random = random
        self._kinds: dict[int, Kind] = {}
        self.by_id: dict[int, Tenant] = {}
        self.now_ms = 0

    def draw_from(self, random: Callable[[], float]) -> None:
        """Build orders with this from here on."""
        self._random = random

    def get(self, namespace_id: int) -> Tenant:
        """The tenant of an id, which may have nothing yet."""
        tenant = self.by_id.get(namespace_id)
        return self._new(namespace_id) if tenant is None else tenant

    # -- told by the keyspace --

    def entered(self, key: bytes, entry: Entry, size_bytes: int) -> None:
        """A key came, and is charged so much."""
        tenant = self.by_id.get(entry.namespace_id)
        if tenant is None:
            tenant = self._new(entry.namespace_id)
        tenant.items += 1
        tenant.bytes += size_bytes
        if entry.expires_ms:
            tenant.expiring += 1
        if tenant.groups is not None:
            tenant.note(key, entry)
        elif tenant.order is not None:
            tenant.order.write(key, size_bytes, entry.expires_ms, self.now_ms)

    def replaced(self, key: bytes, old: Entry, entry: Entry, grown_bytes: int) -> None:
        """A key of the same namespace was written anew, and is charged so much more."""
        tenant = self.by_id[entry.namespace_id]
        tenant.bytes += grown_bytes
        if entry.expires_ms:
            tenant.expiring += 1
        if old.expires_ms:
            tenant.expiring -= 1
        if tenant.groups is not None:
            tenant.note(key, entry)
        elif tenant.order is not None:
            tenant.order.write(key, entry_bytes(key, entry), entry.expires_ms, self.now_ms)

    def left(self, key: bytes, old: Entry, size_bytes: int, evicted: bool = False) -> None:
        """A key went, for which so much was charged."""
        tenant = self.by_id[old.namespace_id]
        tenant.items -= 1
        tenant.bytes -= size_bytes
        if old.expires_ms:
            tenant.expiring -= 1
        if tenant.order is not None:
            tenant.order.remove(key, evicted)
        elif not tenant.items and old.namespace_id not in self._kinds:
            del self.by_id[old.namespace_id]

    def loaded(self, namespace_id: int, items: int, expiring: int, size_bytes: int) -> None:
        """Many keys came at once, so many of them with a time to live. They are in no order until one is rebuilt."""
        tenant = self.get(namespace_id)
        tenant.items += items
        tenant.expiring += expiring
        tenant.bytes += size_bytes

    # -- orders --

    def configure(self, kinds: dict[int, Kind]) -> list[Parts]:
        """Keep orders for these namespace ids and no others. Returns what is to be let go of."""
        self._kinds = kinds
        old: list[Parts] = []
        for namespace_id in [*self.by_id]:
            tenant, kind = self.by_id[namespace_id], kinds.get(namespace_id)
            if tenant.kind != kind:
                if tenant.order is not None:
                    old += tenant.order.parts()
                self._begin(tenant, kind)
            if not tenant.items and kind is None:
                del self.by_id[namespace_id]
        return old

    @property
    def rebuilding(self) -> bool:
        """Whether an order is to be rebuilt: by `rebuild`."""
        return any(tenant.groups is not None for tenant in self.by_id.values())

    def rebuild(
        self, pages: Iterable[list[tuple[bytes, Entry]]], get: Callable[[bytes], Entry | None]
    ) -> Iterator[int]:
        """Rebuild all orders that are due. Yields what each piece of work costs, in keys written to an order. `pages`
        gives all rows of the keyspace, a page at a time, and `get` what stands at a key."""
        due = {id_: tenant for id_, tenant in self.by_id.items() if tenant.groups is not None}
        orders = [(id_, kind, self._made(kind)) for id_, tenant in due.items() if (kind := tenant.kind) is not None]
        for rows in pages:
            for key, entry in rows:
                tenant = due.get(entry.namespace_id)
                if tenant is not None and tenant.groups is not None:
                    tenant.note(key, entry)
            yield 1 + len(rows) // SCANS_PER_WRITE
        for id_, kind, order in orders:
            tenant = due[id_]
            for keys in _oldest_first(tenant, kind):
                held = ((key, get(key)) for key in keys)
                rows = [(key, each) for key, each in held if each is not None and each.namespace_id == id_]
                for key, each in sorted(rows, key=lambda row: (row[1].term, row[1].seq)):
                    order.write(key, entry_bytes(key, each), each.expires_ms, self.now_ms)
                yield len(keys)
            if tenant.kind is kind:
                tenant.order, tenant.groups = order, None

    def _new(self, namespace_id: int) -> Tenant:
        tenant = self.by_id[namespace_id] = Tenant()
        self._begin(tenant, self._kinds.get(namespace_id))
        return tenant

    def _begin(self, tenant: Tenant, kind: Kind | None) -> None:
        tenant.kind, tenant.order, tenant.groups = kind, None, None
        tenant.counts_misses = kind is not None and kind.admission is Admission.TINYLFU
        if kind is not None and tenant.items:
            tenant.groups = {}
        elif kind is not None:
            tenant.order = self._made(kind)

    def _made(self, kind: Kind) -> Evictor:
        return Evictor(kind.eviction, kind.admission, self._random)


def _oldest_first(tenant: Tenant, kind: Kind) -> Iterator[list[bytes]]:
    """The noted keys, a few at a time, with those that are noted meanwhile; until its order is to be another one."""
    while tenant.groups and tenant.kind is kind:
        for group in sorted(tenant.groups):
            keys = tenant.groups.pop(group)
            for start in range(0, len(keys), KEYS_PER_STEP):
                yield keys[start : start + KEYS_PER_STEP]
                if tenant.kind is not kind:
                    return
