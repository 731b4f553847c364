"""What a drop has dropped is not read by whoever begins after its answer. Pure.

Judged are reads at the leader, at any level, that show the version of a write which was answered before the drop of
its namespace, or of one of its tags, was called. Replica reads follow within their staleness and are not judged; nor is
what was written under an unknown outcome, which may take effect after the drop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import namespace_of
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Operation, Outcome
from raftcache.commands.types import ReadLevel, Version

INVALIDATE = "invalidate"


class Invalidations(HistoryChecker):
    """See the module."""

    name = "invalidation"

    def judge(self, observed: Observed) -> Verdict:
        """Hold every read against the drops that were answered before it."""
        asked = [each for each in observed.operations if each.invoked.name == INVALIDATE]
        drops = [each for each in asked if each.outcome is Outcome.OK]
        judging = _Judging(observed, drops)
        complaints = list(judging.complaints())
        figures = {"drops": len(asked), "answered": len(drops), "dropped": len(judging.dropped), "reads": judging.reads}
        summary = (
            f"{len(drops):,} of {len(asked):,} drops were answered; {judging.reads:,} reads were held against "
            f"{len(judging.dropped):,} values that they dropped"
        )
        if not complaints and not (judging.dropped and judging.reads):
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


def _tags(operation: Operation) -> list[Any]:
    tags = operation.invoked.details.get("tags")
    return tags if isinstance(tags, list) else []


class _Judging:
    def __init__(self, observed: Observed, drops: list[Operation]) -> None:
        self._seen = observed
        self.reads = 0
        self.dropped: dict[Version, Operation] = {}
        """By the version of a write, the first answered drop that concerns it."""
        tags = {each.number: _tags(each) for each in observed.operations}
        for change in observed.all_changes():
            if change.name != "write" or change.outcome is not Outcome.OK or change.version is None:
                continue
            concerned = [
                drop
                for drop in drops
                if drop.began_ms > change.ended_ms
                and namespace_of(drop.invoked.key) == namespace_of(change.key)
                and (drop.invoked.value is None or drop.invoked.value in tags.get(change.number, ()))
            ]
            if concerned:
                self.dropped[change.version] = min(concerned, key=lambda drop: drop.ended_ms)

    def complaints(self) -> Iterator[Complaint]:
        """Whatever is read that was dropped."""
        for read in self._seen.all_reads():
            if read.level is ReadLevel.REPLICA:
                continue
            self.reads += 1
            drop = None if read.version is None else self.dropped.get(read.version)
            if drop is not None and read.began_ms > drop.ended_ms:
                what = drop.invoked.value or "the namespace"
                yield Complaint(
                    f"{read.key} was read as {read.version} though {what} was dropped after it was written",
                    [read.number, drop.number],
                )
