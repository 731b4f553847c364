"""Keeps a replica's eviction orders: for which tenants there is one, and rebuilt in bounded steps.

An order costs memory and a few microseconds a write, and nobody asks it before a quota, or the node, is full. So a
tenant has one from half of its quota on, or of the node's memory, until it is down to a quarter; then it is *pressed*.
Every replica looks for itself once a second, whether it leads or not, so that a new leader finds its orders made; a
leader looks besides at each write to a namespace with a quota. A small keyspace is put in order at once, a large one in
steps, during which a leader that must evict takes any of the tenant's keys.

A rebuild that is broken off by a change of policies, or by a snapshot, begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raftcache.clock import Handle, Runtime
from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import SHARES_WHOLE, Eviction, Namespace
from raftcache.shard.window import Place
from raftcache.store.keyspace import PAGES, Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.tenants import Kind, Tenant, Tenants
from raftcache.store.trash import Parts

LOOK_INTERVAL_S = 1.0
STEP_INTERVAL_S = 0.005
KEYS_PER_TICK = 500
"""Keys written to an order in one step, or eight times as many looked at: about two milliseconds."""
AT_ONCE_LIMIT = 1000
"""Keys of a keyspace that is put in order in one go."""

PRESSED_FROM, PRESSED_UNTIL = 2, 4
"""Parts of a quota: orders are kept from a half of it on, and no longer where it is less than a quarter."""


def quota_of(namespace: Namespace, place: Place) -> tuple[int | None, int | None]:
    """A shard's part of a namespace's quotas, in bytes and in items; None for no bound."""
    limits = namespace.limits
    return _part(limits.quota_bytes, namespace, place), _part(limits.quota_items, namespace, place)


def _part(quota: int | None, namespace: Namespace, place: Place) -> int | None:
    index, count = place
    if quota is None or count <= 1:
        return quota
    if len(namespace.shares) == count:
        return quota * namespace.shares[index] // SHARES_WHOLE
    return quota // count + (index < quota % count)


def all_of(namespaces: Namespaces) -> Iterator[Namespace]:
    """Each namespace once, by the policy in force."""
    yield from (each for each in namespaces.by_name.values() if each.name != namespaces.default.name)
    yield namespaces.default


class Upkeep:
    """The orders of one replica."""

    def __init__(
        self,
        runtime: Runtime,
        keyspace: Keyspace,
        budget: MemoryBudget,
        namespaces: Callable[[], Namespaces],
        place: Callable[[], Place],
        let_go: Callable[[Parts], None],
    ) -> None:
        self._runtime = runtime
        self._keyspace = keyspace
        self._budget = budget
        self._namespaces = namespaces
        self._place = place
        self._let_go = let_go
        self._timer: Handle | None = None
        self._stepping: Handle | None = None
        self._work: Iterator[int] | None = None
        self._worked_on: Tenants | None = None

    def start(self) -> None:
        """Look after the orders from here on."""
        self._timer = self._runtime.call_later(LOOK_INTERVAL_S, self._look_again)

    def stop(self) -> None:
        """Leave what is not done undone."""
        for timer in (self._timer, self._stepping):
            if timer is not None:
                timer.cancel()
        self._timer = self._stepping = self._work = self._worked_on = None

    def look(self) -> None:
        """Keep the orders that are wanted now, and no others."""
        tenants = self._keyspace.tenants
        kinds = {}
        for namespace in all_of(self._namespaces()):
            tenant = tenants.by_id.get(namespace.id)
            if tenant is not None and namespace.eviction is not Eviction.NONE and self._is_pressed(namespace, tenant):
                kinds[namespace.id] = Kind(namespace.eviction, namespace.admission)
        for parts in tenants.configure(kinds):
            self._let_go(parts)
        if tenants is not self._worked_on:
            self._work = None
        if tenants.rebuilding and self._stepping is None:
            if len(self._keyspace) <= AT_ONCE_LIMIT:
                for _ in self._new_work():
                    pass
            else:
                self._stepping = self._runtime.call_later(STEP_INTERVAL_S, self._step)

    def wrote(self, namespace: Namespace, tenant: Tenant) -> None:
        """A leader writes to a namespace with a quota: it may need an order before the next look."""
        if tenant.kind is None and namespace.eviction is not Eviction.NONE and self._is_pressed(namespace, tenant):
            self.look()

    def _is_pressed(self, namespace: Namespace, tenant: Tenant) -> bool:
        part = PRESSED_FROM if tenant.kind is None else PRESSED_UNTIL
        if part * self._budget.settled_bytes >= self._budget.mark_bytes:
            return True
        quota_bytes, quota_items = quota_of(namespace, self._place())
        too_many = quota_items is not None and part * tenant.items >= quota_items
        return too_many or (quota_bytes is not None and part * tenant.bytes >= quota_bytes)

    def _look_again(self) -> None:
        self._timer = self._runtime.call_later(LOOK_INTERVAL_S, self._look_again)
        self.look()

    def _new_work(self) -> Iterator[int]:
        keyspace = self._keyspace
        self._worked_on = keyspace.tenants
        return keyspace.tenants.rebuild(map(keyspace.rows_of_page, range(PAGES)), keyspace.get)

    def _step(self) -> None:
        self._stepping = None
        if self._work is None:
            if not self._keyspace.tenants.rebuilding:
                return
            self._work = self._new_work()
        left = KEYS_PER_TICK
        for cost in self._work:
            left -= cost
            if left <= 0:
                break
        else:
            self._work = None
        self._stepping = self._runtime.call_later(STEP_INTERVAL_S, self._step)
