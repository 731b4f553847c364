"""Which keys expire when.

Keys are kept in buckets of about eight seconds, by the time at which they expire; a heap orders the buckets. A key
leaves its bucket at once when it is overwritten or removed, so the index never holds more keys than the keyspace
has with a time to live, and there is no moment at which millions of stale heap items must be cleaned out. Only
bucket numbers go stale in the heap (their bucket is gone); when those are the greater part, the heap is rebuilt
from the buckets.

There may be as many buckets as keys, where the times are far apart. So they are dealt out to `WHEELS` tables, each
with a heap of its own: neither the growth of a table nor the rebuilding of a heap ever concerns more than one of them.
As many keys may expire at once, in one bucket. So a bucket that has `BUCKET_KEYS` is put aside as it is, and goes on as
another one; a key is then looked for in each of them.

The price is precision: the sweep finds a key up to one bucket late. Nobody sees that, since a read of an expired
key is a miss whether or not the sweep has come by.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final

from raftcache.store.trash import Parts

BUCKET_MS: Final = 8192
BUCKET_KEYS = 16_384
"""Keys in one table of a bucket: one that grows moves all of them, in well under a millisecond."""
STALE_BUCKETS_LIMIT: Final = 64

WHEELS: Final = 64
"""A power of two: bucket numbers are dealt out in turn."""

_WHEEL_MASK: Final = WHEELS - 1
_ABSENT: Final = object()


class _Wheel:
    """Every `WHEELS`th bucket."""

    __slots__ = ("buckets", "full", "heap")

    def __init__(self) -> None:
        self.buckets: dict[int, dict[bytes, object]] = {}
        self.full: dict[int, list[dict[bytes, object]]] = {}
        """Tables of the same buckets that were put aside, none of them empty."""
        self.heap: list[int] = []

    def oldest(self) -> int | None:
        """The number of the first bucket that holds a key."""
        heap = self.heap
        while heap and heap[0] not in self.buckets:
            heappop(heap)
        return heap[0] if heap else None

    def drop(self, number: int, key: bytes) -> None:
        """Take a key out of a bucket, whichever table of it the key is in."""
        bucket, full = self.buckets[number], self.full.get(number)
        if full is None:
            del bucket[key]
        elif bucket.pop(key, _ABSENT) is _ABSENT:
            table = next(table for table in full if key in table)
            del table[key]
            if not table:
                full.remove(table)
        if not bucket and full:
            self.buckets[number] = full.pop()
        if full is not None and not full:
            del self.full[number]

    def compact(self) -> None:
        """Rebuild the heap where most of it is stale."""
        if len(self.heap) > 2 * len(self.buckets) + STALE_BUCKETS_LIMIT:
            self.heap = list(self.buckets)
            heapify(self.heap)


class ExpiryIndex:
    """An ordered index over `(expires_ms, key)`. Iteration follows insertion, so that runs can be replayed."""

    def __init__(self) -> None:
        self._wheels = [_Wheel() for _ in range(WHEELS)]
        self.size = 0

    def add(self, key: bytes, expires_ms: int) -> None:
        """Index `key`, which must not be in the index yet."""
        number = expires_ms // BUCKET_MS
        wheel = self._wheels[number & _WHEEL_MASK]
        bucket = wheel.buckets.get(number)
        if bucket is None:
            bucket = wheel.buckets[number] = {}
            heappush(wheel.heap, number)
        elif len(bucket) >= BUCKET_KEYS:
            wheel.full.setdefault(number, []).append(bucket)
            bucket = wheel.buckets[number] = {}
        bucket[key] = None
        self.size += 1

    def discard(self, key: bytes, expires_ms: int) -> None:
        """Forget `key`, which was added with `expires_ms`."""
        number = expires_ms // BUCKET_MS
        wheel = self._wheels[number & _WHEEL_MASK]
        wheel.drop(number, key)
        self.size -= 1
        if not wheel.buckets[number]:
            del wheel.buckets[number]
            wheel.compact()

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys that have expired by `now_ms`, of the oldest bucket that is wholly past.

        They stay indexed until they are discarded; ask again for the next ones.
        """
        if not self.size:
            return []
        oldest = [wheel.oldest() for wheel in self._wheels]
        number = min(number for number in oldest if number is not None)
        if (number + 1) * BUCKET_MS > now_ms:
            return []
        return list(islice(self._wheels[number & _WHEEL_MASK].buckets[number], limit))

    def heap_size(self) -> int:
        """Bucket numbers in the heaps, the stale ones included."""
        return sum(len(wheel.heap) for wheel in self._wheels)

    def parts(self) -> list[Parts]:
        """All that it is made of, to be let go of in steps. The index must not be used any more."""
        full = [tables for wheel in self._wheels for tables in wheel.full.values()]
        return [*full, *(wheel.buckets for wheel in self._wheels if wheel.buckets)]
