"""A hash index that grows by one bucket at a time: linear hashing.

A dict that grows moves all that it holds at once, at a million keys for 50 ms. Linear hashing never does: with every
key that is added beyond the number of buckets, *one* bucket is split in two. `split` buckets of this round have been
split already, and a hash finds its bucket by one more bit there than in the rest. Chains stay at one or two keys on the
average wherever the growing stands.

Buckets and chains are numbers in flat arrays, 8 bytes a key for both. Keys go by the number of a *slot*, above 0, and
what stands in a slot is the business of whoever owns the index.

Source: W. Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

FIRST_BUCKETS = 8
"""A power of two."""


class Doubling:
    """The arithmetic: which of a growing number of buckets a hash belongs to. `count` is that number."""

    __slots__ = ("count", "mask", "split")

    def __init__(self) -> None:
        self.count = FIRST_BUCKETS
        self.mask = FIRST_BUCKETS - 1
        self.split = 0

    def bucket(self, hashed: int) -> int:
        """The bucket of a hash, which may be any non-negative integer."""
        number = hashed & self.mask
        return hashed & (2 * self.mask + 1) if number < self.split else number

    def grow(self) -> tuple[int, int]:
        """One bucket more: `(old, new)`, of which `new` takes what no longer belongs to `old`."""
        old, new = self.split, self.count
        self.count += 1
        self.split += 1
        if self.split > self.mask:
            self.mask, self.split = 2 * self.mask + 1, 0
        return old, new


class SlotIndex:
    """Slots by the hash of what stands in them. `hash_of(slot)` must give what `add` was given."""

    __slots__ = ("_chain", "_doubling", "_hash_of", "_heads", "size")

    def __init__(self, hash_of: Callable[[int], int]) -> None:
        self._hash_of = hash_of
        self._doubling = Doubling()
        self._heads = array("I", bytes(4 * FIRST_BUCKETS))
        self._chain = array("I", bytes(4))
        self.size = 0

    def first(self, hashed: int) -> int:
        """The first slot of the chain where a hash is to be looked for; 0 where there is none."""
        doubling = self._doubling
        number = hashed & doubling.mask
        if number < doubling.split:
            number = hashed & (2 * doubling.mask + 1)
        return self._heads[number]

    def after(self, slot: int) -> int:
        """The next slot of the same chain; 0 at its end."""
        return self._chain[slot]

    def add(self, slot: int, hashed: int) -> None:
        """Enter a slot."""
        while slot >= len(self._chain):
            self._chain.append(0)
        if self.size >= self._doubling.count:
            self._split()
        self._push(self._doubling.bucket(hashed), slot)
        self.size += 1

    def discard(self, slot: int, hashed: int) -> None:
        """Take out a slot that was entered with this hash."""
        number, chain = self._doubling.bucket(hashed), self._chain
        at = self._heads[number]
        if at == slot:
            self._heads[number] = chain[slot]
        else:
            while chain[at] != slot:
                at = chain[at]
            chain[at] = chain[slot]
        self.size -= 1

    def _push(self, number: int, slot: int) -> None:
        self._chain[slot] = self._heads[number]
        self._heads[number] = slot

    def _split(self) -> None:
        old, new = self._doubling.grow()
        slot, self._heads[old] = self._heads[old], 0
        self._heads.append(0)
        while slot:
            following = self._chain[slot]
            self._push(new if self._doubling.bucket(self._hash_of(slot)) == new else old, slot)
            slot = following
