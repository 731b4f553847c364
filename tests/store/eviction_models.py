"""Eviction orders as one would write them down: lists and dicts that are walked from end to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from raftcache.store.eviction import frequency, s3fifo, tinylfu
from raftcache.store.eviction.sketch import Sketch


@dataclass
class Kept:
    """What a model knows of a key. `used` and `modified` are the numbers of the calls, with their times."""

    size: int
    expires_ms: int = 0
    used: int = 0
    modified: int = 0
    used_ms: int = 0
    modified_ms: int = 0
    count: int = 0
    minute: int = 0


@dataclass
class Model(ABC):
    """All keys in one dict; `best(now_ms)` are those of which the next victim must be one."""

    random: Callable[[], float]
    kept: dict[bytes, Kept] = field(default_factory=dict)
    calls: int = 0

    def read(self, key: bytes, now_ms: int, times: int = 1) -> None:
        self.calls += 1
        if key in self.kept:
            self.kept[key].used, self.kept[key].used_ms = self.calls, now_ms
            self.touched(key, now_ms, times)

    def write(self, key: bytes, size: int, expires_ms: int, now_ms: int) -> None:
        self.calls += 1
        fresh = key not in self.kept
        kept = self.kept.setdefault(key, Kept(0))
        kept.size, kept.expires_ms, kept.used, kept.modified = size, expires_ms, self.calls, self.calls
        kept.used_ms = kept.modified_ms = now_ms
        self.born(key, now_ms) if fresh else self.touched(key, now_ms, 1)

    def remove(self, key: bytes, evicted: bool = False) -> bool:
        return self.kept.pop(key, None) is not None

    def born(self, key: bytes, now_ms: int) -> None:
        """A key is new."""
        return

    def touched(self, key: bytes, now_ms: int, times: int) -> None:
        """A key was read, or written again."""
        return

    def frequency(self, key: bytes, now_ms: int) -> int | None:
        """How often a key is used."""
        return None

    def idle_s(self, key: bytes, now_ms: int) -> int | None:
        """How long it was not."""
        return None

    @abstractmethod
    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        """Which may go next."""

    def take(self, key: bytes) -> None:
        """That one goes."""
        del self.kept[key]

    def least(self, rank: Callable[[Kept], object]) -> set[bytes]:
        ranks = {key: rank(kept) for key, kept in self.kept.items()}
        return {key for key in ranks if ranks[key] == min(ranks.values())}  # type: ignore[type-var]


class Lru(Model):
    def idle_s(self, key: bytes, now_ms: int) -> int | None:
        return now_ms // 1000 - self.kept[key].used_ms // 1000

    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        return self.least(lambda kept: kept.used)


class Lrm(Model):
    def idle_s(self, key: bytes, now_ms: int) -> int | None:
        return now_ms // 1000 - self.kept[key].modified_ms // 1000

    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        return self.least(lambda kept: kept.modified)


class Ttl(Model):
    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        return self.least(lambda kept: (kept.expires_ms, 0) if kept.expires_ms else (1 << 62, kept.modified))


class Any(Model):
    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        return set(self.kept)


class Nothing(Model):
    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        return set()


class Lfu(Model):
    """Redis's counters, each with the minute of its last change; the lowest of all is looked for."""

    now_ms = 0

    def _minute(self, now_ms: int) -> int:
        self.now_ms = max(self.now_ms, now_ms)
        return self.now_ms // frequency.DECAY_MS

    def born(self, key: bytes, now_ms: int) -> None:
        kept = self.kept[key]
        kept.count, kept.minute = frequency.FIRST_COUNT, self._minute(now_ms)

    def touched(self, key: bytes, now_ms: int, times: int) -> None:
        kept, minute = self.kept[key], self._minute(now_ms)
        kept.count, kept.minute = max(0, kept.count - (minute - kept.minute)), minute
        for _ in range(min(times, frequency.COUNTED_READS_LIMIT)):
            base = max(0, kept.count - frequency.FIRST_COUNT)
            if kept.count < 255 and self.random() * (base * frequency.LOG_FACTOR + 1) < 1:
                kept.count += 1

    def frequency(self, key: bytes, now_ms: int) -> int | None:
        kept = self.kept[key]
        return max(0, kept.count - (now_ms // frequency.DECAY_MS - kept.minute))

    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        minute = self._minute(now_ms)

        def rank(kept: Kept) -> tuple[int, int, int]:
            count = max(0, kept.count - (minute - kept.minute))
            return count, 0 if count else kept.minute + kept.count, kept.used

        return self.least(rank)


@dataclass
class S3Fifo(Model):
    small: list[bytes] = field(default_factory=list)
    main: list[bytes] = field(default_factory=list)
    ghosts: list[bytes] = field(default_factory=list)

    def born(self, key: bytes, now_ms: int) -> None:
        if key in self.ghosts:
            self.ghosts.remove(key)
            self.main.append(key)
        else:
            self.small.append(key)

    def touched(self, key: bytes, now_ms: int, times: int) -> None:
        self.kept[key].count = min(self.kept[key].count + times, 3)

    def remove(self, key: bytes, evicted: bool = False) -> bool:
        if key not in self.kept:
            return False
        if evicted:
            self.take(key)
        else:
            (self.small if key in self.small else self.main).remove(key)
            del self.kept[key]
        return True

    def _small_is_next(self, by_items: bool) -> bool:
        if not self.main or not self.small:
            return bool(self.small)
        if by_items:
            return len(self.small) * 10 > len(self.kept)
        return sum(self.kept[key].size for key in self.small) * 10 > sum(kept.size for kept in self.kept.values())

    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        found: set[bytes] = set()
        for _ in range(s3fifo.STEPS_LIMIT if self.kept else 0):
            small = self._small_is_next(by_items)
            key = (self.small if small else self.main)[0]
            found, kept = {key}, self.kept[key]
            if kept.count < (2 if small else 1):
                break
            (self.small if small else self.main).pop(0)
            self.main.append(key)
            kept.count = 0 if small else kept.count - 1
        return found

    def take(self, key: bytes) -> None:
        limit = len(self.kept) - len(self.kept) // 10
        if key in self.small:
            self.ghosts = [ghost for ghost in self.ghosts if ghost != key] + [key]
            for _ in range(4):
                if len(self.ghosts) > limit:
                    self.ghosts.pop(0)
        (self.small if key in self.small else self.main).remove(key)
        del self.kept[key]


@dataclass
class TinyLru(Model):
    """A window before an LRU list; what is estimated comes from a sketch that is told the same."""

    sketch: Sketch = field(default_factory=Sketch)
    window: list[bytes] = field(default_factory=list)
    main: list[bytes] = field(default_factory=list)
    candidates: list[bytes] = field(default_factory=list)
    by_items: bool = False

    def frequency(self, key: bytes, now_ms: int) -> int | None:
        return self.sketch.estimate(key)

    def idle_s(self, key: bytes, now_ms: int) -> int | None:
        return now_ms // 1000 - self.kept[key].used_ms // 1000

    def read(self, key: bytes, now_ms: int, times: int = 1) -> None:
        if key not in self.kept:
            self.sketch.count(key, len(self.kept))
        super().read(key, now_ms, times)

    def touched(self, key: bytes, now_ms: int, times: int) -> None:
        self.sketch.count(key, len(self.kept), times)
        part = self.window if key in self.window else self.main
        part.remove(key)
        part.append(key)

    def born(self, key: bytes, now_ms: int) -> None:
        self.window.append(key)
        self.sketch.grow(len(self.kept))
        for _ in range(tinylfu.MOVES_PER_WRITE):
            windowed = sum(1 if self.by_items else self.kept[other].size for other in self.window)
            everything = len(self.kept) if self.by_items else sum(kept.size for kept in self.kept.values())
            if len(self.window) > 1 and windowed * 100 > everything:
                moved = self.window.pop(0)
                self.main.append(moved)
                self.candidates = [*self.candidates, moved][-tinylfu.CANDIDATES_LIMIT :]

    def best(self, by_items: bool, now_ms: int) -> set[bytes]:
        self.by_items = by_items
        if not self.main:
            return set(self.window[:1])
        victim = self.main[0]
        if not self.candidates:
            return {victim}
        candidate = self.candidates.pop(0)
        return {victim if self.sketch.estimate(candidate) > self.sketch.estimate(victim) else candidate}

    def remove(self, key: bytes, evicted: bool = False) -> bool:
        if key not in self.kept:
            return False
        self.take(key)
        return True

    def take(self, key: bytes) -> None:
        for part in (self.window, self.main, self.candidates):
            if key in part:
                part.remove(key)
        del self.kept[key]
