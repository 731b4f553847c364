"""`tinylfu`: a new key stays only if it was asked for more often, lately, than the key that would have to go for it.

In front of any order. A cache must not answer a write and then have nothing, so a new key is not turned away when it is
written: it enters a *window*, the least recently used of which move on into the order behind, as new keys do there. If
the room is too small when a key has moved on, it is a *candidate*: it is compared with the order's own victim, by the
estimates of a sketch of all that is asked for, absent keys included, and the loser is evicted. That is W-TinyLFU, with
the order of the namespace's choice in place of its segmented LRU.

The window is a hundredth of what is in use. W-TinyLFU's later form finds the share by itself (hill climbing); a fixed
one is easier to reason about, and who has a workload that it does not fit has `s3fifo`, or `all`.

What counts as asked for is a read, present or not, and a write of what is present. A write of what is absent does not:
the read that missed it has been counted.

Approximate: the sketch is an estimate. Source: G. Einziger, R. Friedman and B. Manes, "TinyLFU: a highly efficient
cache admission policy", ACM Transactions on Storage 13(4), 2017.
"""

from __future__ import annotations

from raftcache.store.eviction.order import Order
from raftcache.store.eviction.sketch import Sketch

WINDOW_PART = 100
"""The window has one in so many of the items, or bytes, at most, and never less than one item."""
MOVES_PER_WRITE = 2
"""Keys that leave the window at once. More than one where the share has just shrunk, so that it comes down."""
CANDIDATES_LIMIT = 64
"""Keys that have moved on and were not compared yet. While there is room none is, and the oldest are let off."""


class TinyLfu(Order):
    """Admission in front of an order, itself an order. It needs one sentinel more than the order behind it."""

    __slots__ = ("_by_items", "_candidates", "_inner", "_sketch", "_window", "_window_bytes", "_windowed")

    def __init__(self, inner: Order) -> None:
        super().__init__(inner.table, inner.lists)
        self._inner = inner
        self._sketch = Sketch()
        self._window = inner.sentinels
        self._windowed: dict[int, int] = {}
        """The slots in the window, and their expiries, for the order behind. Where they stand tells the list."""
        self._window_bytes = 0
        self._candidates: dict[int, None] = {}
        self._by_items = False

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """Into the window; others leave it for that."""
        self._windowed[slot] = expires_ms
        self._window_bytes += self.table.sizes[slot]
        self.lists.append(self._window, slot)
        self._sketch.grow(self.table.items)
        for _ in range(MOVES_PER_WRITE):
            if self._window_is_full():
                self._move_on(now_ms)

    def read(self, slot: int, times: int, now_ms: int) -> None:
        """Count, and tell whichever part has the key."""
        self._sketch.count(self.table.key(slot), self.table.items, times)
        if slot in self._windowed:
            self.lists.move(self._window, slot)
        else:
            self._inner.read(slot, times, now_ms)

    def missed(self, key: bytes) -> None:
        """Count."""
        self._sketch.count(key, self.table.items)

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """Count, and tell whichever part has the key."""
        self._sketch.count(self.table.key(slot), self.table.items)
        if slot in self._windowed:
            self._windowed[slot] = expires_ms
            self._window_bytes += grown_bytes
            self.lists.move(self._window, slot)
        else:
            self._inner.written(slot, grown_bytes, expires_ms, now_ms)

    def frequency(self, slot: int, now_ms: int) -> int:
        """The estimate, whichever order is behind: so that keys in the window and others are told by one measure."""
        return self._sketch.estimate(self.table.key(slot))

    def remove(self, slot: int) -> None:
        """Out of whichever part has it."""
        if slot in self._windowed:
            self._leave_window(slot)
            self.lists.unlink(slot)
        else:
            self._candidates.pop(slot, None)
            self._inner.remove(slot)

    def evicted(self, slot: int) -> None:
        """The same, but for what the order behind remembers of its own victims."""
        if slot in self._windowed:
            self.remove(slot)
        else:
            self._candidates.pop(slot, None)
            self._inner.evicted(slot)

    def choose(self, by_items: bool, now_ms: int) -> int:
        """The loser between the oldest candidate and the victim of the order behind."""
        self._by_items = by_items
        victim = self._inner.choose(by_items, now_ms)
        if not victim:
            first = self.lists.first(self._window)
            return 0 if first == self._window else first
        candidate = next(iter(self._candidates), 0)
        if not candidate:
            return victim
        del self._candidates[candidate]
        key, other = self.table.key(candidate), self.table.key(victim)
        return victim if self._sketch.estimate(key) > self._sketch.estimate(other) else candidate

    def _window_is_full(self) -> bool:
        """Whether it has more than its share, by the measure of which there was too much the last time."""
        if len(self._windowed) < 2:
            return False
        if self._by_items:
            return len(self._windowed) * WINDOW_PART > self.table.items
        return self._window_bytes * WINDOW_PART > self.table.bytes

    def _move_on(self, now_ms: int) -> None:
        """The window's least recently used goes on into the order behind, as a candidate."""
        slot = self.lists.first(self._window)
        expires_ms = self._leave_window(slot)
        self.lists.unlink(slot)
        self._inner.insert(slot, expires_ms, now_ms)
        self._candidates[slot] = None
        if len(self._candidates) > CANDIDATES_LIMIT:
            del self._candidates[next(iter(self._candidates))]

    def _leave_window(self, slot: int) -> int:
        self._window_bytes -= self.table.sizes[slot]
        return self._windowed.pop(slot)
