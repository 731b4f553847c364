"""Doubly linked lists of slots, in two flat arrays: 8 bytes a slot, whichever list it is in.

Each list is a ring through a *sentinel*, a slot that holds no key. So a slot leaves its list without its being known
which one that is, and one list is put behind another by four assignments, however long they are.
"""

from __future__ import annotations

from array import array


class Lists:
    """Rings of slots. A slot is in one ring at most."""

    __slots__ = ("_next", "_previous")

    def __init__(self, sentinels: int) -> None:
        """Sentinels are the slots 0 to `sentinels` - 1, each a list that is empty."""
        self._next = array("I", range(sentinels))
        self._previous = array("I", range(sentinels))

    def first(self, sentinel: int) -> int:
        """The slot that has been in a list the longest; the sentinel itself where the list is empty."""
        return self._next[sentinel]

    def append(self, sentinel: int, slot: int) -> None:
        """Put a slot that is in no list at the end of one."""
        after, before = self._next, self._previous
        if slot >= len(after):
            grown = range(len(after), slot + 1)
            after.extend(grown)
            before.extend(grown)
        last = before[sentinel]
        after[last] = before[sentinel] = slot
        before[slot], after[slot] = last, sentinel

    def unlink(self, slot: int) -> None:
        """Take a slot out of its list."""
        after, before = self._next[slot], self._previous[slot]
        self._next[before], self._previous[after] = after, before

    def move(self, sentinel: int, slot: int) -> None:
        """Take a slot out of its list and put it at the end of one."""
        after, before = self._next, self._previous
        following, preceding = after[slot], before[slot]
        after[preceding], before[following] = following, preceding
        last = before[sentinel]
        after[last] = before[sentinel] = slot
        before[slot], after[slot] = last, sentinel

    def splice(self, sentinel: int, other: int) -> None:
        """Put all of `other` at the end of a list, in its order; `other` is empty afterwards."""
        after, before = self._next, self._previous
        first, last = after[other], before[other]
        if first == other:
            return
        end = before[sentinel]
        after[end], before[first] = first, end
        after[last], before[sentinel] = sentinel, last
        after[other] = before[other] = other
