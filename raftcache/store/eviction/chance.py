"""`random`: any key goes, each as likely as any other. Exact in that.

The slots in use stand in an array without gaps; one that leaves is replaced by the last. 8 bytes a key, and no work at
all when a key is read. A policy to compare others with, and the right one where use has no pattern.

Source: L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2),
1966.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.order import Order, extend_to
from raftcache.store.eviction.table import KeyTable


class Random(Order):
    """`random`. `random()` is uniform in [0, 1)."""

    __slots__ = ("_dense", "_places", "_random")

    def __init__(self, table: KeyTable, lists: Lists, random: Callable[[], float]) -> None:
        super().__init__(table, lists)
        self._random = random
        self._dense = array("I")
        self._places = array("I")

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """At the end of the array."""
        extend_to(self._places, slot)
        self._places[slot] = len(self._dense)
        self._dense.append(slot)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """Changes nothing."""

    def remove(self, slot: int) -> None:
        """The last takes its place."""
        last = self._dense.pop()
        if last != slot:
            place = self._places[slot]
            self._dense[place], self._places[last] = last, place

    def choose(self, by_items: bool, now_ms: int) -> int:
        """Any."""
        count = len(self._dense)
        return self._dense[int(self._random() * count)] if count else 0
