"""Which keys there are: page by page, and how many.

A page is told of as a whole, and a key is always in the same one, on every replica. So who asks for all pages, one
after the other, is told of every key that was there from the first call to the last, whoever leads meanwhile, and of
none twice; a key that comes or goes in between may be among them or not.

Told of is what a read would find: not what has expired, what was dropped with its namespace, or with its tag. Looking
does not count as a use, and removes nothing.

**What is not committed.** A list of keys shows what is there and what is not, of all namespaces at once. So where any
of them reads above `latest`, the answer waits until the newest change of all is committed, and where one reads at
`linearizable`, for a proof that this replica leads as well.
"""

from __future__ import annotations

from raftcache.commands.policy import Namespace
from raftcache.commands.table import check_scan
from raftcache.commands.types import Scan, Scanned
from raftcache.shard.executor import LATEST, LINEARIZABLE, PRIMARY, QUORUM, Executor, WaitsFor
from raftcache.shard.upkeep import all_of
from raftcache.store.entry import Entry, TaggedEntry
from raftcache.store.keyspace import PAGES


def scan(ex: Executor, command: Scan) -> tuple[Scanned, WaitsFor]:
    """Tell of pages. Raises BadRequest, Overloaded."""
    check_scan(command)
    waits_for = _waits_for(ex)
    keys, page = list[bytes](), command.page
    while page < PAGES and len(keys) < command.count:
        keys += _live_keys(ex, page)
        page += 1
    return Scanned(tuple(keys), page if page < PAGES else None, *_sizes(ex)), waits_for


def _live_keys(ex: Executor, page: int) -> list[bytes]:
    resolve, now_ms, tags = ex.namespaces().resolve, ex.now_ms(), len(ex.dropped) > 0
    return [
        key
        for key, entry in ex.keyspace.rows_of_page(page)
        if _stands(entry, resolve(key), now_ms) and not (tags and _is_dropped(ex, entry))
    ]


def _stands(entry: Entry, namespace: Namespace, now_ms: int) -> bool:
    return entry.namespace_id == namespace.id and not 0 < entry.expires_ms <= now_ms


def _is_dropped(ex: Executor, entry: Entry) -> bool:
    return isinstance(entry, TaggedEntry) and ex.dropped.drop_of(entry) is not None


def _sizes(ex: Executor) -> tuple[int, int]:
    """How many keys there are, and how many of them expire."""
    by_id = ex.keyspace.tenants.by_id
    tenants = [by_id[namespace.id] for namespace in all_of(ex.namespaces()) if namespace.id in by_id]
    return sum([tenant.items for tenant in tenants]), sum([tenant.expiring for tenant in tenants])


def _waits_for(ex: Executor) -> WaitsFor:
    strictest = max(namespace.reads_at for namespace in all_of(ex.namespaces()))
    if strictest == LATEST:
        return PRIMARY
    if strictest == LINEARIZABLE and not ex.holds_lease():
        ex.pipeline.admit()
        return QUORUM
    newest = ex.pipeline.newest_batch()
    if newest is None:
        return PRIMARY
    ex.pipeline.admit_waiter()
    return newest
