"""Histories: what clients asked and were told, and what was broken meanwhile; one JSON line an event.

The shape is Jepsen's. A process does one thing at a time. It *invokes* an operation, and the next event of the same
process completes it:

    ok     it happened, and this is the answer
    fail   it did not happen and never will: a definite error, or a condition that did not hold
    info   nobody knows. It may take effect once, at any later time, or never: the operation stays open for ever, and
           its process is not used again

The events of faults have the process `NEMESIS`; they come in pairs too, `invoke` when a fault begins and `info` when it
is over. Of an operation no event completes, the outcome is unknown as well: the run ended first.

A file begins with its header, by which a program tells it from other logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

FORMAT = 1
NEMESIS = -1
"""The process of faults."""

Kind = Literal["invoke", "ok", "fail", "info"]

CONDITION = "condition_failed"
"""The error of a compare-and-set that was executed, and whose condition did not hold: it reveals what stood there."""


class Header(msgspec.Struct, kw_only=True):
    """The first line of a file: how the run was made."""

    raftcache_history: int = FORMAT
    workload: str = ""
    nemeses: list[str] = []
    target: str = ""
    """`simulation` or `processes`."""
    seed: int = 0
    seconds: float = 0.0
    ack: str = ""
    plant: str = ""
    started_at: str = ""
    versions: dict[str, str] = {}
    """Of this project and what it runs on."""
    options: dict[str, Any] = {}
    """Whatever else it takes to run it again."""

    def __post_init__(self) -> None:
        if self.raftcache_history != FORMAT:
            raise ValueError(f"histories of format {self.raftcache_history} are not known, only {FORMAT}")


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line. `time_ms` runs from the start of the run, on the virtual clock in simulation; `wall_ms` is real."""

    kind: Kind
    process: int
    name: str
    """What is done: `read`, `write`, `cas`, ... (see `asking`), or a fault's name."""
    time_ms: float
    wall_ms: int = 0
    key: str = ""
    """With the namespace's prefix, `namespace:key`."""
    value: Any = None
    """Invoked: what is to be written, `[expected, new]` of a `cas`. Completed: what was read, or counted."""
    version: str = ""
    level: str = ""
    """The ack or read level asked for; completed, the one reached."""
    error: str = ""
    """The code, where it failed or is not known."""
    details: dict[str, Any] = {}
    """What else was asked or told, by the names of the HTTP interface: `ttlSeconds`, `stalenessMs`, ..."""


class Outcome(Enum):
    """How an operation ended. `UNKNOWN` never ends."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "info"


class Operation(msgspec.Struct, kw_only=True):
    """An invocation with its completion. `number` is its place among the operations of the history."""

    number: int
    invoked: Event
    completed: Event | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome(self.completed.kind) if self.completed is not None else Outcome.UNKNOWN

    @property
    def began_ms(self) -> float:
        """When it was asked for."""
        return self.invoked.time_ms

    @property
    def ended_ms(self) -> float:
        """When its answer came; infinity where its outcome is unknown."""
        known = self.completed is not None and self.outcome is not Outcome.UNKNOWN
        return self.completed.time_ms if known and self.completed is not None else float("inf")

    def told(self, field: str, otherwise: Any = None) -> Any:
        """One of the answer's details."""
        return self.completed.details.get(field, otherwise) if self.completed is not None else otherwise


class Fault(msgspec.Struct, kw_only=True):
    """A fault, from when it struck to when it was over; `ended_ms` is infinity where that is not on record."""

    name: str
    began_ms: float
    ended_ms: float
    details: dict[str, Any] = {}


class History(msgspec.Struct):
    """A header and events in the order in which they happened."""

    header: Header
    events: list[Event]

    def operations(self) -> list[Operation]:
        """Every operation of every client, in the order of the invocations. Raises ValueError: not well-formed."""
        return list(pair(event for event in self.events if event.process != NEMESIS))

    def faults(self) -> list[Fault]:
        """What was broken, and when."""
        found = []
        for each in pair(event for event in self.events if event.process == NEMESIS):
            ended = each.completed.time_ms if each.completed is not None else float("inf")
            found.append(Fault(name=each.invoked.name, began_ms=each.began_ms, ended_ms=ended, details=_both(each)))
        return found

    @property
    def duration_ms(self) -> float:
        """Until the last event."""
        return max((event.time_ms for event in self.events), default=0.0)


def _both(operation: Operation) -> dict[str, Any]:
    completed = operation.completed.details if operation.completed is not None else {}
    return operation.invoked.details | completed


def pair(events: Iterable[Event]) -> Iterator[Operation]:
    """Invocations with their completions, in the order of the invocations. Raises ValueError.

    A fault may overlap another: its completion is the next of its own name, not of its process.
    """
    found: list[Operation] = []
    open_by: dict[int | str, Operation] = {}
    for event in events:
        owner: int | str = event.name if event.process == NEMESIS else event.process
        if event.kind == "invoke":
            if owner in open_by and event.process != NEMESIS:
                raise ValueError(f"process {event.process} invoked {event.name} before its last operation was answered")
            open_by[owner] = Operation(number=len(found), invoked=event)
            found.append(open_by[owner])
        elif owner in open_by:
            open_by.pop(owner).completed = event
        elif event.process != NEMESIS:
            raise ValueError(f"process {event.process} was answered, and had asked nothing")
    return iter(found)


T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_event = msgspec.json.Decoder(Event).decode


def encode_history(history: History) -> bytes:
    """Its JSON lines."""
    return b"\n".join([_encode(history.header), *map(_encode, history.events), b""])


def decode_history(data: bytes) -> History:
    """The inverse. Raises ValueError that names the line."""
    if not is_history(data):
        raise ValueError('line 1: not a header, which begins with {"raftcache_history":')
    lines = data.splitlines()
    header = _line(_decode_header, lines[0], 1)
    return History(header, [_line(_decode_event, line, number) for number, line in enumerate(lines[1:], 2) if line])


def _line(decode: Callable[[bytes], T], line: bytes, number: int) -> T:
    try:
        return decode(line)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"line {number}: {error}") from error


def is_history(data: bytes) -> bool:
    """Whether a file's first bytes are those of a history of ours."""
    return data.startswith(b'{"raftcache_history":')


def read_history(path: Path) -> History:
    """A file. Raises OSError, ValueError."""
    return decode_history(path.read_bytes())
