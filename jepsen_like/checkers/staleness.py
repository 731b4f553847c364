"""Replica reads are no older than they say, and than they may be. Pure.

Any read whose request says `readPreference: replica` is judged, whoever answered it.

    complaint            demanded
    does not say         the answer names `stalenessMs`; the items of batches have no place for it
    older than asked     that is no more than the request's `maxStalenessMs`
    older than it says   every write that was answered above `primary` longer ago than `stalenessMs` is in the state:
                         the read shows it or a newer version, or nothing where something can have taken it away; and
                         the state that a miss names is no older than any such write to its shard
    behind minVersion    what the request's `minVersion` names is in the state: the key shows every committed version of
                         its own up to that one, and the state that a miss names is no older
    went back            the same, where the process itself had read or written that version: so one that passes its
                         newest version as `minVersion` never goes back
    lost minVersion      a `minVersion` that is lost is an error
    called lost          and `version_lost` is said of no version that is committed

**Time.** A replica counts from a stamp of its own, which is older than its answer; so whatever was answered before the
read was *asked for*, less its `stalenessMs`, must be there. `MARGIN_MS` is for rounding alone: that clocks may be off,
the product has counted in already.

**Order.** Versions are compared within a shard. A state holds all that was committed before what it holds. Of what
stands before `minVersion` only that is certain to have been committed which `fates` says so of.

**Not judged**: writes that a majority may have forgotten, and how reads with a `minVersion` were answered before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from jepsen_like.checkers.expanding import is_batch
from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import Change, Read, newer_of_one_shard, version_of
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Outcome
from raftcache.commands.types import Version
from raftcache.errors import VersionLost

MARGIN_MS = 1.0
"""For the rounding of `stalenessMs` to whole milliseconds."""


class Staleness(HistoryChecker):
    """See the module."""

    name = "staleness"

    def judge(self, observed: Observed) -> Verdict:
        """Hold every replica read against what it says and what it was asked."""
        judging = _Judging(observed)
        complaints = list(judging.complaints())
        ages = [age for read in judging.reads if (age := _age_ms(read)) is not None]
        figures = {
            "replica_reads": len(judging.reads),
            "by_replicas": sum(read.level.name == "REPLICA" for read in judging.reads),
            "bound_by_min_version": sum("minVersion" in read.asked for read in judging.reads),
            "held_to_writes": judging.held,
            "largest_staleness_ms": max(ages, default=0),
        }
        summary = f"{len(judging.reads):,} replica reads, up to {max(ages, default=0):,} ms old"
        if not judging.reads:
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        self.reads = [read for read in observed.all_reads() if read.replica]
        self.held = 0
        """Reads that some write had to be in."""

    def complaints(self) -> Iterator[Complaint]:
        """Whatever is older than it may be."""
        for read in self.reads:
            yield from self._of_promise(read)
            age_ms = _age_ms(read)
            if age_ms is not None:
                yield from self._of_age(read, age_ms)
            least = version_of(read.asked.get("minVersion"))
            if least is not None and read.began_ms > self._seen.setting.forgotten_ms(least.shard):
                yield from self._of_min_version(read, least)
        yield from self._of_lost_versions()

    def _of_promise(self, read: Read) -> Iterator[Complaint]:
        age_ms, limit_ms = _age_ms(read), read.asked.get("maxStalenessMs")
        if age_ms is None:
            if not is_batch(self._seen.operations[read.number]):
                yield Complaint(f"{read.key}: a replica read does not say how old it is", [read.number])
        elif isinstance(limit_ms, int | float) and age_ms > limit_ms:
            text = f"{read.key}: a replica read is {age_ms:g} ms old, older than asked for: {limit_ms} ms"
            yield Complaint(text, [read.number])

    def _of_age(self, read: Read, age_ms: float) -> Iterator[Complaint]:
        before_ms = read.began_ms - age_ms - MARGIN_MS
        due = [change for change in self._kept[read.key] if change.ended_ms < before_ms]
        self.held += bool(due)
        for change in due:
            if self._lacks(read, change):
                said = f"{read.key}: a replica read says that it is {age_ms:g} ms old"
                text = f"{said}, and does not show {change.version}, older than that: it is older than it says"
                yield Complaint(text, [change.number, read.number])
                return
        for change in self._newest_of_shard(read, before_ms):
            text = f"{read.key}: a miss names the state {read.newest}, {age_ms:g} ms old; {change.version} is older"
            yield Complaint(f"{text}: the state is older than it says", [change.number, read.number])

    def _lacks(self, read: Read, change: Change) -> bool:
        version = change.version
        if read.value is None:
            return self._seen.gone_after_ms(change) > read.ended_ms
        return version is not None and read.version is not None and newer_of_one_shard(version, read.version)

    def _newest_of_shard(self, read: Read, before_ms: float) -> Iterator[Change]:
        """A write of any key of the shard that was acknowledged by then and is not in the state that a miss names."""
        if read.newest is None:
            return
        for change in self._kept_of_shard[read.newest.shard]:
            if _position(change) <= read.newest:
                return
            if change.ended_ms < before_ms:
                yield change
                return

    def _of_min_version(self, read: Read, least: Version) -> Iterator[Complaint]:
        if self._fates.is_lost(least):
            text = f"{read.key}: a read with the lost minVersion {least} was answered"
            yield Complaint(text, [*self._fates.proofs_of_loss(least)[:1], read.number])
        if read.newest is not None and newer_of_one_shard(least, read.newest):
            text = f"{read.key}: a miss names the state {read.newest}, which is behind minVersion {least}"
            yield Complaint(text, [read.number])
        for version, number in self._committed[read.key]:
            if version.shard == least.shard and version <= least and self._is_behind(read, version):
                gone = "nothing" if read.version is None else str(read.version)
                own = self._seen.operations[number].invoked.process == read.process
                how = "went back" if own else "is behind minVersion"
                text = f"{read.key}: with minVersion {least} a read must show {version}, and shows {gone}: it {how}"
                yield Complaint(text, [number, read.number])
                return

    def _is_behind(self, read: Read, version: Version) -> bool:
        if read.value is not None:
            return read.version is not None and newer_of_one_shard(version, read.version)
        change = self._fates.acknowledged.get(version)
        return change is not None and self._seen.gone_after_ms(change) > read.ended_ms

    def _of_lost_versions(self) -> Iterator[Complaint]:
        for operation in self._seen.operations:
            told, least = operation.completed, version_of(operation.invoked.details.get("minVersion"))
            if told is None or operation.outcome is not Outcome.FAIL or least is None or told.error != VersionLost.code:
                continue
            if self._fates.is_committed(least) and operation.began_ms > self._seen.setting.forgotten_ms(least.shard):
                yield Complaint(f"minVersion {least} is called lost, and it is committed", [operation.number])

    # -- what must be there ----------------------------------------------------------------------

    @cached_property
    def _kept(self) -> defaultdict[str, list[Change]]:
        """By key, changes that were acknowledged above `primary`, of one shard the newest first."""
        found: defaultdict[str, list[Change]] = defaultdict(list)
        kept = (each for each in self._seen.all_changes() if each.version is not None and self._seen.kept(each))
        for change in sorted(kept, key=_position, reverse=True):
            found[change.key].append(change)
        return found

    @cached_property
    def _kept_of_shard(self) -> defaultdict[str, list[Change]]:
        """The same by shard."""
        found: defaultdict[str, list[Change]] = defaultdict(list)
        everything = (change for changes in self._kept.values() for change in changes)
        for change in sorted(everything, key=_position, reverse=True):
            found[_position(change).shard].append(change)
        return found

    @cached_property
    def _committed(self) -> defaultdict[str, list[tuple[Version, int]]]:
        """By key, the versions that were committed, newest first, each with an operation that tells of it."""
        found: dict[tuple[str, Version], int] = {}
        for read in self._seen.all_reads():
            if read.version is not None and read.number in self._fates.shown.get(read.version, ()):
                found.setdefault((read.key, read.version), read.number)
        for version, change in self._fates.acknowledged.items():
            if self._fates.is_committed(version):
                found.setdefault((change.key, version), change.number)
        sorted_: defaultdict[str, list[tuple[Version, int]]] = defaultdict(list)
        for (key, version), number in sorted(found.items(), key=lambda item: item[0][1], reverse=True):
            sorted_[key].append((version, number))
        return sorted_


def _position(change: Change) -> Version:
    assert change.version is not None, "only those that have one"
    return change.version


def _age_ms(read: Read) -> float | None:
    told = read.told.get("stalenessMs")
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) else None
