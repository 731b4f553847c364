"""Keeps a replica's eviction orders as its policies want them: which tenants have one, and rebuilt in bounded steps.

Every replica does so, whether it leads or not, so that a new leader finds its orders made. A rebuild that is broken off
by another change of policies, or by another snapshot, begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raftcache.clock import Handle, Runtime
from raftcache.commands.policy import Namespaces
from raftcache.shard.eviction import kinds_of
from raftcache.store.keyspace import PAGES, Keyspace
from raftcache.store.tenants import Tenants
from raftcache.store.trash import Parts

STEP_INTERVAL_S = 0.005
KEYS_PER_TICK = 500
"""Keys written to an order in one step, or eight times as many looked at: about two milliseconds."""


class Upkeep:
    """The orders of one replica."""

    def __init__(self, runtime: Runtime, keyspace: Keyspace, let_go: Callable[[Parts], None]) -> None:
        self._runtime = runtime
        self._keyspace = keyspace
        self._let_go = let_go
        self._timer: Handle | None = None
        self._work: Iterator[int] | None = None
        self._worked_on: Tenants | None = None

    def follow(self, namespaces: Namespaces) -> None:
        """Keep the orders that these namespaces want, and no others."""
        wanted = [each for each in namespaces.by_name.values() if each.name != namespaces.default.name]
        for parts in self._keyspace.tenants.configure(kinds_of(iter([*wanted, namespaces.default]))):
            self._let_go(parts)
        if self._keyspace.tenants is not self._worked_on:
            self._work = None
        if self._timer is None and self._keyspace.tenants.rebuilding:
            self._timer = self._runtime.call_later(STEP_INTERVAL_S, self._step)

    def stop(self) -> None:
        """Leave what is not done undone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._work = self._worked_on = None

    def _step(self) -> None:
        self._timer = None
        tenants = self._keyspace.tenants
        if self._work is None:
            if not tenants.rebuilding:
                return
            self._worked_on = tenants
            self._work = tenants.rebuild(map(self._keyspace.rows_of_page, range(PAGES)), self._keyspace.get)
        left = KEYS_PER_TICK
        for looked_at in self._work:
            left -= looked_at
            if left <= 0:
                break
        else:
            self._work = None
        self._timer = self._runtime.call_later(STEP_INTERVAL_S, self._step)
