"""A policy is obeyed by whatever begins after the answer to its change. Pure.

    complaint           demanded of what begins after the answer, and ends before the next change begins
    below the policy    a write is answered at the policy's `ack` or above, a read at its read level or above
    too large           a value over the policy's `maxItemBytes` is not stored
    though deleted      a namespace that was deleted is `unknown_namespace`: nothing is read or changed in it
    called unknown      one that there is, is not `unknown_namespace`
    an earlier life     nothing is read that was written, and answered, before a deletion

While a change is in flight both are right, the policy before and the one after; so an operation is held against the
weakest of all policies that may have been in force at any moment of it. A change that was answered ends those whose
answer came before it began. One of unknown outcome may take effect at any time, and nothing ends it: after it, only
what is weaker than it as well is a complaint. What a namespace was at the start, `namespaces` of the header's options
tells; where there is no such option, nothing is demanded until a change has been answered.

**Not judged**: replica reads, which follow within their staleness; levels that an answer does not tell; and other
errors than `unknown_namespace`, which are right at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import CHANGES, NEVER, Read, value_after
from jepsen_like.checkers.observed import DELETE_NAMESPACE, SET_NAMESPACE, HistoryChecker, Observed, unknown
from jepsen_like.checkers.setting import ack_level, namespace_of, policy_of, read_level
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import CONDITION, Operation, Outcome
from raftcache.commands.policy import Namespace
from raftcache.commands.types import ReadLevel
from raftcache.errors import UnknownNamespace


class Policies(HistoryChecker):
    """See the module."""

    name = "policies"

    def judge(self, observed: Observed) -> Verdict:
        """Hold every operation against the policies that may have been in force."""
        judging = _Judging(observed)
        complaints = list(judging.complaints())
        changes = [each for each in observed.operations if each.invoked.name in (SET_NAMESPACE, DELETE_NAMESPACE)]
        answered = sum(each.outcome is Outcome.OK for each in changes)
        figures = {
            "changes": len(changes), "answered": answered, "open": judging.open, "judged": judging.judged,
            "judged_in_no_namespace": judging.judged_in_none,
        }  # fmt: skip
        summary = (
            f"{answered:,} of {len(changes):,} changes of policies were answered; {judging.judged:,} operations were "
            f"held against them, {judging.judged_in_none:,} in namespaces that were deleted"
        )
        if not complaints and not (answered and judging.judged):
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


class Ruling(NamedTuple):
    """A policy, or that there is no such namespace (`policy` None), and when it was decreed. `number` is None for what
    the namespace was at the start."""

    policy: Namespace | None
    began_ms: float
    ended_ms: float
    number: int | None = None
    over_ms: float = NEVER
    """When the first was answered of those that began after its own answer."""


class _Judging:
    def __init__(self, observed: Observed) -> None:
        self._seen, self._fates = observed, Fates(observed)
        self._rulings: dict[str, list[Ruling]] = {}
        self.judged = self.judged_in_none = self.open = 0
        for name in {namespace_of(each.invoked.key) for each in observed.singles}:
            decreed = list(self._decreed(name))
            self._rulings[name] = [each._replace(over_ms=_over_ms(each, decreed)) for each in decreed]

    def _decreed(self, name: str) -> Iterator[Ruling]:
        if "namespaces" in self._seen.setting.options:
            yield Ruling(self._seen.setting.namespaces.get(name), -NEVER, -NEVER)
        for each in self._seen.policy_changes.get(name, ()):
            policy = policy_of(name, each.invoked.value) if each.invoked.name == SET_NAMESPACE else None
            self.open += each.ended_ms == NEVER
            yield Ruling(policy, each.began_ms, each.ended_ms, each.number)

    def _in_force(self, operation: Operation) -> list[Ruling]:
        """What may have been in force at any moment of it; nothing where that may be anything."""
        rulings = self._rulings[namespace_of(operation.invoked.key)]
        if not any(each.ended_ms < operation.began_ms for each in rulings):
            return []
        return [each for each in rulings if each.began_ms <= operation.ended_ms and each.over_ms >= operation.began_ms]

    def complaints(self) -> Iterator[Complaint]:
        """Whatever does not obey."""
        for each in self._seen.singles:
            if each.invoked.name in CHANGES or each.invoked.name == "read":
                rulings = self._in_force(each) if each.outcome is not Outcome.UNKNOWN else []
                if rulings and not _by_replica(each):
                    yield from self._of_operation(each, rulings)
        for read in self._seen.all_reads():
            yield from self._of_life(read)

    def _of_operation(self, operation: Operation, rulings: list[Ruling]) -> Iterator[Complaint]:
        told = operation.completed
        assert told is not None, "only what was answered"
        numbers = [operation.number, *(each.number for each in rulings if each.number is not None)]
        policies = [each.policy for each in rulings if each.policy is not None]
        key = operation.invoked.key
        if told.error == UnknownNamespace.code:
            self.judged += 1
            self.judged_in_none += not policies
            if len(policies) == len(rulings):
                yield Complaint(f"{key}: its namespace is called unknown, and exists", numbers)
        elif operation.outcome is Outcome.OK or told.error == CONDITION:
            self.judged += 1
            self.judged_in_none += not policies
            for text in _broken(operation, policies):
                yield Complaint(f"{key}: {text}", numbers)

    def _of_life(self, read: Read) -> Iterator[Complaint]:
        write = self._fates.acknowledged.get(read.version) if read.version is not None else None
        if write is None or read.level is ReadLevel.REPLICA:
            return
        for deletion in self._seen.policy_changes.get(namespace_of(read.key), ()):
            is_deletion = deletion.invoked.name == DELETE_NAMESPACE
            if is_deletion and write.ended_ms < deletion.began_ms and deletion.ended_ms < read.began_ms:
                text = f"{read.key}: {read.version} was read, of an earlier life of its namespace, which was deleted"
                yield Complaint(text, [write.number, deletion.number, read.number])


def _over_ms(ruling: Ruling, others: list[Ruling]) -> float:
    return min((other.ended_ms for other in others if other.began_ms > ruling.ended_ms), default=NEVER)


def _by_replica(operation: Operation) -> bool:
    told = operation.completed.level if operation.completed is not None else ""
    return operation.invoked.details.get("readPreference") == "replica" or read_level(told) is ReadLevel.REPLICA


def _broken(operation: Operation, policies: list[Namespace]) -> Iterator[str]:
    """What an answer breaks, if each of the policies is as good as another."""
    told, asked = operation.completed, operation.invoked
    assert told is not None, "only what was answered"
    if not policies:
        yield f"a {asked.name} was answered, though its namespace was deleted"
        return
    reached = read_level(told.level) if asked.name == "read" else ack_level(told.level)
    least = min(policy.reads_at if asked.name == "read" else policy.ack for policy in policies)
    if reached is not None and reached < least:
        yield f"a {asked.name} was answered at {reached.name.lower()}, below the policy: {least.name.lower()}"
    value = value_after(asked.name, asked.value, None) if operation.outcome is Outcome.OK else None
    size_bytes, limit = len(msgspec.json.encode(value)), max(policy.max_item_bytes for policy in policies)
    if value is not None and size_bytes > limit:
        yield f"a value of {size_bytes} bytes was stored, too large for the policy: {limit}"
