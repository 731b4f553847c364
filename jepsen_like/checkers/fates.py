"""What became of the versions that were given out, by everything that a history tells of them. Pure.

A version is **committed** by any of these:

- its write was answered above `primary`;
- a receipt says so;
- a read that shows nothing but what is committed shows it: any above `latest`, at the leader or at a replica.

It is **lost** by any of these:

- a receipt says so, or a lost-write report names it;
- a linearizable read that began after the write was answered shows an older version of the key, or nothing although
  nothing can have taken it away.

Why the last one holds for writes answered at `primary`, too: whoever answers the read has proved, after it began, that
no later leadership had begun. If it is the write's own leadership, the write was executed before the read. If it is a
later one, it has applied all that will ever be committed of the write's. So either the read shows the write, or the
write was not and will never be committed. For the same reason a write that *is* committed is in every linearizable read
that begins after its answer. Versions of one key are compared within a shard only.

Both at once is a broken promise; which one, the checkers say. Of a shard whose majority forgot something (`setting`)
nothing is said about what was done before.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from jepsen_like.checkers.keys import Change, Read, newer_of_one_shard, version_of
from jepsen_like.checkers.observed import Observed
from jepsen_like.history import Operation, Outcome
from raftcache.commands.types import Version

COMMITTED, LOST, PENDING = "committed", "lost", "pending"

Proofs = dict[Version, list[int]]
"""The numbers of the operations that say so, by version."""


class Fates:
    """Of one history."""

    def __init__(self, observed: Observed) -> None:
        self._seen = observed

    def is_lost(self, version: Version | None) -> bool:
        """Whether anything says so."""
        return version is not None and any(version in proofs for proofs in self._losses)

    def is_committed(self, version: Version | None) -> bool:
        """Whether anything says so."""
        kinds = (self.committed_by_receipt, self.shown, self.kept)
        return version is not None and any(version in proofs for proofs in kinds)

    def proofs_of_loss(self, version: Version) -> list[int]:
        """What says that it is lost."""
        return [number for proofs in self._losses for number in proofs.get(version, ())]

    @property
    def _losses(self) -> tuple[Proofs, Proofs, Proofs]:
        return self.lost_by_receipt, self.lost_by_report, self.lost_by_read

    # -- what was acknowledged -------------------------------------------------------------------

    @cached_property
    def acknowledged(self) -> dict[Version, Change]:
        """Every change whose answer gave it a version; of several, as retries have them, the one answered first."""
        found: dict[Version, Change] = {}
        for change in self._seen.all_changes():
            if change.outcome is Outcome.OK and change.version is not None:
                first = found.setdefault(change.version, change)
                if change.ended_ms < first.ended_ms:
                    found[change.version] = change
        return found

    @cached_property
    def kept(self) -> Proofs:
        """Answered above `primary`, and not excused."""
        found: Proofs = defaultdict(list)
        for change in self._seen.all_changes():
            if change.version is not None and self._seen.kept(change):
                found[change.version].append(change.number)
        return dict(found)

    # -- receipts and reports --------------------------------------------------------------------

    @cached_property
    def receipts(self) -> list[tuple[Operation, Version, str]]:
        """Each that was answered, with what it says."""
        answered = (each for each in self._seen.operations if each.invoked.name == "receipt")
        return [
            (each, version, str(each.completed.value))
            for each in answered
            if each.outcome is Outcome.OK and each.completed and (version := version_of(each.invoked.value))
        ]

    def _by_receipt(self, fate: str) -> Proofs:
        found: Proofs = defaultdict(list)
        for operation, version, told in self.receipts:
            if told == fate and self.binding(operation, version):
                found[version].append(operation.number)
        return dict(found)

    def binding(self, receipt: Operation, version: Version) -> bool:
        """Whether what it says holds for ever: unless a majority forgot something since, and it was not durable."""
        durable = receipt.told("durable") is True
        return durable or receipt.began_ms > self._seen.setting.forgotten_ms(version.shard)

    @cached_property
    def committed_by_receipt(self) -> Proofs:
        """Receipts that say `committed`."""
        return self._by_receipt(COMMITTED)

    @cached_property
    def lost_by_receipt(self) -> Proofs:
        """Receipts that say `lost`."""
        return self._by_receipt(LOST)

    @cached_property
    def lost_by_report(self) -> Proofs:
        """Lost-write reports that name it."""
        found: Proofs = defaultdict(list)
        for report in self._seen.operations:
            if report.invoked.name == "lost-writes":
                for version in reported(report):
                    if report.began_ms > self._seen.setting.forgotten_ms(version.shard):
                        found[version].append(report.number)
        return dict(found)

    # -- reads -----------------------------------------------------------------------------------

    @cached_property
    def shown(self) -> Proofs:
        """Shown by reads that show nothing that can be lost."""
        found: Proofs = defaultdict(list)
        for read in self._seen.all_reads():
            version = read.version if read.committed else None
            if version is not None and read.began_ms > self._seen.setting.forgotten_ms(version.shard):
                found[version].append(read.number)
        return dict(found)

    @cached_property
    def lost_by_read(self) -> Proofs:
        """Missing in linearizable reads that began after its answer."""
        found: Proofs = defaultdict(list)
        for key, reads in self._seen.reads.items():
            answered = sorted(self._answered(key), key=lambda change: change.ended_ms)
            newest = _running_newest(answered)
            before = 0
            for read in sorted((read for read in reads if read.proved), key=lambda read: read.began_ms):
                while before < len(answered) and answered[before].ended_ms < read.began_ms:
                    before += 1
                if before and _may_miss(read, newest[before - 1]):
                    for change in answered[:before]:
                        if change.version is not None and self._misses(read, change, change.version):
                            found[change.version].append(read.number)
        return dict(found)

    def _answered(self, key: str) -> list[Change]:
        changes = self._seen.changes.get(key, ())
        return [change for change in changes if change.outcome is Outcome.OK and change.version is not None]

    def _misses(self, read: Read, change: Change, version: Version) -> bool:
        if self._seen.excused(change):
            return False
        if read.value is None:
            return self._seen.gone_after_ms(change) > read.ended_ms
        return read.version is not None and newer_of_one_shard(version, read.version)


def reported(report: Operation) -> list[Version]:
    """The versions that a lost-write report names; none of one that was not answered."""
    told = report.completed.value if report.completed is not None and report.outcome is Outcome.OK else None
    return [version for text in told if (version := version_of(text))] if isinstance(told, list) else []


def _running_newest(changes: list[Change]) -> list[dict[str, Version]]:
    """After each of the changes, the newest version of each shard."""
    newest: dict[str, Version] = {}
    found = []
    for change in changes:
        version = change.version
        assert version is not None, "only those that have one"
        if version.shard not in newest or version > newest[version.shard]:
            newest = newest | {version.shard: version}
        found.append(newest)
    return found


def _may_miss(read: Read, newest: dict[str, Version]) -> bool:
    """Whether the read can miss any of the changes: most show the newest, and need no closer look."""
    if read.value is None:
        return True
    version = read.version
    return version is not None and newest.get(version.shard, version) > version
