"""Counters stand between what was acknowledged and what was attempted. Pure.

    complaint       demanded                                                   where
    repeated        a value is no more than the attempts can have made it      everywhere
    lost            it is no less than acknowledged increments make it         linearizable reads, and kept counts
    answered twice  all answers of one idempotency key are equal               but for those that are lost
    same version    two increments never have one version                      everywhere
    same count      two increments never have one count                        kept counts of counters that go one way
    order           what begins after an answer counts further than that       the same
    two bodies      one idempotency key is not answered for two deltas         kept counts
    no integer      a count, and a value that is read, is an integer           everywhere

An *increment* is all attempts under one idempotency key with one delta, or a single attempt without a key. It is
refused if all of its attempts were, and then it counts nowhere. A *count* is what stood there when the increment was
executed, between its first attempt and the first answer that carries its version; a replay brings it again. It is
*kept* if it was answered above `primary`, or if `fates` tells that it is committed.

**Bounds.** An increment that began before an answer may be in it, and one that was kept and answered before the request
is in it for certain. So with deltas of both signs

    least = the negative deltas of those that may be in it, and the positive ones of those that are
    most  = the positive deltas of those that may be in it, and the negative ones of those that are

where an increment's own count holds that increment. Those that are lost are in no value that cannot itself be lost.
That is how `primary` namespaces are judged: their `latest` reads and their counts by attempts alone, since speculative
state may be undone, and linearizable reads by what became of each version.

**Not judged**: counters that anything but `incr` changes, that have a time to live, or whose namespace may have been
dropped meanwhile; and retries that come later than the product keeps its records (15 minutes).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import NEVER, Change, Read, shown
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Outcome
from raftcache.commands.types import Version


class Counters(HistoryChecker):
    """See the module."""

    name = "counter"

    def judge(self, observed: Observed) -> Verdict:
        """Hold every counter against its increments."""
        fates = Fates(observed)
        counters = {key for key, changes in observed.changes.items() if any(each.name == "incr" for each in changes)}
        judged = sorted(key for key in counters if _is_plain(observed, key))
        complaints: list[Complaint] = []
        counts = reads = 0
        for key in judged:
            counter = Counter(observed, fates, key)
            complaints += counter.complaints()
            counts += len(counter.answered)
            reads += len(counter.reads)
        summary = f"{len(judged):,} counters, {counts:,} increments answered, {reads:,} reads"
        figures = {
            "counters": len(judged), "counts": counts, "reads": reads, "unjudged_counters": len(counters) - len(judged),
        }  # fmt: skip
        if not counts + reads:
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


def _is_plain(observed: Observed, key: str) -> bool:
    changes = [change for change in observed.changes[key] if not change.refused]
    began_ms = min((change.began_ms for change in changes), default=NEVER)
    plain = all(change.name == "incr" and change.ttl_ms is None and _is_integer(change.asked) for change in changes)
    return plain and not observed.dropped_since(key, began_ms)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Increment:
    """Attempts of which at most one counts, as long as nothing acknowledged is lost."""

    def __init__(self, attempts: list[Change], observed: Observed, fates: Fates) -> None:
        self.attempts = attempts
        self.delta = int(attempts[0].asked)
        alive = [attempt for attempt in attempts if not attempt.refused]
        self.refused = not alive
        self.began_ms = min((attempt.began_ms for attempt in alive), default=NEVER)
        self.answers = [each for each in alive if each.outcome is Outcome.OK and _is_integer(each.value)]
        sure = {each.version for each in alive if observed.kept(each) or fates.is_committed(each.version)}
        self.certain_answers = [each for each in self.answers if each.version in sure]
        self.certain_ms = min((each.ended_ms for each in self.certain_answers), default=NEVER)
        self.lost = all(fates.is_lost(each.version) for each in alive) and not sure

    @property
    def count(self) -> int:
        """What it counted to, where that cannot be lost."""
        return int(self.certain_answers[0].value)

    def answered_ms(self, answer: Change) -> float:
        """When the execution that this answer tells of was over, at the latest."""
        return min(each.ended_ms for each in self.answers if each.version == answer.version)


class Sums:
    """Amounts that count from some moment on."""

    def __init__(self, amounts: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(amounts)
        self._times = [at_ms for at_ms, _ in ordered]
        self._totals = [0, *accumulate(amount for _, amount in ordered)]

    def before(self, at_ms: float) -> int:
        """The sum of those that began to count earlier."""
        return self._totals[bisect_left(self._times, at_ms)]

    def until(self, at_ms: float) -> int:
        """The sum of those that began to count then at the latest."""
        return self._totals[bisect_right(self._times, at_ms)]


class Bounds:
    """The least and the most that a value can be, by some of the increments."""

    def __init__(self, possible: Iterable[Increment], certain: Iterable[Increment]) -> None:
        possible, certain = list(possible), list(certain)
        self._more = Sums((each.began_ms, max(0, each.delta)) for each in possible)
        self._less = Sums((each.began_ms, min(0, each.delta)) for each in possible)
        self._surely_more = Sums((each.certain_ms, max(0, each.delta)) for each in certain)
        self._surely_less = Sums((each.certain_ms, min(0, each.delta)) for each in certain)

    def of(self, began_ms: float, ended_ms: float, own: int = 0) -> tuple[int, int]:
        """Of what was executed between the two; `own` is the delta that it holds in any case."""
        least = self._less.until(ended_ms) + self._surely_more.before(began_ms) + max(0, own)
        most = self._more.until(ended_ms) + self._surely_less.before(began_ms) + min(0, own)
        return least, most


class Counter:
    """One counter."""

    def __init__(self, observed: Observed, fates: Fates, key: str) -> None:
        self.key = key
        grouped: dict[tuple[str, object], list[Change]] = defaultdict(list)
        for number, change in enumerate(observed.changes[key]):
            slot = (f"{number}", None) if change.idempotency is None else (f"key {change.idempotency}", change.asked)
            if _is_integer(change.asked):
                grouped[slot].append(change)
        self.increments = [Increment(attempts, observed, fates) for attempts in grouped.values()]
        self.answered = [each for each in self.increments if each.answers]
        self.certain = [each for each in self.answered if each.certain_answers]
        self.reads: list[Read] = observed.reads.get(key, [])
        alive = [each for each in self.increments if not each.refused]
        self._speculative = Bounds(alive, [])
        self._settled = Bounds([each for each in alive if not each.lost], self.certain)

    def complaints(self) -> Iterator[Complaint]:
        """Whatever cannot be."""
        yield from self._of_answers()
        yield from self._of_versions()
        yield from self._of_bodies()
        yield from self._of_counts()
        yield from self._of_order()
        yield from self._of_reads()

    def _of_answers(self) -> Iterator[Complaint]:
        for answer in (attempt for each in self.increments for attempt in each.attempts):
            if answer.outcome is Outcome.OK and not _is_integer(answer.value):
                yield Complaint(f"{self.key}: {shown(answer.value)} was counted, which is no integer", [answer.number])
        for each in self.answered:
            told = {(answer.version, answer.value) for answer in each.answers}
            sure = {(answer.version, answer.value) for answer in each.certain_answers}
            versions = {version for version, _ in told}
            if len(sure) > 1 or len(versions) < len(told):
                counts = " and ".join(sorted(f"{count} as {version}" for version, count in told))
                text = f"{self.key}: one idempotency key was answered twice, by {counts}"
                yield Complaint(text, [answer.number for answer in each.answers])

    def _of_versions(self) -> Iterator[Complaint]:
        owners: dict[Version, Increment] = {}
        for each in self.answered:
            for answer in each.answers:
                owner = owners.setdefault(answer.version, each) if answer.version is not None else each
                if owner is not each:
                    text = f"{self.key}: two increments were given the same version, {answer.version}"
                    yield Complaint(text, [owner.answers[0].number, answer.number])

    def _of_bodies(self) -> Iterator[Complaint]:
        first: dict[str, Increment] = {}
        for each in self.certain:
            idempotency = each.attempts[0].idempotency
            other = first.setdefault(idempotency, each) if idempotency is not None else each
            if other is not each:
                text = f"{self.key}: one idempotency key was answered for two bodies, {other.delta} and {each.delta}"
                yield Complaint(text, [other.certain_answers[0].number, each.certain_answers[0].number])

    def _of_counts(self) -> Iterator[Complaint]:
        for each in self.answered:
            for answer in {answer.version: answer for answer in each.answers}.values():
                bounds = self._settled if answer in each.certain_answers else self._speculative
                between = bounds.of(each.began_ms, each.answered_ms(answer), each.delta)
                yield from self._outside(int(answer.value), between, answer.number, "was counted")

    def _of_order(self) -> Iterator[Complaint]:
        """Of a counter that only goes up, or only down: then each count tells how many there were before it."""
        signs = {each.delta > 0 for each in self.increments if not each.refused and each.delta}
        moving = [each for each in self.certain if each.delta]
        if len(signs) != 1:
            return
        sign = 1 if signs.pop() else -1
        by_count: dict[int, Increment] = {}
        for each in moving:
            other = by_count.setdefault(each.count, each)
            if other is not each:
                yield self._pair(f"two increments were answered by the same count, {each.count}", other, each)
        yield from self._back_in_time(moving, sign)

    def _back_in_time(self, moving: list[Increment], sign: int) -> Iterator[Complaint]:
        """Each must count further than all that were answered before it began."""
        answered = sorted(moving, key=lambda each: each.certain_ms)
        furthest: Increment | None = None
        place = 0
        for each in sorted(moving, key=lambda each: each.began_ms):
            while answered[place].certain_ms < each.began_ms:
                if furthest is None or sign * answered[place].count > sign * furthest.count:
                    furthest = answered[place]
                place += 1
            if furthest is not None and sign * each.count < sign * furthest.count:
                text = f"{each.count} was counted after {furthest.count} had been answered: out of order"
                yield self._pair(text, furthest, each)

    def _pair(self, text: str, one: Increment, other: Increment) -> Complaint:
        return Complaint(f"{self.key}: {text}", [one.certain_answers[0].number, other.certain_answers[0].number])

    def _of_reads(self) -> Iterator[Complaint]:
        for read in self.reads:
            if read.value is not None and not _is_integer(read.value):
                yield Complaint(f"{self.key}: {shown(read.value)} was read, which is no integer", [read.number])
                continue
            least, most = (self._settled if read.proved else self._speculative).of(read.began_ms, read.ended_ms)
            yield from self._outside(int(read.value or 0), (least, most), read.number, "was read")

    def _outside(self, value: int, between: tuple[int, int], number: int, how: str) -> Iterator[Complaint]:
        least, most = between
        if value > most:
            yield Complaint(f"{self.key}: {value} {how}, and attempts come to {most} at most: repeated", [number])
        elif value < least:
            yield Complaint(f"{self.key}: {value} {how}, and {least} is the least: lost", [number])
