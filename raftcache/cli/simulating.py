"""Caches that are simulated to find out what a policy is worth: the real store, in process, by the trace's clock.

A simulated cache is what a shard's leader has of one namespace: a keyspace, and an evictor beside it that names what
goes. It is asked cache-aside: a get, and on a miss a set. All caches are played in one pass over the trace.

Values are stand-ins that know only their length. A share of the footprint is soon more than a machine's memory, times
the number of caches; what is decided depends on lengths alone. A key's charge is 1 where items are counted, and else
the size of its value as traced, without the overhead that the store charges an entry with: so figures can be compared
with those of other simulators. A key keeps the size with which it was set until it is set again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from raftcache.cli.trace import Timed
from raftcache.store.entry import Entry
from raftcache.store.eviction.evictor import Admission, Eviction, Evictor
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget

SEED = 1
STAND_INS = 4096
"""Values of different lengths that are kept for the next of the same length."""
_NAMESPACE_ID = _TERM = 1


class Setup(NamedTuple):
    """What to try: `size` as it was asked for, such as "5%", and the capacity that it means, in items or bytes."""

    eviction: Eviction
    admission: Admission
    size: str
    capacity: int


class Footprint(NamedTuple):
    """What a trace asks for: requests, distinct keys, and the bytes of each key's first request."""

    requests: int
    items: int
    bytes: int


class StandIn(bytes):
    """A value of which only the length is true."""

    length = 0

    def __len__(self) -> int:
        return self.length


@lru_cache(STAND_INS)
def stand_in(size_bytes: int) -> StandIn:
    """A value that is so long, or says so."""
    value = StandIn()
    value.length = size_bytes
    return value


class SimulatedCache:
    """One namespace with one policy. `hits` counts."""

    def __init__(self, setup: Setup, by_items: bool) -> None:
        self.setup = setup
        self.hits = 0
        self._by_items = by_items
        self._refuses = setup.eviction is Eviction.NONE
        self._keyspace = Keyspace(MemoryBudget())
        self._evictor = Evictor(setup.eviction, setup.admission, random.Random(SEED).random)
        self._seq = 0

    def ask(self, key: bytes, size_bytes: int, now_ms: int) -> None:
        """Get a key, and set it on a miss."""
        self._evictor.read(key, now_ms)
        if self._keyspace.get(key) is not None:
            self.hits += 1
        elif (1 if self._by_items else size_bytes) <= self._room():
            self._set(key, size_bytes, now_ms)

    def _room(self) -> int:
        """How large an item may be: what is larger than the cache is never kept, and `none` makes no room."""
        return self.setup.capacity - (self._used() if self._refuses else 0)

    def _used(self) -> int:
        return len(self._evictor) if self._by_items else self._evictor.used_bytes

    def _set(self, key: bytes, size_bytes: int, now_ms: int) -> None:
        self._seq += 1
        self._keyspace.put(key, Entry(stand_in(size_bytes), 0, 0, _NAMESPACE_ID, _TERM, self._seq))
        self._evictor.write(key, size_bytes, 0, now_ms)
        while (over := self._used() - self.setup.capacity) > 0:
            over_bytes, over_items = (0, over) if self._by_items else (over, 0)
            for victim in self._evictor.victims(over_bytes, over_items, now_ms):
                self._keyspace.remove(victim)


def measure(trace: Iterable[Timed]) -> Footprint:
    """The footprint, which takes a pass of its own: shares of it must be known before the first request."""
    sizes: dict[bytes, int] = {}
    requests = 0
    for request in trace:
        requests += 1
        sizes.setdefault(request.key, request.size_bytes)
    return Footprint(requests, len(sizes), sum(sizes.values()))


def simulate(trace: Iterable[Timed], caches: Sequence[SimulatedCache], told: Callable[[int], None]) -> int:
    """Play a trace to all caches at once; returns how many requests it has. `told` hears their number now and then."""
    requests = 0
    for key, size_bytes, time_ms in trace:
        requests += 1
        for cache in caches:
            cache.ask(key, size_bytes, time_ms)
        if requests % 1024 == 0:
            told(requests)
    told(requests)
    return requests


def share(percent: Decimal, whole: int) -> int:
    """So many percent of a number, rounded down, and at least 1."""
    return max(1, int(percent * whole / 100))
