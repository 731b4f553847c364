"""What a leader reclaims in the background: expired keys and reply records, and those of namespaces that are gone.

All are effects like any other. Each tick does a bounded amount of work, and the
pipeline admits it only up to half of its bounds, so that reclaiming never takes the place of a client's write.

**Entries of another namespace.** After the shard's namespaces changed, and after an election (the leader before may
not have come to the end), all keys are walked in steps, and an entry whose namespace id is not the one its key resolves
to is removed; so is a reply record whose namespace is gone. That begins when the policy point is committed, begins anew
after the next one, and rests while one may still be undone: with it, what looks like a stranger's entry would be the
key's own again.
"""

from __future__ import annotations

from raftcache.clock import Handle, Runtime
from raftcache.shard.executor import Executor
from raftcache.store.keyspace import PAGES

SWEEP_INTERVAL_S = 0.1
BUSY_INTERVAL_S = 0.01
"""The pause after a tick that found as much as it may handle."""
EXPIRED_PER_TICK = 500
WALKED_PER_TICK = 2000


class Sweeper:
    """A timer that runs while the shard is served here."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self._runtime = runtime
        self._executor = executor
        self._timer: Handle | None = None
        self._seen: frozenset[tuple[str, int]] = frozenset()
        self._known_ids: frozenset[int] = frozenset()
        self._seen_epoch = -1
        self._walk: list[bytes] = []
        self._walks_replies = False
        self._pages_left = 0

    def start(self) -> None:
        """Begin; namespaces are taken as changed."""
        self._seen, self._seen_epoch = frozenset(), -1
        self._timer = self._runtime.call_later(SWEEP_INTERVAL_S, self._tick)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._walk, self._pages_left = None, [], 0

    def _tick(self) -> None:
        busy = self._sweep_expired() >= EXPIRED_PER_TICK
        busy |= self._sweep_replies() >= EXPIRED_PER_TICK
        self._watch_namespaces()
        busy |= self._walk_some()
        self._timer = self._runtime.call_later(BUSY_INTERVAL_S if busy else SWEEP_INTERVAL_S, self._tick)

    def _sweep_expired(self) -> int:
        ex = self._executor
        now_ms, removed = ex.now_ms(), 0
        while removed < EXPIRED_PER_TICK:
            keys = ex.keyspace.expiries.due(now_ms, EXPIRED_PER_TICK - removed)
            if not keys:
                break
            for key in keys:
                if not ex.pipeline.admit_background():
                    return removed
                ex.expire(key)
                removed += 1
        return removed

    def _sweep_replies(self) -> int:
        ex = self._executor
        now_ms, removed = ex.now_ms(), 0
        while removed < EXPIRED_PER_TICK:
            ids = ex.replies.due(now_ms, EXPIRED_PER_TICK - removed)
            if not ids:
                break
            for id_ in ids:
                if not ex.pipeline.admit_background():
                    return removed
                ex.forget_reply(id_)
                removed += 1
        return removed

    def _watch_namespaces(self) -> None:
        namespaces = self._executor.policies.applied
        if namespaces.epoch == self._seen_epoch:
            return
        self._seen_epoch = namespaces.epoch
        ids = frozenset((ns.name, ns.id) for ns in [*namespaces.by_name.values(), namespaces.default])
        if ids != self._seen:
            self._seen, self._walk, self._pages_left = ids, [], 2 * PAGES
            self._known_ids = frozenset(id_ for _, id_ in ids)

    def _walk_some(self) -> bool:
        """One step of the walk; returns whether there is more to do."""
        if self._executor.policies.pending:
            return False
        for _ in range(WALKED_PER_TICK):
            if not self._walk and not self._next_page():
                return False
            if not self._executor.pipeline.admit_background():
                return False
            self._reclaim(self._walk.pop())
        return True

    def _next_page(self) -> bool:
        """List the next page that has anything, the keys' pages first; False where all pages were walked."""
        ex = self._executor
        while not self._walk and self._pages_left:
            self._pages_left -= 1
            number = self._pages_left % PAGES
            self._walks_replies = self._pages_left < PAGES
            self._walk = ex.replies.ids_of_page(number) if self._walks_replies else ex.keyspace.keys_of_page(number)
        return bool(self._walk)

    def _reclaim(self, key: bytes) -> None:
        ex = self._executor
        if self._walks_replies:
            record = ex.replies.get(key)
            if record is not None and record.namespace_id not in self._known_ids:
                ex.forget_reply(key)
            return
        entry = ex.keyspace.get(key)
        if entry is not None and entry.namespace_id != ex.policies.applied.resolve(key).id:
            ex.drop(key)
            ex.stats.reclaimed += 1
