"""What a history says of single keys: who changed what, and what reads showed. Every checker starts from here. Pure.

Batches are taken apart (`expanding`), texts become versions and levels. A *change* is any operation that may alter a
key, however it ended; a *read* is one that was answered.

**Levels.** What an answer names; where it names none, what was asked for; else the weakest that the namespace's policy
was at any time of the run. Nothing weaker is ever answered without saying so.

**What may be gone without being lost.** Nothing there is no proof of a loss where something else can have taken the
write away: a delete, a time to live, a namespace that was dropped. `gone_after_ms` is from when on that was possible.
An operation that ended before the write began cannot have come after it, and one of unknown outcome can come at any
time after it began.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from jepsen_like.checkers.expanding import expand
from jepsen_like.checkers.keys import CHANGES, NEVER, Change, Read, text_or_none, value_after, version_of
from jepsen_like.checkers.setting import Setting, ack_level, namespace_of, policy_of, read_level
from jepsen_like.checking import Judgement, Verdict
from jepsen_like.history import History, Operation, Outcome
from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, ReadLevel

SET_NAMESPACE, DELETE_NAMESPACE = "set-namespace", "delete-namespace"


class Observed:
    """A history, taken apart. Raises ValueError: not well-formed."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.setting = Setting(history.header, history.faults())
        self.operations = history.operations()
        self.singles = expand(self.operations)

    # -- policies --------------------------------------------------------------------------------

    @cached_property
    def policy_changes(self) -> dict[str, list[Operation]]:
        """By namespace, what was done to it and not refused, in the order of the invocations."""
        found: dict[str, list[Operation]] = defaultdict(list)
        for each in self.operations:
            if each.invoked.name in (SET_NAMESPACE, DELETE_NAMESPACE) and each.outcome is not Outcome.FAIL:
                found[namespace_of(each.invoked.key)].append(each)
        return found

    @cached_property
    def _policies(self) -> dict[str, list[Namespace]]:
        found = {name: [policy] for name, policy in self.setting.namespaces.items()}
        for name, changes in self.policy_changes.items():
            asked = [policy_of(name, each.invoked.value) for each in changes if each.invoked.name == SET_NAMESPACE]
            found.setdefault(name, []).extend(policy for policy in asked if policy is not None)
        return found

    def policies(self, namespace: str) -> list[Namespace]:
        """Every policy that it may have had."""
        return self._policies.get(namespace, [])

    def weakest_ack(self, namespace: str) -> AckLevel:
        """Of its policies; `PRIMARY` where none is known."""
        known = [policy.ack for policy in self.policies(namespace)]
        return min(known) if known else self.setting.ack or AckLevel.PRIMARY

    def weakest_read(self, namespace: str) -> ReadLevel:
        """Of its policies; where none is known, what goes with the ack level."""
        known = [policy.reads_at for policy in self.policies(namespace)]
        return min(known) if known else Namespace(namespace, 0, self.weakest_ack(namespace)).reads_at

    @cached_property
    def _drops(self) -> dict[str, list[Operation]]:
        return {
            name: [each for each in changes if each.invoked.name == DELETE_NAMESPACE or self._may_create(name, each)]
            for name, changes in self.policy_changes.items()
        }

    def _may_create(self, name: str, change: Operation) -> bool:
        """Whether the namespace may not have existed, so that setting its policy dropped its keys."""
        changes = self.policy_changes[name]
        made = [each.ended_ms for each in changes if each.invoked.name == SET_NAMESPACE]
        since_ms = max((ended_ms for ended_ms in made if ended_ms < change.began_ms), default=-NEVER)
        exists = name in self.setting.namespaces or since_ms > -NEVER
        return not exists or any(
            each.invoked.name == DELETE_NAMESPACE and each.ended_ms >= since_ms and each.began_ms <= change.ended_ms
            for each in changes
        )

    # -- keys ------------------------------------------------------------------------------------

    @cached_property
    def changes(self) -> dict[str, list[Change]]:
        """By key, in the order of the invocations."""
        found: dict[str, list[Change]] = defaultdict(list)
        for each in self.singles:
            if each.invoked.name in CHANGES:
                found[each.invoked.key].append(self._change(each))
        return found

    @cached_property
    def reads(self) -> dict[str, list[Read]]:
        """By key, in the order of the invocations."""
        found: dict[str, list[Read]] = defaultdict(list)
        for each in self.singles:
            if each.invoked.name == "read" and each.outcome is Outcome.OK:
                found[each.invoked.key].append(self._read(each))
        return found

    def all_changes(self) -> Iterator[Change]:
        """Of all keys."""
        return (change for changes in self.changes.values() for change in changes)

    def all_reads(self) -> Iterator[Read]:
        """Of all keys."""
        return (read for reads in self.reads.values() for read in reads)

    def _change(self, operation: Operation) -> Change:
        asked, told = operation.invoked, operation.completed
        answered = told is not None and operation.outcome is Outcome.OK
        told_value = told.value if told is not None else None
        own = told is not None and not (asked.name in ("delete", "expire") and told_value is not True)
        level = ack_level(told.level) if told is not None and answered else None
        name = namespace_of(asked.key)
        return Change(
            number=operation.number,
            name=asked.name,
            key=asked.key,
            outcome=operation.outcome,
            asked=asked.value,
            value=value_after(asked.name, asked.value, told_value),
            version=version_of(told.version) if told is not None and own else None,
            level=level or ack_level(asked.level) or self.weakest_ack(name),
            began_ms=operation.began_ms,
            ended_ms=operation.ended_ms,
            ttl_ms=self._ttl_ms(name, asked.name, asked.value, asked.details),
            asked_ttl=asked.name == "expire" or asked.details.get("ttlSeconds") is not None,
            idempotency=text_or_none(asked.details.get("idempotencyKey")),
        )

    def _ttl_ms(self, namespace: str, name: str, value: Any, details: dict[str, Any]) -> float | None:
        """What time to live it gives the key; the shortest that the namespace may have given it."""
        seconds = value if name == "expire" else details.get("ttlSeconds")
        if isinstance(seconds, int | float):
            return float(max(1, round(seconds * 1000)))
        defaults = [policy.default_ttl_ms for policy in self.policies(namespace) if policy.default_ttl_ms is not None]
        return float(min(defaults)) if defaults else None

    def _read(self, operation: Operation) -> Read:
        asked, told = operation.invoked, operation.completed
        assert told is not None, "only what was answered"
        replica = asked.details.get("readPreference") == "replica"
        level = read_level(told.level)
        if level is None:
            fallback = read_level(asked.level) or self.weakest_read(namespace_of(asked.key))
            level = ReadLevel.REPLICA if replica else fallback
        return Read(
            number=operation.number,
            process=asked.process,
            key=asked.key,
            value=told.value,
            version=version_of(told.version) if told.value is not None else None,
            newest=version_of(told.details.get("newestVersion")),
            level=level,
            replica=replica,
            began_ms=operation.began_ms,
            ended_ms=operation.ended_ms,
            asked=asked.details,
            told=told.details,
        )

    # -- what excuses ----------------------------------------------------------------------------

    def excused(self, change: Change) -> bool:
        """Whether a majority may have forgotten it."""
        shard = change.version.shard if change.version is not None else None
        return change.level < AckLevel.DURABLE and change.began_ms <= self.setting.forgotten_ms(shard)

    def kept(self, change: Change) -> bool:
        """Whether its answer promises that it is never lost."""
        return change.outcome is Outcome.OK and change.level > AckLevel.PRIMARY and not self.excused(change)

    def gone_after_ms(self, change: Change) -> float:
        """From when on the key may be gone without the change having been lost."""
        if change.ttl_ms is not None or change.name == "delete":
            return change.began_ms
        return min((each for each in self._removals(change)), default=NEVER)

    def _removals(self, change: Change) -> Iterator[float]:
        inherits = change.name == "incr"  # The time to live that the key had.
        for each in self._removing.get(change.key, ()):
            if each is not change and (each.ended_ms >= change.began_ms or inherits):
                yield each.began_ms
        yield from self._dropped(namespace_of(change.key), change.began_ms)

    @cached_property
    def _removing(self) -> dict[str, list[Change]]:
        """Changes after which a key may be gone, at once or later."""
        return {
            key: [each for each in changes if (each.name == "delete" or each.ttl_ms is not None) and not each.refused]
            for key, changes in self.changes.items()
        }

    def _dropped(self, namespace: str, since_ms: float) -> Iterator[float]:
        return (each.began_ms for each in self._drops.get(namespace, ()) if each.ended_ms >= since_ms)

    def dropped_since(self, key: str, since_ms: float) -> bool:
        """Whether the key's namespace may have been dropped after a change that began at `since_ms`."""
        return any(True for _ in self._dropped(namespace_of(key), since_ms))


class HistoryChecker(ABC):
    """A checker that judges what was observed. A history that is not well-formed it does not judge."""

    name = ""

    def check(self, history: History) -> Verdict:
        """See `checking.Checker`."""
        try:
            observed = Observed(history)
        except ValueError as error:
            return unknown(self.name, f"not a well-formed history: {error}")
        return self.judge(observed)

    @abstractmethod
    def judge(self, observed: Observed) -> Verdict:
        """Judge it."""


def unknown(checker: str, summary: str, **figures: Any) -> Verdict:
    """Nothing was found wrong, and too little to judge."""
    return Verdict(checker=checker, judgement=Judgement.UNKNOWN, summary=summary, figures=figures)
