"""Keys that were evicted not long ago, as 32-bit fingerprints, in the order of their eviction.

Of a key that is not kept any more only its checksum is remembered: 16 bytes, whatever the key's length. Two keys with
the same one are taken for each other; among a million that concerns one in four thousand, and costs no more than a
wrong guess of what will be used again. Otherwise the queue is exact, the oldest leaving first. (The paper's own
prototype keeps fingerprints as well, in buckets that overwrite each other.)

A checksum and not Python's hash, for what is decided from it shall be the same in every process.
"""

from __future__ import annotations

from array import array
from zlib import crc32

from raftcache.store.eviction.growing import SlotIndex
from raftcache.store.eviction.lists import Lists

FORGOTTEN_PER_CALL = 4
"""Ghosts that leave at once where their number is over the limit. More than come, so the queue shrinks after it."""

_QUEUE = 0


class Ghosts:
    """A queue of fingerprints. Its slots are its own."""

    __slots__ = ("_free", "_index", "_lists", "_prints")

    def __init__(self) -> None:
        self._prints = array("I", [0])
        """By slot. Of a free slot: the next free one."""
        self._index = SlotIndex(self._prints.__getitem__)
        self._lists = Lists(1)
        self._free = 0

    def __len__(self) -> int:
        return self._index.size

    def add(self, key: bytes, limit: int) -> None:
        """Remember a key as the newest; the oldest go where there are more than `limit`."""
        print_ = crc32(key)
        slot = self._find(print_)
        if slot:
            self._lists.move(_QUEUE, slot)
        else:
            slot = self._take_slot(print_)
            self._index.add(slot, print_)
            self._lists.append(_QUEUE, slot)
        for _ in range(FORGOTTEN_PER_CALL):
            if len(self) > limit:
                self._drop(self._lists.first(_QUEUE))

    def take(self, key: bytes) -> bool:
        """Whether a key is remembered; it is not afterwards."""
        slot = self._find(crc32(key))
        if slot:
            self._drop(slot)
        return slot != 0

    def _find(self, print_: int) -> int:
        slot = self._index.first(print_)
        while slot and self._prints[slot] != print_:
            slot = self._index.after(slot)
        return slot

    def _take_slot(self, print_: int) -> int:
        slot = self._free
        if slot:
            self._free, self._prints[slot] = self._prints[slot], print_
            return slot
        self._prints.append(print_)
        return len(self._prints) - 1

    def _drop(self, slot: int) -> None:
        self._index.discard(slot, self._prints[slot])
        self._lists.unlink(slot)
        self._prints[slot], self._free = self._free, slot
