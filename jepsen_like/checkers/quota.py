"""A namespace has no more keys than its `quotaItems`, and costs others none. Pure.

Counted is what the last read of each key shows that began after every write had ended; a write of unknown outcome may
take effect later still and make another key go, so each of those allows for one more. In namespaces without a quota,
nothing that was acknowledged above `primary`, and cannot have gone for another reason, is missing in these reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jepsen_like.checkers.keys import NEVER, Read
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import namespace_of
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Outcome
from raftcache.commands.types import ReadLevel


class Quotas(HistoryChecker):
    """See the module."""

    name = "quota"

    def judge(self, observed: Observed) -> Verdict:
        """Count what the last reads show."""
        judging = _Judging(observed)
        complaints = [*judging.over(), *judging.missing()]
        figures = {"counted": judging.counted, "quota": judging.quota, "neighbours": judging.neighbours}
        summary = (
            f"{judging.counted:,} keys were there in the end, of a quota of {judging.quota:,}; "
            f"{judging.neighbours:,} keys of namespaces without one were looked for"
        )
        if not complaints and not (judging.counted and judging.neighbours):
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen = observed
        self._quotas = {name: space.limits.quota_items for name, space in observed.setting.namespaces.items()}
        self.quota = sum(quota for quota in self._quotas.values() if quota is not None)
        self.counted = self.neighbours = 0
        ended_ms = [change.ended_ms for change in observed.all_changes() if change.ended_ms < NEVER]
        began_ms = [change.began_ms for change in observed.all_changes()]
        after_ms = max([*ended_ms, *began_ms], default=0.0)
        self._last: dict[str, Read] = {}
        for read in observed.all_reads():
            if read.level is not ReadLevel.REPLICA and read.began_ms > after_ms:
                self._last[read.key] = read

    def over(self) -> Iterator[Complaint]:
        """Namespaces with more than they may have."""
        there: dict[str, list[Read]] = defaultdict(list)
        for read in self._last.values():
            if read.value is not None:
                there[namespace_of(read.key)].append(read)
        for name, quota in self._quotas.items():
            if quota is None:
                continue
            self.counted += len(there[name])
            changes = [change for change in self._seen.all_changes() if namespace_of(change.key) == name]
            open_ = sum(change.outcome not in (Outcome.OK, Outcome.FAIL) for change in changes)
            if len(there[name]) > quota + open_:
                numbers = [read.number for read in there[name][:5]]
                yield Complaint(f"{name} has {len(there[name])} keys, its quota is {quota}", numbers)

    def missing(self) -> Iterator[Complaint]:
        """Keys that should be there."""
        for key, changes in self._seen.changes.items():
            read = self._last.get(key)
            if self._quotas.get(namespace_of(key), 0) is not None or read is None:
                continue
            kept = [change for change in changes if change.name == "write" and self._seen.kept(change)]
            lasting = [change for change in kept if self._seen.gone_after_ms(change) > read.ended_ms]
            self.neighbours += bool(lasting)
            if lasting and read.value is None:
                yield Complaint(f"{key} is missing, and nobody removed it", [lasting[-1].number, read.number])
