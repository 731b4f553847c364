"""Which keys expire when.

Keys are kept in buckets of about a second, by the time at which they expire; a heap orders the buckets. A key
leaves its bucket at once when it is overwritten or removed, so the index never holds more keys than the keyspace
has with a time to live, and there is no moment at which millions of stale heap items must be cleaned out. Only
bucket numbers go stale in the heap (their bucket is gone); when those are the greater part, the heap is rebuilt
from the buckets, of which there are few.

The price is precision: the sweep finds a key up to one bucket late. Nobody sees that, since a read of an expired
key is a miss whether or not the sweep has come by.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice

BUCKET_MS = 1024
STALE_BUCKETS_LIMIT = 64


class ExpiryIndex:
    """An ordered index over `(expires_ms, key)`. Iteration follows insertion, so that runs can be replayed."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[bytes, None]] = {}
        self._heap: list[int] = []
        self.size = 0

    def add(self, key: bytes, expires_ms: int) -> None:
        """Index `key`, which must not be in the index yet."""
        number = expires_ms // BUCKET_MS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            heappush(self._heap, number)
        bucket[key] = None
        self.size += 1

    def discard(self, key: bytes, expires_ms: int) -> None:
        """Forget `key`, which was added with `expires_ms`."""
        number = expires_ms // BUCKET_MS
        bucket = self._buckets[number]
        del bucket[key]
        self.size -= 1
        if not bucket:
            del self._buckets[number]
            self._compact()

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys that have expired by `now_ms`, of the oldest bucket that is wholly past.

        They stay indexed until they are discarded; ask again for the next ones.
        """
        heap = self._heap
        while heap and heap[0] not in self._buckets:
            heappop(heap)
        if not heap or (heap[0] + 1) * BUCKET_MS > now_ms:
            return []
        return list(islice(self._buckets[heap[0]], limit))

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._buckets) + STALE_BUCKETS_LIMIT:
            self._heap = list(self._buckets)
            heapify(self._heap)
