"""Operations of a history as acts on registers, one register a key. Pure.

| operation | ok | failed | unknown |
|---|---|---|---|
| `read` | sees a value and its version | | |
| `write` | sets | | may set, at any time |
| `cas` | sees the expected, sets | by `CONDITION`: sees `current`, or not the expected | may, where it sees it |
| `delete` | sees something and removes it, or sees nothing | by `CONDITION`: as `cas` | may remove |

Batches are taken apart (`expanding`). Reads that any replica may answer never promised to be the newest, and are left
out. Attempts under one idempotency key are one operation, from the first call to the first answer: the write is
executed once, and not necessarily by the attempt that is answered.

What changes a register in a way that is not modelled (a counter, an expiry, the end of a namespace) leaves its key
without a judgement, and says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from jepsen_like.checkers.acts import Act
from jepsen_like.checkers.expanding import expand
from jepsen_like.checkers.models import ABSENT, ANYTHING, NEVER, PRESENT, Deed, Put, Register, Want, value_of
from jepsen_like.history import CONDITION, NEMESIS, History, Operation, Outcome

KEYLESS = frozenset({"receipt", "lost-writes", "set-namespace", "delete-namespace", "invalidate"})
"""Operations that are on no key."""


class Attempt(NamedTuple):
    """An operation on one key, and the places of its events in the history; `returned` is None where it has none."""

    operation: Operation
    called: int
    returned: int | None


class Part(msgspec.Struct):
    """What happened to one key: acts and their model, or the reason why there is none. `plain` has the acts with all
    that is known of them, `acts` with what is left of it where those are alike that nobody can tell apart."""

    key: str
    operations: int
    plain: list[Act] = []
    acts: list[Act] = []
    model: Register | None = None
    reason: str = ""


def partition(history: History) -> list[Part]:
    """The history of each key, the shortest first. Raises ValueError: not well-formed."""
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    ended = set()
    for attempt in _attempts(history):
        invoked = attempt.operation.invoked
        if invoked.name == "delete-namespace":
            ended.add(invoked.key)
        elif invoked.name not in KEYLESS and not _is_replica_read(attempt.operation):
            by_key[invoked.key].append(attempt)
    parts = [_part(key, attempts, key.partition(":")[0] in ended) for key, attempts in by_key.items()]
    return sorted(parts, key=lambda part: part.operations)


def _attempts(history: History) -> Iterator[Attempt]:
    """By the places of events, not their times: times may be equal."""
    operations = history.operations()
    places = {id(event): place for place, event in enumerate(history.events) if event.process != NEMESIS}
    spans = {
        each.number: (places[id(each.invoked)], places[id(each.completed)] if each.completed is not None else None)
        for each in operations
    }
    for single in expand(operations):
        called, returned = spans[single.number]
        yield Attempt(single, called, None if single.outcome is Outcome.UNKNOWN else returned)


def _is_replica_read(operation: Operation) -> bool:
    invoked, completed = operation.invoked, operation.completed
    told = completed.level if completed is not None else ""
    return invoked.name == "read" and "replica" in (invoked.details.get("readPreference"), invoked.level, told)


def _part(key: str, attempts: list[Attempt], ended: bool) -> Part:
    reason = "its namespace was deleted" if ended else _not_modelled(attempts)
    if reason:
        return Part(key, len(attempts), reason=reason)
    judged = [(attempt, deed) for attempt in _merged(attempts) if (deed := _deed(attempt.operation)) is not None]
    model = Register([(deed, attempt.returned is not None) for attempt, deed in judged])
    plain, acts = (
        [
            Act(attempt.operation.number, attempt.called, attempt.returned, deed)
            for (attempt, _), deed in zip(judged, deeds, strict=True)
        ]
        for deeds in (model.plain, model.deeds)
    )
    return Part(key, len(attempts), plain, acts, model)


def _not_modelled(attempts: Iterable[Attempt]) -> str:
    for operation, _, _ in attempts:
        invoked = operation.invoked
        if operation.outcome is Outcome.FAIL and operation.told("current") is None:
            continue
        if invoked.name not in _DEEDS:
            return f"{invoked.name} is not modelled"
        if invoked.details.get("ttlSeconds") is not None:
            return "it expires"
        if invoked.name == "cas" and not (isinstance(invoked.value, list) and len(invoked.value) == 2):
            return f"operation {operation.number} is a cas without [expected, new]"
    return ""


# -- attempts under one key ----------------------------------------------------------------------


def _merged(attempts: list[Attempt]) -> Iterator[Attempt]:
    families: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        invoked = attempt.operation.invoked
        idempotency = invoked.details.get("idempotencyKey")
        if idempotency is None:
            yield attempt
        else:
            families[invoked.name, str(idempotency)].append(attempt)
    for family in families.values():
        yield from _one_of(family)


def _one_of(family: list[Attempt]) -> Iterable[Attempt]:
    """What came of a write that was tried several times.

    Where one attempt is of unknown outcome, the refusal of another shows nothing: it may be that of any moment since
    the first call, and the unknown one may yet be executed.
    """
    called = min(attempt.called for attempt in family)
    done = [attempt for attempt in family if attempt.operation.outcome is Outcome.OK]
    unknown = [attempt for attempt in family if attempt.operation.outcome is Outcome.UNKNOWN]
    if not done and not unknown:
        return family
    told = min(done, key=lambda attempt: attempt.returned or 0) if done else unknown[0]
    return [told._replace(called=called)]


# -- what they do --------------------------------------------------------------------------------


def _deed(operation: Operation) -> Deed | None:
    """None where it shows nothing and does nothing."""
    completed = operation.completed
    if operation.outcome is Outcome.FAIL and completed is not None and completed.error != CONDITION:
        return None
    return _DEEDS[operation.invoked.name](operation)


def _read(operation: Operation) -> Deed | None:
    if operation.outcome is not Outcome.OK or operation.completed is None:
        return None
    value = value_of(operation.completed.value)
    return Deed(Want(value, "" if value == ABSENT else operation.completed.version))


def _write(operation: Operation) -> Deed | None:
    return None if operation.outcome is Outcome.FAIL else Deed(None, _put(operation, operation.invoked.value))


def _cas(operation: Operation) -> Deed | None:
    expected, new = operation.invoked.value
    details = operation.invoked.details
    version = str(details.get("ifVersion") or "")
    wants = Want(ANYTHING if version and expected is None else value_of(expected), version)
    if details.get("ifAbsent"):
        wants = Want(ABSENT)
    return _refused(operation, wants) if operation.outcome is Outcome.FAIL else Deed(wants, _put(operation, new))


def _delete(operation: Operation) -> Deed | None:
    version = str(operation.invoked.details.get("ifVersion") or "")
    wants = Want(ANYTHING, version) if version else None
    if operation.outcome is Outcome.FAIL:
        return _refused(operation, wants) if wants is not None else None
    told = operation.completed.value if operation.outcome is Outcome.OK and operation.completed is not None else None
    if told is False:
        return Deed(Want(ABSENT))
    return Deed(PRESENT if told is True and wants is None else wants, Put(ABSENT))


def _put(operation: Operation, value: object) -> Put:
    text, completed = value_of(value), operation.completed
    told = completed is not None and operation.outcome is Outcome.OK and text != ABSENT
    return Put(text, completed.version if told and completed is not None else "")


def _refused(operation: Operation, wants: Want) -> Deed:
    """What a condition reveals that did not hold. If what stood there meets it, no state explains the answer."""
    current = operation.told("current")
    if current is None:
        return Deed(Want(ANYTHING if wants.version else wants.value, wants.version, differs=True))
    if not current:
        return Deed(NEVER if wants == Want(ABSENT) else Want(ABSENT))
    return Deed(NEVER if current == wants.version else Want(ANYTHING, str(current)))


_DEEDS = {"read": _read, "write": _write, "cas": _cas, "delete": _delete}
