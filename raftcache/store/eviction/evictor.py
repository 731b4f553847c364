"""What a shard keeps of one namespace so as to know what goes when there is too much: an order, and exact charges.

The one door to this package. A replica tells it of every write and removal that it executes or applies, a leader of
reads as well, and a leader over a quota asks for `victims`. All of it is bounded work: a few assignments in arrays, at
most log2(n) steps for `ttl`, and what `choose` of the order says.

Victims are *taken out* of the evictor when they are named, so what it has in use is then what will be in use, and
asking again gives others. The leader removes each from the keyspace by an effect, in the same turn. If that effect is
undone, the key is written back as any other; it has lost its place, not its entry.

For orders that go by recency the time of a key's last use is kept here, whichever part of the order has the key: in
whole seconds, so that 4 bytes hold it, and modulo 2 ** 32. It decides nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from raftcache.commands.policy import Admission, Eviction
from raftcache.store.eviction.chance import Random
from raftcache.store.eviction.frequency import LeastFrequentlyUsed
from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.nearest import NearestExpiry
from raftcache.store.eviction.order import NoOrder, Order, extend_to
from raftcache.store.eviction.recency import LeastRecentlyModified, LeastRecentlyUsed
from raftcache.store.eviction.s3fifo import S3Fifo
from raftcache.store.eviction.table import KeyTable
from raftcache.store.eviction.tinylfu import TinyLfu
from raftcache.store.trash import Parts

__all__ = ["VICTIMS_PER_CALL", "Admission", "Eviction", "Evictor"]

VICTIMS_PER_CALL = 64
"""Keys that one call of `victims` names at most."""


_SECONDS_MASK = (1 << 32) - 1
_SECONDS_AHEAD = 1 << 31
"""A use that seems to be longer ago than that is one that is yet to come, by a clock that was set back."""


class Evictor:
    """The keys of one namespace in one shard. Sizes are what the caller charges, in bytes; times the shard's, in ms."""

    __slots__ = ("_dates_reads", "_dates_writes", "_order", "_table", "_used_s")

    def __init__(self, eviction: Eviction, admission: Admission, random: Callable[[], float]) -> None:
        """`random()` is uniform in [0, 1)."""
        kind = _ORDERS[eviction]
        self._dates_writes, self._dates_reads = kind.dates_writes, kind.dates_reads
        self._used_s = array("I")
        """By slot; only where one of these is true."""
        sentinels = kind.sentinels + 1  # One for the window of `tinylfu`.
        self._table = table = KeyTable(sentinels)
        lists = Lists(sentinels)
        order = kind(table, lists, random) if issubclass(kind, (Random, LeastFrequentlyUsed)) else kind(table, lists)
        self._order = TinyLfu(order) if admission is Admission.TINYLFU and eviction is not Eviction.NONE else order

    def __len__(self) -> int:
        """How many keys there are."""
        return self._table.items

    def __contains__(self, key: bytes) -> bool:
        return self._table.find(key) != 0

    @property
    def used_bytes(self) -> int:
        """What all keys are charged together."""
        return self._table.bytes

    def read(self, key: bytes, now_ms: int, times: int = 1) -> None:
        """A key was read `times` times, and is here or not: a miss is counted by who admits."""
        slot = self._table.find(key)
        if slot:
            self._order.read(slot, times, now_ms)
            if self._dates_reads:
                self._used_s[slot] = now_ms // 1000 & _SECONDS_MASK
        else:
            self._order.missed(key)

    def write(self, key: bytes, size_bytes: int, expires_ms: int, now_ms: int) -> None:
        """A key was written, new or not, and is charged so much. `expires_ms` 0 means never."""
        table = self._table
        slot = table.find(key)
        if slot:
            self._order.written(slot, table.resize(slot, size_bytes), expires_ms, now_ms)
        else:
            slot = table.add(key, size_bytes)
            self._order.insert(slot, expires_ms, now_ms)
            if self._dates_writes:
                extend_to(self._used_s, slot)
        if self._dates_writes:
            self._used_s[slot] = now_ms // 1000 & _SECONDS_MASK

    def frequency(self, key: bytes, now_ms: int) -> int | None:
        """How often a key is used, by the measure of its order; None where that has none, or the key is not here."""
        slot = self._table.find(key)
        return self._order.frequency(slot, now_ms) if slot else None

    def idle_s(self, key: bytes, now_ms: int) -> int | None:
        """How long ago a key was used last, in whole seconds; None where its order does not go by that, or it is not
        here."""
        slot = self._table.find(key)
        if not slot or not self._dates_writes:
            return None
        idle_s = now_ms // 1000 - self._used_s[slot] & _SECONDS_MASK
        return idle_s if idle_s < _SECONDS_AHEAD else 0

    def remove(self, key: bytes, evicted: bool = False) -> bool:
        """A key was removed, whoever did it. False where it is not here, as a victim is not any more.

        `evicted` is for followers, where they can tell: it was a victim of the leader's, which some orders remember.
        """
        slot = self._table.find(key)
        if slot:
            (self._order.evicted if evicted else self._order.remove)(slot)
            self._table.drop(slot)
        return slot != 0

    def victims(
        self, over_bytes: int, over_items: int, now_ms: int, limit: int = VICTIMS_PER_CALL
    ) -> list[bytes]:
        """Take out keys until so many bytes and items less are in use: at most `limit`, so ask again where that did not
        do. An empty list where there is nothing over, or nothing that may be evicted."""
        taken: list[bytes] = []
        while (over_bytes > 0 or over_items > 0) and len(taken) < limit:
            slot = self._order.choose(over_bytes <= 0, now_ms)
            if not slot:
                break
            over_bytes -= self._table.sizes[slot]
            over_items -= 1
            self._order.evicted(slot)
            taken.append(self._table.drop(slot))
        return taken

    def parts(self) -> list[Parts]:
        """What it is made of, to be let go of in steps. The evictor must not be used any more."""
        return [self._table.keys]


_ORDERS: dict[Eviction, type[Order]] = {
    Eviction.LRU: LeastRecentlyUsed,
    Eviction.LFU: LeastFrequentlyUsed,
    Eviction.LRM: LeastRecentlyModified,
    Eviction.TTL: NearestExpiry,
    Eviction.RANDOM: Random,
    Eviction.S3FIFO: S3Fifo,
    Eviction.NONE: NoOrder,
}
