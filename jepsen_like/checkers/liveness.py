"""A cluster of which a majority is healed serves again, though the rest stay broken. Pure.

    majority-healed begins      ── bound ──>           majority-healed ends
    a majority is whole again;                          the run goes on, with
    the others stay broken                              whatever comes next

    complaint        demanded, of each group of keys that was asked for
    does not serve   an operation that was invoked after the mark began is answered within the bound

The bound is `boundMs` in the mark's details, or else `livenessBoundMs` of the header's options, or else `BOUND_MS`.

*Groups* are shards, by the versions that any answer ever gave for a key, and of other keys by their slots, where
`shards` of the header's options tells how those are cut and no version says otherwise; keys of which neither is known,
by themselves in their namespace; and `metadata`, for changes of policies. *Answered* means served, see `keys.served`:
also that a condition did not hold. The items of a batch are asked for and answered one by one.

A group is judged only if somebody asked for it in time: if an operation that was invoked after the mark began was under
way, or was invoked, in the second half of the bound. Who asks once, at once, and is refused has shown nothing. Nor has
who asks one of the nodes that were left broken (`rest` in the mark's details): those owe no answer.

**Not judged**: marks that ended before the bound was over; groups that nobody asked for in time. Where nothing was
judged, the verdict is no pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from jepsen_like.checkers.keys import served, version_of
from jepsen_like.checkers.observed import DELETE_NAMESPACE, SET_NAMESPACE, HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import MAJORITY_HEALED, namespace_of
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Fault, Operation
from raftcache.commands.policy import DEFAULT
from raftcache.routing.slots import even_ranges, slot_of

BOUND_MS = 10_000.0
METADATA = "metadata"


class Liveness(HistoryChecker):
    """See the module. `bound_ms` holds where neither the mark nor the header names one."""

    name = "liveness"

    def __init__(self, bound_ms: float = BOUND_MS) -> None:
        self._bound_ms = bound_ms

    def judge(self, observed: Observed) -> Verdict:
        """Look at what was answered after each mark."""
        groups = Groups(observed)
        marks = [mark for mark in observed.setting.marks if mark.name == MAJORITY_HEALED]
        waits = [wait for mark in marks for wait in self._waits(observed, groups, mark)]
        served_ms = [wait.served_ms for wait in waits if wait.served_ms is not None]
        slowest_ms = round(max(served_ms, default=0.0), 3)
        summary = (
            f"{len(marks):,} times a majority was healed; {len(served_ms):,} of {len(waits):,} groups of keys served "
            f"again, the slowest after {slowest_ms / 1000:,.2f} s"
        )
        figures = {"marks": len(marks), "judged": len(waits), "served": len(served_ms), "slowest_ms": slowest_ms}
        if not waits:
            return unknown(self.name, summary, **figures)
        complaints = [wait.complaint() for wait in waits if wait.served_ms is None]
        return verdict(self.name, summary, complaints, **figures)

    def _waits(self, observed: Observed, groups: Groups, mark: Fault) -> Iterator[Wait]:
        """What became of each group that can be judged by this mark."""
        told = mark.details.get("boundMs", observed.setting.number("livenessBoundMs", self._bound_ms))
        bound_ms = float(told) if isinstance(told, int | float) else self._bound_ms
        until_ms = mark.began_ms + bound_ms
        if min(mark.ended_ms, observed.history.duration_ms) < until_ms:
            return
        asked: dict[str, list[Operation]] = defaultdict(list)
        for operation in observed.singles:
            group = groups.of(operation)
            if group and mark.began_ms <= operation.began_ms <= until_ms:
                asked[group].append(operation)
        for group, operations in sorted(asked.items()):
            answered = [each.ended_ms for each in operations if served(each) and each.ended_ms <= until_ms]
            if answered:
                yield Wait(group, mark, bound_ms, min(answered) - mark.began_ms, operations)
            elif any(_last_ms(each) >= mark.began_ms + bound_ms / 2 for each in operations if not _of_rest(each, mark)):
                yield Wait(group, mark, bound_ms, None, operations)


class Wait(NamedTuple):
    """A group after a mark: how long it took until it served, or None where that was not within the bound."""

    group: str
    mark: Fault
    bound_ms: float
    served_ms: float | None
    operations: list[Operation]

    def complaint(self) -> Complaint:
        """That it did not."""
        began_s, bound_s = self.mark.began_ms / 1000, self.bound_ms / 1000
        text = f"{self.group} does not serve: a majority was healed at {began_s:,.1f} s, and {bound_s:g} s is the bound"
        return Complaint(text, [each.number for each in self.operations])


class Groups:
    """Which group an operation belongs to, by the shards of the keys."""

    def __init__(self, observed: Observed) -> None:
        self._shard_of: dict[str, str] = {}
        shards = observed.setting.shards
        self._ends = list(zip([last for _, last in even_ranges(len(shards))], shards, strict=True)) if shards else []
        for single in observed.singles:
            told = single.completed
            texts = (told.version, told.details.get("newestVersion"), told.details.get("current")) if told else ()
            version = next(filter(None, map(version_of, texts)), None)
            if version is not None:
                self._shard_of.setdefault(single.invoked.key, version.shard)
        if any(self._by_slot(key) != shard for key, shard in self._shard_of.items()):
            self._ends = []  # Slots have moved, or are cut otherwise.

    def of(self, operation: Operation) -> str:
        """Its name; "" for what concerns no key."""
        name, key = operation.invoked.name, operation.invoked.key
        if name in (SET_NAMESPACE, DELETE_NAMESPACE):
            return METADATA
        shard = self._shard_of.get(key) or (self._by_slot(key) if key else None)
        unknown_shard = f"keys of {namespace_of(key)}, of no known shard," if key else ""
        return f"shard {shard}" if shard is not None else unknown_shard

    def _by_slot(self, key: str) -> str | None:
        """The shard whose slot it is, if the slots are cut evenly, as a new cluster's are."""
        slot = slot_of(key.removeprefix(DEFAULT + ":").encode())
        return next((shard for last, shard in self._ends if slot <= last), None)


def _of_rest(operation: Operation, mark: Fault) -> bool:
    """Whether one was asked that the mark leaves broken."""
    rest = mark.details.get("rest")
    return isinstance(rest, list) and operation.invoked.details.get("node") in rest


def _last_ms(operation: Operation) -> float:
    """Until when it was under way."""
    return operation.completed.time_ms if operation.completed is not None else float("inf")
