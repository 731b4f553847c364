"""The logs that Jepsen's first test of etcd left behind, as histories. Pure.

An event a line, its parts apart by any white space:

    INFO  jepsen.util - 3	:invoke	:cas	[3 0]
    INFO  jepsen.util - 3	:fail	:cas	[3 0]

What stands before the logger's name is not looked at, nor are lines of other loggers and of processes that are no
clients. There is one register, which begins as `nil`, no value. What completions mean:

    :ok                a `:read` brings the value
    :fail :cas [a b]   it was executed, and the register did not hold `a`: that is an observation
    :fail, otherwise   no effect: a `:read` that timed out, after which its process goes on
    :info              unknown, for ever

There are no times: an event's is its number.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from jepsen_like.history import CONDITION, Event, Header, History, Kind

_LOGGED = re.compile(
    r"\bjepsen\.util\b[\s-]*"
    r"(?P<process>\d+|[^\s:]\S*(?=\s+:(?:invoke|ok|fail|info)\b))"
    r"(?=\s|$)(?P<rest>.*)"
)
"""What begins with a number, or with any word but a keyword and goes on as an event, must be an event of a client."""
_PARTS = re.compile(r"\s*:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(\S.*)")
_KINDS: dict[str, Kind] = {"invoke": "invoke", "ok": "ok", "fail": "fail", "info": "info"}
_VALUE = re.compile(r"nil|-?\d+")
_PAIR = re.compile(r"\[\s*(nil|-?\d+)[\s,]+(nil|-?\d+)\s*\]")


def is_etcd_log(data: bytes) -> bool:
    """Whether a client's event is in it."""
    return any(_LOGGED.search(line) for line in _lines(data))


def decode_etcd_log(data: bytes) -> History:
    """The history. Raises ValueError that names the line: one that is no event, or that its process cannot have had."""
    events: list[Event] = []
    open_by: dict[int, Event] = {}
    for number, line in enumerate(_lines(data), 1):
        found = _LOGGED.search(line)
        if found is not None:
            event = _event(number, found, time_ms=float(len(events)))
            _follow(number, open_by, event)
            events.append(event)
    return History(Header(workload="etcd"), events)


def _lines(data: bytes) -> list[str]:
    """Only line ends end lines here: log lines may hold other separators that `str.splitlines` knows."""
    return re.split(r"\r\n|\n|\r", data.decode("utf-8", errors="replace"))


def _event(number: int, logged: re.Match[str], time_ms: float) -> Event:
    parts = _PARTS.fullmatch(logged["rest"].rstrip())
    if parts is None or not logged["process"].isdecimal():
        _malformed(number, f"not an event: {logged.string.strip()[:120]!r}")
    kind, name, argument = parts.groups()
    value = _argument(name, argument)
    if value is None and kind in ("invoke", "ok"):
        _malformed(number, f"not an argument of :{name}: {argument[:80]!r}")
    event = Event(kind=_KINDS[kind], process=int(logged["process"]), name=name, time_ms=time_ms)
    event.value = value[0] if value is not None else None
    if kind in ("fail", "info"):
        event.error = CONDITION if (kind, name) == ("fail", "cas") and value is not None else argument
    return event


def _argument(name: str, text: str) -> tuple[Any] | None:
    """The value in a tuple of its own, since it may be None; None where the text is no value."""
    if name == "cas":
        pair = _PAIR.fullmatch(text)
        return None if pair is None else ([_number(pair[1]), _number(pair[2])],)
    return (_number(text),) if _VALUE.fullmatch(text) else None


def _number(text: str) -> int | None:
    return None if text == "nil" else int(text)


def _follow(number: int, open_by: dict[int, Event], event: Event) -> None:
    """Hold an event against the last one of its process."""
    asked = open_by.get(event.process)
    if event.kind == "invoke":
        if asked is not None:
            _malformed(number, f"process {event.process} asks before it was answered")
        open_by[event.process] = event
        return
    if asked is None:
        _malformed(number, f"process {event.process} is answered, and had asked nothing")
    if asked.name != event.name:
        _malformed(number, f"process {event.process} asked :{asked.name} and is answered :{event.name}")
    if event.name != "read" and (event.kind == "ok" or event.error == CONDITION) and event.value != asked.value:
        _malformed(number, f"process {event.process} is answered with another argument than it asked with")
    del open_by[event.process]


def _malformed(number: int, what: str) -> NoReturn:
    raise ValueError(f"line {number}: {what}")
