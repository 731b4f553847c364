"""What has a time to live is there until then, and no longer. Pure.

    complaint           of which reads   demanded
    outlived            at the leader    no version is read after its answer, its time to live and a margin
    missing too early   linearizable     none is missing before its invocation and its time to live, less a margin
    told                at the leader    `ttlSeconds` is told, and lies between these, rounded up to whole seconds
    rises               linearizable     it does not rise from one read of a version to the next by more than a margin

A version is known by its write, which was answered, with `ttlSeconds` or by `expire`; what is read belongs to the write
whose version it carries.

**Missing too early** is judged of writes that cannot be lost (answered above `primary`, or committed by `fates`), where
nothing else can have taken the key's value: no other change that was under way at any time between the write's
beginning and the read's end, and no drop of the namespace.

**The margin.** Expiry is by the shard's time, which the leader's clock carries on, and the next leader takes up by the
median of the wall clocks. `Setting.clock_margin_ms` bounds how far it can be off at any moment of the run; it may have
been off one way at the write and the other way at the read, so twice that is allowed. A read leaves no mark in the log:
what one leader has told may be ahead of where the next takes up the time, and what is left rises by so much. Followers'
time may lag without bound behind a batch that was long under way: so what replicas answer is not judged.

**Not judged**: times to live that the namespace's policy gave; keys that are counted up, which keep the time to live
that they had; versions that nobody was told; everything, where clocks were set and the header does not say how far
(`clockErrorMs`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import Change, Read
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from raftcache.commands.types import ReadLevel, Version

SECOND_MS = 1000.0


class TimesToLive(HistoryChecker):
    """See the module."""

    name = "ttl"

    def judge(self, observed: Observed) -> Verdict:
        """Hold every read of a key with a time to live against the write that it shows or misses."""
        if observed.setting.clocks_unknown:
            return unknown(self.name, "clocks were set, and the options do not say how far (clockErrorMs)")
        judging = _Judging(observed)
        complaints = list(judging.complaints())
        figures = {"writes_with_ttl": len(judging.mortal), "shown": judging.shown, "missed": judging.missed}
        summary = (
            f"{len(judging.mortal):,} writes with a time to live; {judging.shown:,} reads showed them, "
            f"{judging.missed:,} misses were held against them"
        )
        if not judging.shown + judging.missed:
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        counted = {change.key for change in observed.all_changes() if change.name == "incr"}
        self.mortal = {
            version: change
            for version, change in self._fates.acknowledged.items()
            if change.asked_ttl and change.key not in counted
        }
        self.shown = self.missed = 0

    def complaints(self) -> Iterator[Complaint]:
        """Whatever lived too long, or too short, or was said to."""
        for read in self._seen.all_reads():
            write = self.mortal.get(read.version) if read.version is not None else None
            if write is not None and read.level is not ReadLevel.REPLICA:
                self.shown += 1
                yield from self._of_shown(read, write)
        yield from self._of_missing()
        yield from self._of_rising()

    def _margin_ms(self, at_ms: float) -> float:
        return 2 * self._seen.setting.clock_margin_ms(at_ms)

    def _of_shown(self, read: Read, write: Change) -> Iterator[Complaint]:
        ttl_ms, margin_ms = write.ttl_ms or 0.0, self._margin_ms(read.ended_ms)
        over_ms = write.ended_ms + ttl_ms + margin_ms
        numbers = [write.number, read.number]
        if read.began_ms > over_ms:
            late_ms = read.began_ms - write.ended_ms - ttl_ms
            yield Complaint(f"{read.key}: {write.version} outlived its {ttl_ms:g} ms by {late_ms:,.0f} ms", numbers)
            return
        told = read.told.get("ttlSeconds")
        if not isinstance(told, int | float):
            yield Complaint(f"{read.key}: {write.version} has a time to live, and none is told: {told}", numbers)
            return
        least_ms, most_ms = write.began_ms + ttl_ms - read.ended_ms - margin_ms, over_ms - read.began_ms + SECOND_MS
        if told <= 0 or told * SECOND_MS < least_ms or told * SECOND_MS > most_ms:
            between = f"{max(0.0, least_ms) / 1000:.1f} to {most_ms / 1000:.1f}"
            text = f"{read.key}: {told:g} seconds are told to be left of {write.version}, and {between} may be"
            yield Complaint(text, numbers)

    def _of_missing(self) -> Iterator[Complaint]:
        by_key: dict[str, list[Change]] = defaultdict(list)
        for version, write in self.mortal.items():
            if self._fates.is_committed(version):
                by_key[write.key].append(write)
        for key, writes in by_key.items():
            for read in self._seen.reads.get(key, ()):
                if read.proved and read.value is None:
                    yield from self._of_miss(read, writes)

    def _of_miss(self, read: Read, writes: list[Change]) -> Iterator[Complaint]:
        for write in writes:
            if write.ended_ms >= read.began_ms or self._may_be_gone(write, read.ended_ms):
                continue
            self.missed += 1
            left_ms = write.began_ms + (write.ttl_ms or 0.0) - read.ended_ms
            if left_ms > self._margin_ms(read.ended_ms):
                text = f"{read.key}: {write.version} is missing too early, with {left_ms:,.0f} ms left to live"
                yield Complaint(text, [write.number, read.number])

    def _may_be_gone(self, write: Change, before_ms: float) -> bool:
        """Whether something else may have changed the key, or dropped it, in between."""
        return self._seen.dropped_since(write.key, write.began_ms) or any(
            other.version != write.version
            and not other.refused
            and other.began_ms <= before_ms
            and other.ended_ms >= write.began_ms
            for other in self._seen.changes[write.key]
        )

    def _of_rising(self) -> Iterator[Complaint]:
        by_version: dict[Version, list[Read]] = defaultdict(list)
        for read in self._seen.all_reads():
            told = isinstance(read.told.get("ttlSeconds"), int | float)
            if told and read.proved and read.version in self.mortal:
                by_version[read.version].append(read)
        for version, reads in by_version.items():
            yield from self._of_version(version, reads)

    def _of_version(self, version: Version, reads: list[Read]) -> Iterator[Complaint]:
        """Each must tell no more than any that had ended before it began."""
        ended = sorted(reads, key=lambda read: read.ended_ms)
        least: Read | None = None
        place = 0
        for read in sorted(reads, key=lambda read: read.began_ms):
            while ended[place].ended_ms < read.began_ms:
                least = ended[place] if least is None or _left(ended[place]) < _left(least) else least
                place += 1
            if least is not None and _left(read) > _left(least) + self._margin_ms(read.ended_ms) / SECOND_MS:
                text = f"{read.key}: what {version} has left rises from {_left(least):g} s to {_left(read):g} s"
                yield Complaint(text, [least.number, read.number])


def _left(read: Read) -> float:
    return float(read.told["ttlSeconds"])
