"""Caches of items in a few lines each, from the papers and from nothing of the project: what `replay` is held against.

Each is a function `(requests, capacity) -> hits / requests`, where a miss sets the key, and then one key goes if there
are too many.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence

from raftcache.cli.trace import Timed

Reference = Callable[[Sequence[Timed], int], float]


def lru(requests: Sequence[Timed], capacity: int) -> float:
    """Mattson's cache."""
    cache: OrderedDict[bytes, None] = OrderedDict()
    hits = 0
    for request in requests:
        if request.key in cache:
            hits += 1
            cache.move_to_end(request.key)
        else:
            cache[request.key] = None
            if len(cache) > capacity:
                cache.popitem(last=False)
    return hits / len(requests)


def lrm(requests: Sequence[Timed], capacity: int) -> float:
    """First in, first out: a key is modified when it is set, and here that is once."""
    cache: OrderedDict[bytes, None] = OrderedDict()
    hits = 0
    for request in requests:
        if request.key in cache:
            hits += 1
        else:
            cache[request.key] = None
            if len(cache) > capacity:
                cache.popitem(last=False)
    return hits / len(requests)


def at_random(requests: Sequence[Timed], capacity: int) -> float:
    """Any key goes, but for the one just set."""
    dice, slots, places, hits = random.Random(7), [b""] * 0, dict[bytes, int](), 0
    for request in requests:
        if request.key in places:
            hits += 1
        elif len(slots) < capacity:
            places[request.key] = len(slots)
            slots.append(request.key)
        else:
            place = dice.randrange(capacity)
            del places[slots[place]]
            slots[place], places[request.key] = request.key, place
    return hits / len(requests)


def lfu(requests: Sequence[Timed], capacity: int) -> float:
    """Redis's logarithmic counters that fall by one a minute, of which really the lowest is taken.

    All fall alike, so a counter plus the minute of its last change orders keys for ever; ties go by last use.
    """
    dice, ranks, counts, heap, hits = random.Random(7), dict[bytes, tuple[int, int]](), dict[bytes, int](), [], 0
    for now, request in enumerate(requests):
        key, minute = request.key, request.time_ms // 60_000
        if key in ranks:
            hits += 1
            count = max(0, ranks[key][0] - minute)
            count += count < 255 and dice.random() * (max(0, count - 5) * 10 + 1) < 1
        else:
            count = 5
        counts[key] = count
        ranks[key] = (count + minute, now)
        heapq.heappush(heap, (*ranks[key], key))
        while len(ranks) > capacity:
            *rank, victim = heapq.heappop(heap)
            if ranks.get(victim) == tuple(rank) and victim != key:
                del ranks[victim]
    return hits / len(requests)


def s3fifo(requests: Sequence[Timed], capacity: int) -> float:
    """Yang et al., SOSP 2023, algorithm 1: a small queue of a tenth, a main one, and ghosts for as many as the main."""
    small, main, ghosts = deque[bytes](), deque[bytes](), OrderedDict[bytes, None]()
    uses, hits, small_room = dict[bytes, int](), 0, capacity // 10

    def evict_small() -> bool:
        key = small.popleft()
        if uses[key] > 1:
            uses[key] = 0
            main.append(key)
            return False
        del uses[key]
        ghosts[key] = None
        if len(ghosts) > capacity - small_room:
            ghosts.popitem(last=False)
        return True

    def evict_main() -> bool:
        key = main.popleft()
        if uses[key]:
            uses[key] -= 1
            main.append(key)
            return False
        del uses[key]
        return True

    for request in requests:
        key = request.key
        if key in uses:
            hits += 1
            uses[key] = min(uses[key] + 1, 3)
            continue
        while len(uses) >= capacity and not (evict_small() if len(small) >= small_room or not main else evict_main()):
            pass
        if key in ghosts:
            del ghosts[key]
            main.append(key)
        else:
            small.append(key)
        uses[key] = 0
    return hits / len(requests)


def tinylfu_lru(requests: Sequence[Timed], capacity: int) -> float:
    """Einziger et al.: a window of a hundredth, an LRU behind it, and true counts that are halved now and then."""
    window, cache, counts = OrderedDict[bytes, None](), OrderedDict[bytes, None](), Counter[bytes]()
    hits = counted = 0
    for request in requests:
        key = request.key
        counts[key] = min(counts[key] + 1, 15)
        counted += 1
        if counted >= 10 * capacity:
            counted, counts = 0, Counter({other: count // 2 for other, count in counts.items() if count > 1})
        part = window if key in window else cache if key in cache else None
        if part is not None:
            hits += 1
            part.move_to_end(key)
            continue
        window[key] = None
        if len(window) <= max(1, capacity // 100):
            continue
        candidate, _ = window.popitem(last=False)
        if len(window) + len(cache) < capacity:
            cache[candidate] = None
            continue
        victim = next(iter(cache))
        if counts[candidate] > counts[victim]:
            del cache[victim]
            cache[candidate] = None
    return hits / len(requests)
