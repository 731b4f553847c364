"""Keys to slots, and slots in ranges.

Slot = CRC16(key) mod 16,384, by Redis Cluster's rules: the CRC is the XMODEM one (`binascii.crc_hqx`), and where
a key holds a `{hash tag}` that is not empty, only the tag is hashed, so that keys which share a tag share a slot.
Slots never depend on the number of nodes. Ranges are pairs `(first, last)`, both included, as Redis shows them.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

SLOTS: Final = 16_384

_OPENING: Final = ord("{")
"""Looked for as a number: `in` takes bytes for one first, and raises an error that it catches."""

SlotRange = tuple[int, int]


def slot_of(key: bytes) -> int:
    """The slot of `key`, 0 to 16,383.

    The tag runs from the first `{` to the first `}` after it; an empty or unclosed one is no tag.
    """
    if _OPENING in key:
        opening = key.find(b"{")
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return crc_hqx(key, 0) % SLOTS


class Owned:
    """The slots of some ranges, by one look each."""

    __slots__ = ("_flags",)

    def __init__(self, ranges: Iterable[SlotRange]) -> None:
        flags = bytearray(SLOTS)
        for slot in expand(ranges):
            flags[slot] = 1
        self._flags = bytes(flags)

    def slot(self, slot: int) -> bool:
        """Whether `slot`, 0 to 16,383, is among them."""
        return self._flags[slot] == 1

    def key(self, key: bytes) -> bool:
        """Whether the slot of `key` is."""
        return self._flags[slot_of(key)] == 1


def even_ranges(count: int) -> list[SlotRange]:
    """All slots in `count` ranges whose sizes differ by at most one. Raises ValueError outside 1..SLOTS."""
    if not 1 <= count <= SLOTS:
        raise ValueError(f"shards must be 1 to {SLOTS}, got {count}")
    starts = [number * SLOTS // count for number in range(count + 1)]
    return [(start, end - 1) for start, end in pairwise(starts)]


def compact(slots: Iterable[int]) -> list[SlotRange]:
    """The fewest ranges, in rising order, that hold exactly `slots`."""
    return joined((slot, slot) for slot in set(slots))


def joined(ranges: Iterable[SlotRange]) -> list[SlotRange]:
    """Ranges that share no slot, in rising order, with those that touch made one."""
    found: list[SlotRange] = []
    for first, last in sorted(ranges):
        if found and first == found[-1][1] + 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def expand(ranges: Iterable[SlotRange]) -> Iterator[int]:
    """Every slot of `ranges`, range by range."""
    for first, last in ranges:
        yield from range(first, last + 1)


def ranges_text(ranges: Iterable[SlotRange]) -> str:
    """Ranges as people read them: `0-4095,8192,9000-9001`; empty for none."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
