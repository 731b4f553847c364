"""What an eviction policy is: an order of the slots, and which of them goes next.

An order is told what happens to a slot, and asked for the next victim. It decides nothing else: charges stand in the
table, quotas with the shard. All calls do bounded work, `choose` included.

`by_items` says what the namespace has too much of: where a policy divides its room in shares (`s3fifo`, `tinylfu`),
they are counted in items or in bytes accordingly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array

from raftcache.store.eviction.lists import Lists
from raftcache.store.eviction.table import KeyTable


class Order(ABC):
    """One policy over the slots of one table. Times are the shard's, in ms."""

    __slots__ = ("lists", "table")

    sentinels = 1
    """How many lists it keeps, slot 0 as "none" among them where it keeps no list there."""
    dates_writes = dates_reads = False
    """Whether the order goes by the time of the last write, and by that of the last read: then the evictor keeps it."""

    def __init__(self, table: KeyTable, lists: Lists) -> None:
        self.table = table
        self.lists = lists

    @abstractmethod
    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """A key that was absent is written. `expires_ms` 0 means never."""

    def read(self, slot: int, times: int, now_ms: int) -> None:
        """A key is read, `times` times since it was last said so. Most orders do something then."""
        return

    def missed(self, key: bytes) -> None:
        """A key is asked for that is absent. Only who admits wants to know."""
        return

    @abstractmethod
    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """A key that is present is written anew, with so much more charged; the table has that already."""

    def frequency(self, slot: int, now_ms: int) -> int | None:
        """How often a key is used, by whatever measure the order has; None where it has none. Asking is no use."""
        return None

    @abstractmethod
    def remove(self, slot: int) -> None:
        """A key goes for another reason than eviction. Its slot still holds it."""

    @abstractmethod
    def choose(self, by_items: bool, now_ms: int) -> int:
        """The slot to be evicted next; 0 where there is none. It stays until `evicted` is called, or `remove`."""

    def evicted(self, slot: int) -> None:
        """What `choose` gave is evicted."""
        self.remove(slot)


class NoOrder(Order):
    """`none`: nothing is ever evicted. What is over the quota must be refused."""

    __slots__ = ()

    def insert(self, slot: int, expires_ms: int, now_ms: int) -> None:
        """Charges alone are kept, by the table."""

    def written(self, slot: int, grown_bytes: int, expires_ms: int, now_ms: int) -> None:
        """As above."""

    def remove(self, slot: int) -> None:
        """As above."""

    def choose(self, by_items: bool, now_ms: int) -> int:
        """None."""
        return 0


def extend_to(numbers: array[int] | bytearray, slot: int) -> None:
    """Make room for a slot's number, with zeros."""
    while len(numbers) <= slot:
        numbers.append(0)
