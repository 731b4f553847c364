"""Which keys of a shard are hot, second by second: what this replica executed, as a leader or for replica reads.

    operation ──> is it one to look at? ──no──> (counted, nothing else)
                        │ yes
                        v
              this second's sketch (`store.space_saving`) ── a new second ──> its KEPT_KEYS largest rows, KEPT_SECONDS

**Cost.** A read costs a shard about 3 us of processor time, and looking at a key as much again where the code for it is
not in the processor's caches. So only the first FULL_PER_SECOND operations of a second are all looked at; of those that
follow one in two, until PER_GAP more were looked at, then one in four, and so on: FULL_PER_SECOND + PER_GAP *
log2(r / FULL_PER_SECOND) looks at r operations a second, half a percent of a core at the highest rates. The gap to the
next one is drawn from dice that come in, uniformly from 1 to twice its mean less one: a fixed one would see only part
of the keys of clients that ask for them in turn. For all others an operation costs one step of `skips`, an iterator in
C: half of what counting down in Python costs.

**What that does to the figures.** An operation looked at stands for the whole gap before it, which is right on average,
and makes the counts of a second add up to what was executed. As gaps widen with the rate, the error of a key depends on
its share p of the shard's traffic and on the seconds s that are put together, and not on the rate: the standard error
is about 0.06 / sqrt(p * s) of the figure, for half of a second's operations are seen through its last PER_GAP looks.
A key with 1 % of the traffic is right within 19 % over ten seconds, one with a fifth within 4 %. Up to FULL_PER_SECOND
operations a second all is counted, and only the sketch's own error is left, which is reported.

**Front ends.** Each key has the set of the front ends by which it was asked for, as `source` says at that moment: this
node's own, unless whoever brings a command in says otherwise (`ShardReplica.submit_from`). Only operations that are
looked at count for it, so of a busy shard a front end that asked seldom may be missing.

**Memory.** A second's sketch has TALLIES counters; of a second that is over KEPT_KEYS rows are kept, and the largest
count among those dropped is kept as what a key that is not there may have had. So a replica holds at most
KEPT_SECONDS * KEPT_KEYS rows of about 200 bytes and a key, 1.8 MB with keys of 40 bytes, and only if it is always busy.

**Time** is the machine's wall clock, so that what several nodes say of the same seconds can be put together. If it is
set back, seconds come twice, and are added up. It is read where an operation is looked at, and by a timer that ends a
second in which some were not, so that a gap drawn in a busy second never reaches into a quiet one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from operator import length_hint
from typing import Any, Final, NamedTuple

from raftcache.clock import Runtime
from raftcache.commands.types import Get, Set
from raftcache.shard.sources import Sources
from raftcache.store.space_saving import SpaceSaving, Tally

TALLIES: Final = 128
KEPT_KEYS: Final = 64
KEPT_SECONDS: Final = 120
FULL_PER_SECOND: Final = 250
PER_GAP = 125
SPANS_LIMIT: Final = 12
"""The newest spans of time that one report has."""
GAUGED_SECONDS: Final = 10
GAUGED_KEYS: Final = 10


class KeyRow(NamedTuple):
    """A key's traffic: `operations` for certain, and at most `more` besides. The rest belongs to `operations`;
    `sources` is a set of the names of its second or span."""

    key: bytes
    operations: int
    more: int
    reads: int
    hits: int
    size_bytes: int
    sources: int


class Second(NamedTuple):
    """A second that is over. A key without a row had at most `floor` operations."""

    at_s: int
    operations: int
    floor: int
    rows: tuple[KeyRow, ...]
    names: Sources


class Span(NamedTuple):
    """Some seconds together: all operations of the shard, and its keys, the hottest first."""

    start_s: int
    operations: int
    keys: list[KeyRow]
    sources: tuple[str, ...]


class Concentration(NamedTuple):
    """How much of a shard's traffic its hottest keys have."""

    hottest_qps: float
    hottest_share: float
    top_share: float


