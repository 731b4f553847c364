"""The heaviest keys of a stream, in a table of fixed size: the Space-Saving sketch.

Counting every key of a stream takes a counter a key. Space-Saving keeps `capacity` counters and gives the rest up:

    a key with a counter      its counter rises by the weight
    a key without one         takes a free counter, or, where there is none, takes over the smallest one: the new
                              key's count goes on from the old key's, and that much of it is its `error`

With N the sum of all weights, K the capacity and f(x) the true weight of x, at any moment:

    1.  the counts sum up to N
    2.  the smallest count is at most N / K, once all counters are taken
    3.  f(x) <= count(x) <= f(x) + error(x), and error(x) is at most the smallest count
    4.  a key without a counter has f(x) at most the smallest count
    5.  so every key with f(x) > N / K has a counter: none that is truly hot is missed

Under a Zipf distribution with exponent 1.2 the tenth key of many has over 1 % of the stream, so that 128 counters
(N / K is 0.8 %) name the ten hottest for certain, and in practice far more. What reports should go by is `sure`, the
count less the error: a lower bound, so that a key of the long tail that has just taken a counter over does not appear
to be hot. Beside its count a counter has tallies (reads, hits, bytes, and as bits the set of where they came from) of
what it saw since its key took it over, so they belong to `sure`.

**The smallest counter** stands at the top of a heap. A counter that rises is not moved in it: its place says what the
count once was, which is too low, so whoever wants the smallest one takes the top and, where that is out of date, puts
it where it belongs and looks again. Each such step mends what one rise has put out of date: an addition costs
O(log K), amortized, and most additions, of keys that have counters, no more than a look into a dict.

Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005. That
sketches can be added up with their bounds: Agarwal, Cormode, Huang, Phillips, Wei, Yi, "Mergeable Summaries", PODS
2012.
"""

from __future__ import annotations

from heapq import heappush, heapreplace


class Tally:
    """A counter: the key that has it now, and what it saw of that key since it took the counter over."""

    __slots__ = ("count", "error", "hits", "key", "reads", "size_bytes", "sources")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.count = self.error = 0
        self.reads = self.hits = self.size_bytes = self.sources = 0

    @property
    def sure(self) -> int:
        """What the key has had at least."""
        return self.count - self.error


class SpaceSaving:
    """At most `capacity` tallies. `total` is the sum of all weights, `taken_over` how often there was none free."""

    __slots__ = ("_heap", "_tallies", "capacity", "taken_over", "total")

    def __init__(self, capacity: int) -> None:
        assert capacity > 0, "a sketch without counters"
        self.capacity = capacity
        self.total = self.taken_over = 0
        self._tallies: dict[bytes, Tally] = {}
        self._heap: list[tuple[int, int, Tally]] = []

    def __len__(self) -> int:
        return len(self._tallies)

    def add(self, key: bytes, weight: int) -> Tally:
        """Count `weight` for `key`. Returns its tally, of which the caller keeps reads, hits, bytes and sources."""
        self.total += weight
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._new(key) if len(self._tallies) < self.capacity else self._take_over(key)
        tally.count += weight
        return tally

    def get(self, key: bytes) -> Tally | None:
        """The tally of a key that has one."""
        return self._tallies.get(key)

    def tallies(self) -> list[Tally]:
        """All, the largest counts first."""
        return sorted(self._tallies.values(), key=lambda tally: tally.count, reverse=True)

    @property
    def floor(self) -> int:
        """What a key without a tally may have had, at most."""
        return self._smallest().count if len(self._tallies) == self.capacity else 0

    def _new(self, key: bytes) -> Tally:
        tally = self._tallies[key] = Tally(key)
        # The number keeps the heap from comparing tallies, and makes the order of equals the same in every run.
        heappush(self._heap, (0, len(self._heap), tally))
        return tally

    def _take_over(self, key: bytes) -> Tally:
        self.taken_over += 1
        tally = self._smallest()
        del self._tallies[tally.key]
        tally.key, tally.error = key, tally.count
        tally.reads = tally.hits = tally.size_bytes = tally.sources = 0
        self._tallies[key] = tally
        return tally

    def _smallest(self) -> Tally:
        heap = self._heap
        while True:
            count, number, tally = heap[0]
            if tally.count == count:
                return tally
            heapreplace(heap, (tally.count, number, tally))
