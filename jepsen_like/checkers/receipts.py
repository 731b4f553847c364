"""Receipts tell the truth, and so does the lost-write report. Pure.

    complaint              demanded
    committed, gone        what a receipt calls `committed` is there: linearizable reads that begin after its write was
                           answered show it or a newer version
    lost, there            what a receipt calls `lost`, or a report names, is in no read above `latest`
    lost, acknowledged     what was answered above `primary` is never called lost, by a receipt or in a report
    lost, committed        receipts of one version never say both, and no report names what a receipt calls `committed`
    pending                while the run is at rest (`final` in `setting`), no receipt says `pending`
    unknown version        a version that was given out has a receipt
    not reported           reports made at rest name every write that was acknowledged at `primary` and is lost
    total                  a report's `total` is no less than such writes; it is no less than what it lists, and the
                           list is `truncated` exactly if it is more

What is lost is known from receipts and reads. That all of it is reported is demanded only where every deposed leader
lives and was reached: if no process ended in the run (`Setting.memory_lost`) and no node was `unreachable`. Else what
is reported has only to be a subset. Names may be missing where the list is `truncated`. Reports may name more than
clients know of: an answer may not have arrived.

**Not judged**: `pending` after a receipt that was final. A leader that has not learnt yet of its deposition says so of
its successor's versions, and rightly: to it they are of a term that it has not heard of. Nor what was said of a shard
before its majority forgot something, where the receipt did not say `durable`. Nor can a history tell that a node was
taken out of a shard before it learnt what it had lost there: a run that lets nodes be replaced marks that by `stops`.
"""

from __future__ import annotations

from collections.abc import Iterator

from jepsen_like.checkers.fates import COMMITTED, LOST, PENDING, Fates, Proofs, reported
from jepsen_like.checkers.keys import Change, version_of
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import namespace_of
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Operation, Outcome
from raftcache.commands.types import Version
from raftcache.errors import UnknownVersion


class Receipts(HistoryChecker):
    """See the module."""

    name = "receipts"

    def judge(self, observed: Observed) -> Verdict:
        """Hold what receipts and reports say against each other and against what reads show."""
        judging = _Judging(observed)
        complaints = list(judging.complaints())
        figures = judging.figures()
        told = ", ".join(f"{figures[fate]:,} {fate}" for fate in (COMMITTED, LOST, PENDING))
        summary = f"{figures['receipts']:,} receipts: {told}; {figures['reports']:,} lost-write reports"
        if not complaints and not figures[COMMITTED] + figures[LOST] + figures["reports"]:
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        lost_writes = (each for each in observed.operations if each.invoked.name == "lost-writes")
        self._reports = [each for each in lost_writes if each.outcome is Outcome.OK]

    def complaints(self) -> Iterator[Complaint]:
        """Whatever does not agree."""
        fates = self._fates
        yield from self._gone()
        called = ("a receipt calls it lost", fates.lost_by_receipt), ("it is reported as lost", fates.lost_by_report)
        for said, proofs in called:
            yield from self._both(proofs, fates.shown, f"{said}, and it is there: a read shows it")
            yield from self._both(proofs, fates.kept, f"{said}, and it was acknowledged above primary")
            yield from self._both(proofs, fates.committed_by_receipt, f"{said}, and a receipt says committed")
        yield from self._pending()
        yield from self._unknown_versions()
        for report in self._reports:
            yield from self._of_report(report)

    def _both(self, proofs: Proofs, others: Proofs, text: str) -> Iterator[Complaint]:
        for version in sorted(proofs.keys() & others.keys()):
            yield Complaint(f"{version}: {text}", [proofs[version][0], others[version][0]])

    def _gone(self) -> Iterator[Complaint]:
        """What was committed is missing in a linearizable read."""
        for version, reads in self._fates.lost_by_read.items():
            receipts = self._fates.committed_by_receipt.get(version)
            if receipts:
                yield Complaint(f"{version}: a receipt says committed, and it is gone", [receipts[0], reads[0]])

    def _pending(self) -> Iterator[Complaint]:
        final_ms = self._seen.setting.final_ms
        for receipt, version, told in self._fates.receipts:
            if told == PENDING and receipt.began_ms >= final_ms:
                yield Complaint(f"{version}: its receipt is still pending after healing", [receipt.number])

    def _unknown_versions(self) -> Iterator[Complaint]:
        for receipt in self._seen.operations:
            if receipt.invoked.name != "receipt" or receipt.outcome is not Outcome.FAIL or receipt.completed is None:
                continue
            version = version_of(receipt.invoked.value)
            change = self._fates.acknowledged.get(version) if version is not None else None
            refused = receipt.completed.error == UnknownVersion.code
            if refused and change is not None and not self._seen.excused(change):
                text = f"{version}: it was given out, and its receipt is refused as of an unknown version"
                yield Complaint(text, [change.number, receipt.number])

    # -- reports ---------------------------------------------------------------------------------

    def _of_report(self, report: Operation) -> Iterator[Complaint]:
        named, total = set(reported(report)), report.told("total")
        if isinstance(total, int) and (total < len(named) or (total > len(named)) != bool(report.told("truncated"))):
            text = f"a lost-write report lists {len(named)}, and says a total of {total}"
            yield Complaint(f"{text}, truncated: {report.told('truncated')}", [report.number])
        if not self._is_exact(report):
            return
        lost = dict(self._lost_at_primary(str(report.invoked.value or "")))
        if isinstance(total, int) and total < len(lost):
            yield Complaint(f"{len(lost)} writes are lost, and a report says a total of {total}", [report.number])
        if not report.told("truncated"):
            for version in sorted(lost.keys() - named):
                numbers = [lost[version].number, *self._fates.proofs_of_loss(version)[:1], report.number]
                yield Complaint(f"{version}: acknowledged at primary and lost, and not reported", numbers)

    def _is_exact(self, report: Operation) -> bool:
        """Whether every leader that lost something had to say so here."""
        at_rest = report.began_ms >= self._seen.setting.final_ms
        return at_rest and not self._seen.setting.memory_lost and not report.told("unreachable")

    def _lost_at_primary(self, namespace: str) -> Iterator[tuple[Version, Change]]:
        fates = self._fates
        for version, change in fates.acknowledged.items():
            of_it = namespace in ("", namespace_of(change.key))
            lost = version in fates.lost_by_receipt or version in fates.lost_by_read
            if of_it and lost and version not in fates.kept and not self._seen.excused(change):
                yield version, change

    def figures(self) -> dict[str, int]:
        """For tables."""
        told = [fate for _, _, fate in self._fates.receipts]
        asked = {version for _, version, _ in self._fates.receipts}
        return {
            "receipts": len(told),
            **{fate: told.count(fate) for fate in (COMMITTED, LOST, PENDING)},
            "acknowledged_never_asked": len(self._fates.acknowledged.keys() - asked),
            "reports": len(self._reports),
            "reported": len(self._fates.lost_by_report),
        }
