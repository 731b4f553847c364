"""`lfu` with decay: whoever is used the least often goes first, and use that is long ago counts less.

**The counter** is Redis's: one byte that grows with the logarithm of the number of uses (Morris). A use raises one that
stands at `c` with a probability of 1 / ((c - 5) * 10 + 1), so a million uses make 255, and every minute takes one off.
A new key starts at 5: it has not been used, but it has to have the time to be.

**The order** is exact, where Redis compares a few sampled keys. All counters fall by one at the same moments, so the
difference between two keys never changes while neither is used, and nothing needs to be touched for time to pass. A
slot keeps its counter *plus the number of the minute*, its `rank`, and stands in the list of the slots of its rank, by
last use. When a minute has passed, the lowest rank that still counts means 0, and its list is put behind that of all
who are at 0 already, in four assignments. So `choose` looks for the first list of 257 that is not empty.

Exact, then, is the order by counters; the counters themselves are estimates. What is at 0 is ordered by when it came to
that, and then by use.

Sources: R. Morris, "Counting large numbers of events in small registers", CACM 21(10), 1978; K. Shah, A. Mitra and
D. Matani, "An O(1) algorithm for implementing the LFU cache eviction scheme", 2010, for lists by frequency; Redis's
`LFULogIncr` and `LFUDecrAndReturn` for the constants.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.order import Order, extend_to
from raftcache.store.eviction.table import KeyTable

COUNTER_LIMIT = 255
FIRST_COUNT = 5
LOG_FACTOR = 10
DECAY_MS = 60_000
"""How long a counter takes to fall by one."""
COUNTED_READS_LIMIT = 16
"""Of the reads that are told at once, at most so many are drawn for."""

_COLD = 0
"""The list of the slots whose counter is 0."""
_RINGS = COUNTER_LIMIT + 1
"""The lists of the other ranks: sentinels 1 to 256, for ranks that differ by up to 255."""


class LeastFrequentlyUsed(Order):
    """`lfu`. `random()` is uniform in [0, 1)."""

    __slots__ = ("_lowest", "_minute", "_random", "_ranks")

    sentinels = 1 + _RINGS

    def __init__(self, table: KeyTable, lists: Lists, random: Callable[[], float]) -> None:
        super().__init__(table, lists)
        self._random = random
        self._ranks = array("I")
        self._minute = 0
        self._lowest = 0
        """No list of a rank between the minute's and this one holds anything."""

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """A fresh counter."""
        self._pass_time(now_ms)
        extend_to(self._ranks, slot)
        rank = self._ranks[slot] = self._minute + FIRST_COUNT
        self.lists.append(self._list_of(rank), slot)

    def read(self, slot: int, times: int, now_ms: int) -> None:
        """Count, and stand last among its equals."""
        self._pass_time(now_ms)
        count = self.count(slot)
        for _ in range(min(times, COUNTED_READS_LIMIT)):
            if count < COUNTER_LIMIT and self._random() * (max(count - FIRST_COUNT, 0) * LOG_FACTOR + 1) < 1.0:
                count += 1
        rank = self._ranks[slot] = self._minute + count
        self.lists.move(self._list_of(rank), slot)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """A write is a use."""
        self.read(slot, 1, now_ms)

    def remove(self, slot: int) -> None:
        """Out of its list."""
        self.lists.unlink(slot)

    def choose(self, by_items: bool, now_ms: int) -> int:
        """The one unused for longest among those with the lowest counter."""
        self._pass_time(now_ms)
        cold = self.lists.first(_COLD)
        if cold != _COLD:
            return cold
        for rank in range(self._lowest, self._minute + _RINGS):
            slot = self.lists.first(self._ring(rank))
            if slot >= self.sentinels:
                self._lowest = rank
                return slot
        return 0

    def count(self, slot: int) -> int:
        """A slot's counter, as of the time last told."""
        return max(self._ranks[slot] - self._minute, 0)

    def frequency(self, slot: int, now_ms: int) -> int:
        """The counter, as of now."""
        return max(self._ranks[slot] - max(self._minute, now_ms // DECAY_MS), 0)

    def _list_of(self, rank: int) -> int:
        if rank <= self._minute:
            return _COLD
        self._lowest = min(self._lowest, rank)
        return self._ring(rank)

    def _ring(self, rank: int) -> int:
        return 1 + rank % _RINGS

    def _pass_time(self, now_ms: int) -> None:
        """Let the ranks go cold whose minute has come: at most all the lists. Time never goes back here."""
        minute = now_ms // DECAY_MS
        if minute <= self._minute:
            return
        for rank in range(self._minute + 1, min(minute, self._minute + COUNTER_LIMIT) + 1):
            self.lists.splice(_COLD, self._ring(rank))
        self._minute = minute
        self._lowest = max(self._lowest, minute + 1)
