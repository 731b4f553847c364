"""Those who ask: each does one thing at a time, and everything that they do is recorded.

A *hand* is a worker of the harness. Its process in the history is its own number, until the outcome of an operation is
unknown: that process is not used again then, and the hand goes on as another, by the number of all hands later.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from jepsen_like.asking import Completion, Request, Target
from jepsen_like.history import NEMESIS, Event, Kind

SHOWN_CHARACTERS = 1_024
"""Longer texts are recorded as a beginning, a length and a checksum: equal for equal texts, else different."""
_BEGINNING = 24


class Recorder:
    """The events of a run, in the order in which they happen: of `only` these operations, or of all."""

    def __init__(self, target: Target) -> None:
        self.events: list[Event] = []
        self.only: frozenset[str] | None = None
        self._target = target

    def invoked(self, process: int, request: Request, node: str) -> None:
        """An operation is about to be sent."""
        if self._skips(request):
            return
        details = _with_size(request.value, request.details | {"node": node})
        asked = {"key": request.key, "value": shown(request.value), "level": request.level, "details": details}
        self._add("invoke", process, request.name, asked)

    def completed(self, process: int, request: Request, told: Completion) -> None:
        """It has ended."""
        if self._skips(request):
            return
        answer = {"value": shown(told.value), "version": told.version, "level": told.level, "error": told.error}
        self._add(told.kind, process, request.name, answer | {"key": request.key, "details": told.details})

    def fault(self, name: str, kind: Kind, details: dict[str, Any]) -> None:
        """A fault begins (`invoke`) or is over (`info`)."""
        self._add(kind, NEMESIS, name, {"details": details})

    def _skips(self, request: Request) -> bool:
        return self.only is not None and request.name not in self.only

    def _add(self, kind: Kind, process: int, name: str, more: dict[str, Any]) -> None:
        time_ms, wall_ms = self._target.now_ms(), self._target.wall_ms()
        self.events.append(Event(kind=kind, process=process, name=name, time_ms=time_ms, wall_ms=wall_ms, **more))


def shown(value: Any) -> Any:
    """A value as it is recorded: with its long texts abbreviated, in lists as well."""
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:_BEGINNING]}…{len(value)}…{zlib.crc32(value.encode()):08x}"
    return [shown(each) for each in value] if isinstance(value, list) else value


def _with_size(value: Any, details: dict[str, Any]) -> dict[str, Any]:
    long = isinstance(value, str) and len(value) > SHOWN_CHARACTERS
    return details | {"valueBytes": len(value.encode())} if long else details


class Crew:
    """All hands of a run, with what they have in common."""

    def __init__(self, target: Target, size: int, sticky: bool, timeout_s: float, random: Random) -> None:
        self.target, self.recorder, self.random = target, Recorder(target), random
        self.timeout_s = timeout_s
        self.hands = [Hand(self, number) for number in range(size)]
        self._nodes, self._sticky = target.nodes(), sticky

    def node_for(self, number: int) -> str:
        """Whom a hand asks next."""
        return self._nodes[number % len(self._nodes)] if self._sticky else self.random.choice(self._nodes)


class Hand:
    """One of them."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.number = self.process = number
        self._crew = crew

    def ask(self, request: Request, done: Callable[[Completion], None], node: str = "") -> None:
        """Do one thing; `done` is called later, once. `node` "" leaves the choice to the crew."""
        crew, process, asked = self._crew, self.process, node or self._crew.node_for(self.number)

        def answered(told: Completion) -> None:
            crew.recorder.completed(process, request, told)
            if told.kind == "info":
                self.process += len(crew.hands)
            done(told)

        crew.recorder.invoked(process, request, asked)
        crew.target.ask(asked, request, crew.timeout_s, answered)
