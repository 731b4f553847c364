"""Histories of a real register, and a checker that tries every order.

`play` lets processes ask one register, each operation taking effect at one instant between its call and its return, or
at any time or never where its outcome stays unknown: what it records is linearizable. `spoil` changes one answer.
`tried_in_every_order` decides the same question as the checker under test in the plainest way: without a list, a memory
or a rule, and with every way to give versions to writes that were never answered.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any, NamedTuple

from msgspec.structs import replace

from jepsen_like.history import CONDITION, Event, Header, History, Operation, Outcome

READS = ("read", "read", "write", "cas")


class Play(NamedTuple):
    """How a history is made. `unknown` is the share of operations that are never answered."""

    operations: int
    processes: int = 3
    values: int = 3
    unknown: float = 0.1
    versions: bool = False
    names: tuple[str, ...] = READS


def play(rng: random.Random, how: Play) -> History:
    """A linearizable history."""
    return _Player(rng, how).play()


class _Player:
    """One register and its clients."""

    def __init__(self, rng: random.Random, how: Play) -> None:
        self.rng, self.how = rng, how
        self.events: list[Event] = []
        self.value: Any = None
        self.version = ""
        self.sets = 0
        self.seen: list[tuple[Any, str]] = []
        self.waiting: dict[int, Event] = {}
        """What was asked and not answered, by process."""
        self.answers: dict[int, Event] = {}
        """Of what was executed and not answered."""
        self.lost: list[Event] = []
        """What will not be answered, and may be executed yet."""

    def play(self) -> History:
        idle, processes = list(range(self.how.processes)), self.how.processes
        for _ in range(self.how.operations):
            while not idle or (self.waiting and self.rng.random() < 0.6):
                process = self.advance()
                if process is not None:
                    idle.append(process if self.events[-1].kind != "info" else processes)
                    processes += self.events[-1].kind == "info"
            self.ask(idle.pop(self.rng.randrange(len(idle))))
        while self.waiting:
            self.advance()
        return History(Header(), [replace(event, time_ms=float(place)) for place, event in enumerate(self.events)])

    def ask(self, process: int) -> None:
        name = self.rng.choice(self.how.names)
        value: Any = None
        details: dict[str, Any] = {}
        if name == "write":
            value = self.rng.randrange(self.how.values)
        elif name == "cas":
            expected, version = self.rng.choice(self.seen[-3:] or [(None, "")])
            if self.how.versions:
                expected, details = (expected, {"ifVersion": version}) if version else (None, {"ifAbsent": True})
            elif self.rng.random() < 0.8:
                expected = self.rng.randrange(self.how.values)
            value = [expected, self.rng.randrange(self.how.values)]
        asked = Event(kind="invoke", process=process, name=name, value=value, time_ms=0, details=details)
        self.events.append(asked)
        self.waiting[process] = asked

    def advance(self) -> int | None:
        """One step of one operation; its process if it is over."""
        if self.lost and self.rng.random() < 0.2:
            self.do(self.lost.pop(self.rng.randrange(len(self.lost))))
            return None
        process = self.rng.choice(sorted(self.waiting))
        if self.rng.random() < self.how.unknown / 2:
            asked = self.waiting.pop(process)
            self.events.append(Event(kind="info", process=process, name=asked.name, time_ms=0))
            if self.answers.pop(process, None) is None:
                self.lost.append(asked)
            return process
        if process not in self.answers:
            self.answers[process] = self.do(self.waiting[process])
            return None
        self.events.append(self.answers.pop(process))
        del self.waiting[process]
        return process

    def do(self, asked: Event) -> Event:
        """Execute it; the answer."""
        answer = Event(kind="ok", process=asked.process, name=asked.name, time_ms=0)
        if asked.name == "read":
            answer.value, answer.version = self.value, self.version
        elif asked.name == "write":
            answer.version = self.set(asked.value)
        elif asked.name == "delete":
            answer.value = self.value is not None
            self.set(None)
        elif self.meets(asked):
            answer.version = self.set(asked.value[1])
        else:
            answer.kind, answer.error = "fail", CONDITION
            answer.details = {"current": self.version} if self.how.versions else {}
        self.seen.append((self.value, self.version))
        return answer

    def meets(self, asked: Event) -> bool:
        version = asked.details.get("ifVersion")
        return bool(self.version == version if version else self.value == asked.value[0])

    def set(self, value: Any) -> str:
        self.sets += 1
        self.value = value
        self.version = f"v1.1.{self.sets}" if self.how.versions and value is not None else ""
        return self.version


def spoil(rng: random.Random, history: History, values: int) -> History:
    """One answer is another than it was."""
    events = list(history.events)
    places = [place for place, event in enumerate(events) if event.kind in ("ok", "fail") and event.name != "write"]
    if places:
        place = rng.choice(places)
        events[place] = _spoiled(rng, events, events[place], values)
    return History(history.header, events)


def _spoiled(rng: random.Random, events: list[Event], event: Event, values: int) -> Event:
    versions = [each.version for each in events if each.version]
    if event.name == "read":
        other = rng.choice([each for each in events if each.kind == "ok" and each.name == "read"])
        as_other = replace(event, value=other.value, version=other.version)
        return as_other if versions or rng.random() < 0.5 else replace(event, value=rng.randrange(values))
    if event.name == "delete":
        return replace(event, value=not event.value)
    if event.kind == "ok":
        details = {"current": rng.choice(versions)} if versions else {}
        return replace(event, kind="fail", error=CONDITION, version="", details=details)
    return replace(event, kind="ok", error="", details={}, version=f"v1.1.{900 + len(versions)}" if versions else "")


# -- every order ---------------------------------------------------------------------------------


def tried_in_every_order(history: History) -> bool:
    """Whether there is a linearization."""
    places = {id(event): place for place, event in enumerate(history.events)}
    judged = [each for each in history.operations() if _counts(each)]
    spans = {each.number: (places[id(each.invoked)], _end(each, places)) for each in judged}
    return any(_order(judged, spans, given, (None, "")) for given in _ways_to_give_versions(judged))


def _end(operation: Operation, places: Mapping[int, int]) -> float:
    return float("inf") if operation.outcome is Outcome.UNKNOWN else places[id(operation.completed)]


def _counts(operation: Operation) -> bool:
    if operation.outcome is Outcome.UNKNOWN:
        return operation.invoked.name != "read"
    assert operation.completed is not None
    return operation.outcome is Outcome.OK or operation.completed.error == CONDITION


def found_versions(history: History) -> set[str]:
    """Those that no answered write carries."""
    operations = history.operations()
    told = {each.completed.version for each in operations if each.completed and each.invoked.name != "read"}
    seen = {each.completed.version for each in operations if each.completed}
    seen |= {str(each.told("current", "")) for each in operations}
    seen |= {str(each.invoked.details.get("ifVersion", "")) for each in operations}
    return seen - told - {""}


def _ways_to_give_versions(operations: list[Operation]) -> Iterator[dict[int, str]]:
    found = sorted(found_versions(History(Header(), [e for o in operations for e in (o.invoked, o.completed) if e])))
    makers = [each.number for each in operations if each.invoked.name in ("write", "cas") and not _version(each)]
    for chosen in set(permutations(makers + [-1] * len(found), len(found))):
        yield {maker: version for maker, version in zip(chosen, found, strict=True) if maker >= 0}


def _version(operation: Operation) -> str:
    return operation.completed.version if operation.completed else ""


State = tuple[Any, str]


def follows(history: History, numbers: list[int]) -> bool:
    """Whether the operations of these numbers, in this order, explain their answers, and nothing is left out that was
    answered before one of them was asked. Only of histories without versions."""
    places = {id(event): place for place, event in enumerate(history.events)}
    operations = history.operations()
    spans = {each.number: (places[id(each.invoked)], _end(each, places)) for each in operations if _counts(each)}
    state: State | None = (None, "")
    for number in numbers:
        in_time = spans[number][0] < min(end for _, end in spans.values())
        state = _do(operations[number], state, {}) if in_time and state is not None else None
        spans.pop(number)
    return state is not None


def _order(
    left: list[Operation], spans: Mapping[int, tuple[int, float]], given: Mapping[int, str], state: State
) -> bool:
    if all(each.outcome is Outcome.UNKNOWN for each in left):
        return True
    first_return = min(spans[each.number][1] for each in left)
    for each in left:
        after = _do(each, state, given) if spans[each.number][0] < first_return else None
        if after is not None and _order([other for other in left if other is not each], spans, given, after):
            return True
    return False


def _do(operation: Operation, state: State, given: Mapping[int, str]) -> State | None:
    """The state after it, if its answer is right."""
    asked, told, known = operation.invoked, operation.completed, operation.outcome is not Outcome.UNKNOWN
    version = _version(operation) or given.get(operation.number, f"untold {operation.number}")
    if asked.name == "read":
        return state if told and told.value == state[0] and told.version in ("", state[1]) else None
    if asked.name == "write":
        return asked.value, version
    if asked.name == "delete":
        return (None, "") if not known or (told and told.value == (state[0] is not None)) else None
    expected = asked.details.get("ifVersion", "")
    meets = state[0] == asked.value[0] and expected in ("", state[1])
    if operation.outcome is not Outcome.FAIL:
        return (asked.value[1], version) if meets else None
    refused = state[1] != expected if expected else state[0] != asked.value[0]
    return state if refused and operation.told("current") in (None, state[1]) else None
