"""`ttl`: whoever would expire first goes first. Exact to the millisecond.

Keys with a time to live stand in a binary heap by their expiry, in which each slot knows its place, so that one that is
removed or given another time leaves at once. A step takes at most log2(n) exchanges, 20 for a million keys, and usually
one or two for a write: most new expiries are later than most old ones. 16 bytes a key.

Keys without one expire after all others: they go when nothing else is left, the least recently modified first.

A wheel of lists, as `store.expire` has it for the sweep, would be quicker and would not know which of the keys of a
second, or of a day, is first; and where the times are far apart it has as many lists as keys.

Source: J. W. J. Williams, "Algorithm 232: Heapsort", CACM 7(6), 1964, for the heap; `volatile-ttl` of Redis for the
policy, which samples.
"""

from __future__ import annotations

from array import array

from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.order import Order, extend_to
from raftcache.store.eviction.table import KeyTable

_LASTING = 0
"""The list of the keys that never expire; "none" where it is empty."""


class NearestExpiry(Order):
    """`ttl`."""

    __slots__ = ("_expiries", "_heap", "_places")

    def __init__(self, table: KeyTable, lists: Lists) -> None:
        super().__init__(table, lists)
        self._heap = array("I", [0])  # From 1 on: the parent of place i is i // 2.
        self._places = array("I")
        self._expiries = array("Q")

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """Into the heap, or to the end of the list."""
        extend_to(self._places, slot)
        extend_to(self._expiries, slot)
        self._expiries[slot] = expires_ms
        if not expires_ms:
            self._places[slot] = 0
            self.lists.append(_LASTING, slot)
            return
        self._heap.append(slot)
        self._rise(len(self._heap) - 1)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """To where its new expiry belongs."""
        place, before = self._places[slot], self._expiries[slot]
        if place and expires_ms:
            self._expiries[slot] = expires_ms
            if expires_ms < before:
                self._rise(place)
            else:
                self._sink(place)
            return
        self.remove(slot)
        self.insert(slot, expires_ms, now_ms)

    def remove(self, slot: int) -> None:
        """Out of the heap, the last of which takes its place; or out of the list."""
        place, last = self._places[slot], self._heap[-1]
        if not place:
            self.lists.unlink(slot)
            return
        self._heap.pop()
        if last == slot:
            return
        self._heap[place], self._places[last] = last, place
        self._rise(place)
        self._sink(self._places[last])

    def choose(self, by_items: bool, now_ms: int) -> int:
        """The top of the heap, or else the oldest that lasts."""
        return self._heap[1] if len(self._heap) > 1 else self.lists.first(_LASTING)

    def _rise(self, place: int) -> None:
        heap, places, expiries = self._heap, self._places, self._expiries
        slot = heap[place]
        expires_ms = expiries[slot]
        while place > 1 and expiries[heap[place // 2]] > expires_ms:
            heap[place] = moved = heap[place // 2]
            places[moved] = place
            place //= 2
        heap[place], places[slot] = slot, place

    def _sink(self, place: int) -> None:
        heap, places, expiries = self._heap, self._places, self._expiries
        slot, end = heap[place], len(heap)
        expires_ms = expiries[slot]
        while (child := 2 * place) < end:
            if child + 1 < end and expiries[heap[child + 1]] < expiries[heap[child]]:
                child += 1
            if expiries[heap[child]] >= expires_ms:
                break
            heap[place] = moved = heap[child]
            places[moved] = place
            place = child
        heap[place], places[slot] = slot, place
