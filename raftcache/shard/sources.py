"""By how many front ends something came in: a set of names as the bits of an integer, of which there are few.

A shard sees the same few names again and again, so a hot key's set is a small integer beside its counts, and the names
stand once for all keys of a second. Beyond SOURCES_LIMIT names a further one has no bit and counts nowhere: what a set
says is true of at least so many.
"""

from __future__ import annotations

from collections.abc import Iterable

SOURCES_LIMIT = 64
"""Names with a bit of their own, so that a set is at most an unsigned 64-bit integer, also in msgpack."""


class Sources:
    """The names, in the order of their bits."""

    __slots__ = ("_bits",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bits: dict[str, int] = {}
        for name in names:
            self.bit(name)

    def bit(self, name: str) -> int:
        """The set of only this name: empty, 0, where there are too many."""
        bit = self._bits.get(name)
        if bit is None:
            if len(self._bits) >= SOURCES_LIMIT:
                return 0
            bit = self._bits[name] = 1 << len(self._bits)
        return bit

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._bits)

    def taken_from(self, others: Sources, members: int) -> int:
        """A set of the names of another table as one of this table."""
        if others._bits == self._bits:
            return members
        return sum(self.bit(name) for name, bit in others._bits.items() if members & bit)
