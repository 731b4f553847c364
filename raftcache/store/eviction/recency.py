"""`lru` and `lrm`: whoever was used, or written, the longest ago goes first. Both are exact.

One list, from the oldest use to the newest. A use moves a slot to the end, which takes a few assignments in arrays, so
there is nothing to gain from a sample of keys with their times, as Redis takes it: exact order costs 8 bytes a key. The
time of the last use, which decides nothing and is there to be asked for, is another 4 (`evictor`).

`lru` counts reads and writes as uses, `lrm` writes alone. `lrm` is the one order that needs no word about reads, so a
new leader has it as the old one had it.

Sources: for LRU, P. J. Denning, "The working set model for program behavior", CACM 11(5), 1968, and R. L. Mattson et
al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 9(2), 1970. For `lrm`, the policy of that name
in Redis's `maxmemory-policy`.
"""

from __future__ import annotations

from raftcache.store.eviction.order import Order

_USES = 0
"""The list's sentinel: its being "none" as well makes an empty list's first slot the right answer."""


class LeastRecentlyModified(Order):
    """`lrm`."""

    __slots__ = ()

    dates_writes = True

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """The newest."""
        self.lists.append(_USES, slot)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """The newest again."""
        self.lists.move(_USES, slot)

    def remove(self, slot: int) -> None:
        """Out of the list."""
        self.lists.unlink(slot)

    def choose(self, by_items: bool, now_ms: int) -> int:
        """The oldest."""
        return self.lists.first(_USES)


class LeastRecentlyUsed(LeastRecentlyModified):
    """`lru`."""

    __slots__ = ()

    dates_reads = True

    def read(self, slot: int, times: int, now_ms: int) -> None:
        """The newest again."""
        self.lists.move(_USES, slot)