class HotKeys:
    """The hot keys of one replica. Whoever executes an operation asks `next(skips, True)`, and if that is true calls
    `take` with the command and its answer; `see` does both. `dice` gives numbers from 0 to 1. `source` names the front
    end by which the operation at hand came in."""

    __slots__ = (
        "_dice",
        "_gap",
        "_kept",
        "_looks",
        "_mean_gap",
        "_names",
        "_operations",
        "_runtime",
        "_second",
        "_sketch",
        "_taken_over",
        "_timer_runs",
        "_widens_at",
        "samples",
        "skips",
        "source",
    )

    def __init__(self, runtime: Runtime, dice: Callable[[], float], source: str = "") -> None:
        self.source = source
        self.skips: Iterator[None] = repeat(None, 0)
        self.samples = 0
        self._runtime, self._dice = runtime, dice
        self._second = self._looks = self._operations = self._taken_over = 0
        self._gap = self._mean_gap = 1
        self._widens_at = FULL_PER_SECOND
        self._timer_runs = False
        self._sketch, self._names = SpaceSaving(TALLIES), Sources()
        self._kept: deque[Second] = deque(maxlen=KEPT_SECONDS)

    @property
    def operations(self) -> int:
        """All operations so far."""
        return self._operations + self._sketch.total + self._passed_over()

    @property
    def taken_over(self) -> int:
        """How often a key took over another one's counter, because all were taken."""
        return self._taken_over + self._sketch.taken_over

    @property
    def rows_kept(self) -> int:
        """Rows in memory."""
        return len(self._sketch) + sum(len(second.rows) for second in self._kept)

    def see(self, command: Any, answer: Any) -> None:
        """An operation was executed."""
        if next(self.skips, True):
            self.take(command, answer)

    def take(self, command: Any, answer: Any) -> None:
        """Look at the operation that was just executed, and say when to look next."""
        second, weight = self._runtime.wall_ms() // 1000, self._gap
        if second != self._second:
            self._begin(second, weight - 1)
            weight = 1
        tally = self._sketch.add(command.key, weight)
        size_bytes = len(command.key)
        kind = type(command)
        if kind is Get:
            tally.reads += weight
            if answer.value is not None:
                tally.hits += weight
                size_bytes += len(answer.value)
        elif kind is Set:
            size_bytes += len(command.value)
        tally.size_bytes += weight * size_bytes
        tally.sources |= self._names.bit(self.source)
        self._looks = looks = self._looks + 1
        if looks >= self._widens_at:
            self._widen()
        if self._mean_gap > 1:
            self._gap = gap = 1 + int(self._dice() * (2 * self._mean_gap - 1))
            self.skips = repeat(None, gap - 1)

    def spans(self, span_s: int, now_s: int) -> list[Span]:
        """The newest spans of `span_s` seconds, the newest first, of which all seconds are still kept."""
        first_s = now_s - KEPT_SECONDS + 1
        groups: dict[int, list[Second]] = {}
        for second in self._seconds():
            start_s = second.at_s - second.at_s % span_s
            if first_s <= start_s <= now_s:
                groups.setdefault(start_s, []).append(second)
        newest = sorted(groups, reverse=True)[:SPANS_LIMIT]
        return [_merged(start_s, groups[start_s]) for start_s in newest]

    def concentration(self, now_s: int) -> Concentration:
        """Of the last GAUGED_SECONDS whole seconds."""
        whole = [second for second in self._seconds() if 0 < now_s - second.at_s <= GAUGED_SECONDS]
        span = _merged(0, whole)
        if not span.keys:
            return Concentration(0.0, 0.0, 0.0)
        hottest, top = span.keys[0].operations, sum(row.operations for row in span.keys[:GAUGED_KEYS])
        return Concentration(hottest / GAUGED_SECONDS, hottest / span.operations, top / span.operations)

    def _begin(self, second: int, passed_over: int) -> None:
        """Another second, all of whose first operations are looked at. Keep what there is of the one before, with the
        operations at its end that nobody looked at."""
        if self._sketch.total:
            closed = self._closed(passed_over)
            self._kept.append(closed)
            self._operations += closed.operations
        self._taken_over += self._sketch.taken_over
        self.samples += self._looks
        self._second, self._looks = second, 0
        self._sketch, self._names = SpaceSaving(TALLIES), Sources()
        self._gap = self._mean_gap = 1
        self._widens_at = FULL_PER_SECOND
        self.skips = repeat(None, 0)

    def _widen(self) -> None:
        """From here on fewer are looked at, to the end of this second."""
        self._mean_gap *= 2
        self._widens_at = self._looks + PER_GAP
        if not self._timer_runs:
            self._timer_runs = True
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        self._runtime.call_later(1.001 - self._runtime.wall_ms() % 1000 / 1000, self._end)

    def _end(self) -> None:
        """A second in which not all were looked at is over."""
        second = self._runtime.wall_ms() // 1000
        if self._mean_gap > 1 and second == self._second:
            self._wait_for_end()
            return
        self._timer_runs = False
        if self._mean_gap > 1:
            self._begin(second, self._passed_over())

    def _passed_over(self) -> int:
        """Operations since the last one that was looked at."""
        return self._gap - 1 - length_hint(self.skips)

    def _closed(self, passed_over: int) -> Second:
        """The second as far as it has come."""
        tallies = self._sketch.tallies()
        floor = tallies[KEPT_KEYS].count if len(tallies) > KEPT_KEYS else self._sketch.floor
        rows = tuple(map(_row, tallies[:KEPT_KEYS]))
        return Second(self._second, self._sketch.total + passed_over, floor, rows, self._names)

    def _seconds(self) -> Iterable[Second]:
        yield from self._kept
        if self._sketch.total:
            yield self._closed(self._passed_over())


def _row(tally: Tally) -> KeyRow:
    return KeyRow(tally.key, tally.sure, tally.error, tally.reads, tally.hits, tally.size_bytes, tally.sources)


def _merged(start_s: int, seconds: list[Second]) -> Span:
    """Seconds added up. In those without a row a key may have had the floor."""
    sums: dict[bytes, list[int]] = {}
    floors, names = 0, Sources()
    for second in seconds:
        floors += second.floor
        sets = {members: names.taken_from(second.names, members) for members in {row.sources for row in second.rows}}
        for key, operations, more, reads, hits, size_bytes, members in second.rows:
            sums_of = sums.get(key)
            if sums_of is None:
                sums[key] = [operations, more - second.floor, reads, hits, size_bytes, sets[members]]
            else:
                sums_of[0] += operations
                sums_of[1] += more - second.floor
                sums_of[2] += reads
                sums_of[3] += hits
                sums_of[4] += size_bytes
                sums_of[5] |= sets[members]
    keys = [KeyRow(key, each[0], each[1] + floors, *each[2:]) for key, each in sums.items()]
    keys.sort(key=lambda row: (-row.operations, row.key))
    return Span(start_s, sum(second.operations for second in seconds), keys, names.names)
