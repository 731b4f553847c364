"""What the page's script draws: operations, faults and windows, packed. Pure.

A hundred thousand operations as JSON objects are some twenty megabytes, most of it names of fields. Here they are
columns. Times are whole microseconds, those of the questions as differences, so that most numbers are short; a text is
stored once, and its column has the places in the list of texts. The JSON of it all is deflated and put into the page
in base 64, of which no character means anything in HTML. A browser inflates it by itself (`DecompressionStream`).
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from jepsen_like.checking import Verdict
from jepsen_like.history import Event, Fault, History, Operation, Outcome
from jepsen_like.page.figures import error_of, windows
from jepsen_like.page.lanes import Lanes, lanes

CHARACTERS_SHOWN = 120
"""Of a value or of details. A page is no second copy of the history."""

OUTCOMES = tuple(Outcome)
"""An outcome is stored as its place here: 0 ok, 1 fail, 2 unknown."""


class Texts(msgspec.Struct):
    """A column of texts: `words[at[i]]` is that of operation i."""

    words: list[str]
    at: list[int]


class Columns(msgspec.Struct, kw_only=True):
    """Operations in the order of their numbers; times in microseconds."""

    began: list[int]
    """The first as it is, of every other one the difference from the one before."""
    took: list[int]
    """Until it was answered or given up; -1 where neither happened."""
    lane: list[int]
    process: list[int]
    outcome: list[int]
    name: Texts
    key: Texts
    asked: Texts
    """The value of the question."""
    answer: Texts
    version: Texts
    level: Texts
    error: Texts
    details: Texts


class Span(msgspec.Struct, kw_only=True):
    """A fault; `ended` is None where its end is not on record."""

    name: str
    began: int
    ended: int | None
    details: str


def pack(history: History, operations: Sequence[Operation], verdicts: Iterable[Verdict]) -> str:
    """Everything that is drawn, in base 64. `operations` are those of the history."""
    taken = lanes(operations)
    offending = {number for each in verdicts for complaint in each.complaints for number in complaint.operations}
    document = {
        "duration": _us(history.duration_ms),
        "lanes": [_label(processes) for processes in taken.processes],
        "operations": columns(operations, taken),
        "offending": sorted(offending & set(range(len(operations)))),
        "faults": [_span(fault) for fault in history.faults()],
        "windows": windows(operations, history.duration_ms),
    }
    return base64.b64encode(zlib.compress(msgspec.json.encode(document))).decode()


def unpack(packed: str) -> Any:
    """The document again, as the script sees it."""
    return msgspec.json.decode(zlib.decompress(base64.b64decode(packed)))


def columns(operations: Sequence[Operation], taken: Lanes) -> Columns:
    """Every operation."""
    places = taken.places()
    began = [_us(each.began_ms) for each in operations]
    return Columns(
        began=[now - before for before, now in zip([0, *began], began, strict=False)],
        took=[_took_us(each) for each in operations],
        lane=[places[each.invoked.process] for each in operations],
        process=[each.invoked.process for each in operations],
        outcome=[OUTCOMES.index(each.outcome) for each in operations],
        name=_texts(operations, lambda each: each.invoked.name),
        key=_texts(operations, lambda each: each.invoked.key),
        asked=_texts(operations, lambda each: shown(each.invoked.value)),
        answer=_texts(operations, answer),
        version=_texts(operations, lambda each: _of(each, "version")),
        level=_texts(operations, _level),
        error=_texts(operations, error_of),
        details=_texts(operations, lambda each: "; ".join(_details(each))),
    )


def _texts(operations: Iterable[Operation], text: Callable[[Operation], str]) -> Texts:
    places: dict[str, int] = {}
    at = [places.setdefault(clipped(text(each)), len(places)) for each in operations]
    return Texts(list(places), at)


def shown(value: Any) -> str:
    """A value as JSON, clipped; "" for None, which in a question is no value."""
    return "" if value is None else clipped(msgspec.json.encode(value).decode())


def answer(operation: Operation) -> str:
    """The value of the answer; `null` is one where a read succeeded."""
    if operation.outcome is not Outcome.OK or operation.completed is None:
        return ""
    value = operation.completed.value
    return "null" if value is None and operation.invoked.name.startswith("read") else shown(value)


def clipped(text: str, most: int = CHARACTERS_SHOWN) -> str:
    """At most that many characters, the last of them an ellipsis where some are missing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _of(operation: Operation, field: str) -> str:
    return getattr(operation.completed, field) if operation.completed is not None else ""


def _level(operation: Operation) -> str:
    asked, reached = operation.invoked.level, _of(operation, "level")
    return f"{asked} asked, {reached} reached" if asked and reached and asked != reached else reached or asked


def _details(operation: Operation) -> Iterable[str]:
    events: tuple[tuple[str, Event | None], ...] = (("asked", operation.invoked), ("told", operation.completed))
    for what, event in events:
        if event is not None and event.details:
            yield f"{what} {named(event.details)}"


def named(details: dict[str, Any]) -> str:
    """Details for people: `name value, name value`."""
    return ", ".join(f"{name} {value if isinstance(value, str) else shown(value)}" for name, value in details.items())


def _span(fault: Fault) -> Span:
    ended = None if math.isinf(fault.ended_ms) else _us(fault.ended_ms)
    details = clipped(named(fault.details))
    return Span(name=clipped(fault.name), began=_us(fault.began_ms), ended=ended, details=details)


def _took_us(operation: Operation) -> int:
    if operation.completed is None:
        return -1
    return _us(operation.completed.time_ms) - _us(operation.began_ms)


def _us(time_ms: float) -> int:
    return round(time_ms * 1000)


def _label(processes: Sequence[int]) -> str:
    first, *more = processes
    return f"{first} +{len(more)}" if more else str(first)
