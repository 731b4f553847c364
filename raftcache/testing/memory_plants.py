"""Bugs in quotas, eviction and invalidation, to see them caught: see `plants`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.shard import eviction
from raftcache.shard.executor import Executor
from raftcache.shard.invalidating import TagDrops
from raftcache.shard.reclaim import Reclaimer
from raftcache.store.keyspace import Keyspace

Patch = tuple[Any, str, Any]


def _quota_for_each_shard() -> list[Patch]:
    """Every shard takes the whole quota for its part."""
    return [(eviction, "quota_of", lambda namespace, _place: (None, namespace.limits.quota_items))]


def _evict_unlogged() -> list[Patch]:
    """A leader evicts from its own memory alone."""

    def evict(self: Executor, key: bytes, namespace: str, reason: str) -> None:
        self.keyspace.remove(key, evicted=True)

    return [(Executor, "evict", evict)]


def _undo_uncharged() -> list[Patch]:
    """A key that an undo puts back is not counted."""

    def restore(self: Keyspace, key: bytes, old: Any) -> None:
        before = [(tenant, tenant.items) for tenant in self.tenants.by_id.values()]
        stock(self, key, old)
        for tenant, items in before:
            tenant.items = min(items, tenant.items)

    stock = Keyspace.restore
    return [(Keyspace, "restore", restore)]


def _drop_confirmed_at_once() -> list[Patch]:
    """A tag counts as dropped when its leader has executed that."""

    def drop(self: TagDrops, namespace: str, tag: str, named_at: int, reply: Any) -> None:
        stock(self, namespace, tag, named_at, lambda _error: None)
        reply(None)

    stock = TagDrops.drop
    return [(TagDrops, "drop", drop)]


def _tags_forgotten_early() -> list[Patch]:
    """A dropped tag is forgotten while entries stand that it dropped."""

    def reclaim_page(self: Reclaimer, number: int) -> Any:
        yield True

    return [(Reclaimer, "_reclaim_page", reclaim_page)]


MEMORY_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "quota-for-each-shard": _quota_for_each_shard,
    "evict-unlogged": _evict_unlogged,
    "undo-uncharged": _undo_uncharged,
    "tags-forgotten-early": _tags_forgotten_early,
}
"""Bugs that hoarders and droppers bring to light."""

SCRIPTED_PLANTS: dict[str, Callable[[], list[Patch]]] = {"drop-confirmed-at-once": _drop_confirmed_at_once}
"""A bug for which the dice would need many seeds: a script brings it about (`tests/shard`)."""
