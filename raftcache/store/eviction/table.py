"""The keys of one namespace in one shard, each in a numbered slot, with what each is charged.

Everything that an eviction order knows of a key stands in flat arrays at its slot's number: there is no object for a
key beside the key itself, which the keyspace holds anyway, and nothing for the garbage collector to follow but one
list. A slot costs 8 bytes for the key's address, 4 for its charge and 8 in the index, and what its order adds.

Slots are given out in order and again when they are free, newest first. Arrays never shrink: what they take is what
the most keys at one time took, until the whole is let go of.

Keys are found by Python's own hash of bytes. It is seeded anew in each process, so nobody can choose keys that meet in
one chain; and since only equality is read out of the index, nothing that is decided depends on the seed.
"""

from __future__ import annotations

from array import array
from sys import maxsize

from raftcache.store.eviction.growing import SlotIndex

SLOTS_LIMIT = 1 << 31
"""Keys of a namespace in a shard, sentinels included: so that a slot's number fits into an array of `I`."""

SIZE_LIMIT_BYTES = (1 << 32) - 1
"""What a key may be charged, for the same reason."""


class KeyTable:
    """Keys, slots and charges. `items` and `bytes` are exact after every call."""

    __slots__ = ("_free", "_index", "bytes", "items", "keys", "sizes")

    def __init__(self, sentinels: int) -> None:
        """Slots 0 to `sentinels` - 1 never hold a key; there is at least slot 0, which stands for "none"."""
        self.keys: list[bytes | None] = [None] * sentinels
        """By slot; None where the slot is free."""
        self.sizes = array("I", bytes(4 * sentinels))
        """By slot, in bytes. Of a free slot: the next free one."""
        self._index = SlotIndex(self._hash_of)
        self._free = 0
        self.items = self.bytes = 0

    def find(self, key: bytes) -> int:
        """The slot of a key; 0 where it has none."""
        index, keys = self._index, self.keys
        slot = index.first(hash(key) & maxsize)
        while slot and keys[slot] != key:
            slot = index.after(slot)
        return slot

    def add(self, key: bytes, size_bytes: int) -> int:
        """Give a key that has none a slot."""
        assert size_bytes <= SIZE_LIMIT_BYTES, "a charge that no array here holds"
        slot = self._free
        if slot:
            self._free = self.sizes[slot]
            self.keys[slot], self.sizes[slot] = key, size_bytes
        else:
            slot = len(self.keys)
            assert slot < SLOTS_LIMIT, "more keys than slots"
            self.keys.append(key)
            self.sizes.append(size_bytes)
        self._index.add(slot, hash(key) & maxsize)
        self.items += 1
        self.bytes += size_bytes
        return slot

    def resize(self, slot: int, size_bytes: int) -> int:
        """Charge a key anew; returns by how many bytes it has grown."""
        grown_bytes = size_bytes - self.sizes[slot]
        self.sizes[slot] = size_bytes
        self.bytes += grown_bytes
        return grown_bytes

    def drop(self, slot: int) -> bytes:
        """Free a slot; returns the key that stood there."""
        key = self.keys[slot]
        assert key is not None, "a slot that is free already"
        self._index.discard(slot, hash(key) & maxsize)
        self.items -= 1
        self.bytes -= self.sizes[slot]
        self.keys[slot], self.sizes[slot] = None, self._free
        self._free = slot
        return key

    def key(self, slot: int) -> bytes:
        """The key in a slot that is not free."""
        key = self.keys[slot]
        assert key is not None, "a free slot has no key"
        return key

    def _hash_of(self, slot: int) -> int:
        return hash(self.keys[slot]) & maxsize
