"""`s3fifo`: three queues, of which the first keeps from the others what is used once and never again.

Most keys of most workloads are used once. So a new key gets a place in a *small* queue, a tenth of the room, and has
until it comes to the front to be used at least twice; then it moves to the *main* queue, and else it is evicted, and
only its fingerprint remembered, in the *ghost* queue. A key that comes back while its ghost is there goes to the main
queue at once. In the main queue a key that was used goes round once more for each use, up to three, and one that was
not is evicted.

A read changes two bits and moves nothing, so reads are the cheapest of all orders, but for `random`.

How this differs from the paper: the shares are of what is in use, not of a capacity, for a quota's share may change any
time, and nothing is evicted before it is full anyway; and a search for a victim ends after `STEPS_LIMIT` keys that
deserve another round, of which then the last goes all the same. A key's uses are at most three, so that would come to
pass only where most of the main queue was used since it last went round.

Exact but for that, and for ghosts that share a fingerprint. A client's delete leaves no ghost.

Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue and K. V. Rashmi, "FIFO queues are all you need for cache eviction",
SOSP 2023.
"""

from __future__ import annotations

from raftcache.store.eviction.ghost import Ghosts
from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.order import Order, extend_to
from raftcache.store.eviction.table import KeyTable

SMALL_PART = 10
"""The small queue is evicted from while it has more than one in so many of the items, or bytes."""
USES_LIMIT = 3
USES_TO_STAY = 2
"""Uses in the small queue that bring a key to the main one."""
STEPS_LIMIT = 64

_SMALL, _MAIN = 1, 2
_USES, _IN_MAIN = 3, 4
"""Bits of a slot's state: its uses, and whether it is in the main queue."""


class S3Fifo(Order):
    """`s3fifo`."""

    __slots__ = ("_ghosts", "_small_bytes", "_small_items", "_state")

    sentinels = 3

    def __init__(self, table: KeyTable, lists: Lists) -> None:
        super().__init__(table, lists)
        self._state = bytearray()
        self._ghosts = Ghosts()
        self._small_items = self._small_bytes = 0

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """Into the small queue, or, where it was evicted not long ago, into the main one."""
        extend_to(self._state, slot)
        if self._ghosts.take(self.table.key(slot)):
            self._state[slot] = _IN_MAIN
            self.lists.append(_MAIN, slot)
            return
        self._state[slot] = 0
        self.lists.append(_SMALL, slot)
        self._small_items += 1
        self._small_bytes += self.table.sizes[slot]

    def read(self, slot: int, times: int, now_ms: int) -> None:
        """Count, up to three."""
        state = self._state[slot]
        self._state[slot] = state & _IN_MAIN | min((state & _USES) + times, USES_LIMIT)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """A write is a use."""
        if not self._state[slot] & _IN_MAIN:
            self._small_bytes += grown_bytes
        self.read(slot, 1, now_ms)

    def remove(self, slot: int) -> None:
        """Out of its queue."""
        self.lists.unlink(slot)
        if not self._state[slot] & _IN_MAIN:
            self._leave_small(slot)

    def evicted(self, slot: int) -> None:
        """A key of the small queue leaves a ghost.

        There are as many as the main queue has room for, and not as it has keys: it fills by ghosts alone.
        """
        if not self._state[slot] & _IN_MAIN:
            kept = self.table.items
            self._ghosts.add(self.table.key(slot), kept - kept // SMALL_PART)
        self.remove(slot)

    def choose(self, by_items: bool, now_ms: int) -> int:
        """The first of either queue that does not deserve another round."""
        slot = 0
        for _ in range(STEPS_LIMIT):
            slot = self._front(by_items)
            uses = self._state[slot] & _USES if slot else 0
            if self._small_is_next(by_items):
                if uses < USES_TO_STAY:
                    return slot
                self._promote(slot)
            elif not uses:
                return slot
            else:
                self._state[slot] -= 1
                self.lists.move(_MAIN, slot)
        return slot

    def _front(self, by_items: bool) -> int:
        slot = self.lists.first(_SMALL if self._small_is_next(by_items) else _MAIN)
        return slot if slot >= self.sentinels else 0

    def _small_is_next(self, by_items: bool) -> bool:
        table = self.table
        if self._small_items == table.items or not self._small_items:
            return self._small_items > 0
        if by_items:
            return self._small_items * SMALL_PART > table.items
        return self._small_bytes * SMALL_PART > table.bytes

    def _promote(self, slot: int) -> None:
        self._leave_small(slot)
        self._state[slot] = _IN_MAIN
        self.lists.move(_MAIN, slot)

    def _leave_small(self, slot: int) -> None:
        self._small_items -= 1
        self._small_bytes -= self.table.sizes[slot]
