"""Histories told in tests: operations and faults with their times, put in order."""

from __future__ import annotations

from typing import Any

from jepsen_like.checking import Judgement, Verdict
from jepsen_like.history import NEMESIS, Event, Header, History, Kind

Span = tuple[float, float]
"""When it began and when it ended, in ms."""


class Story:
    """Each operation is of a process of its own, unless it is named."""

    def __init__(self, ack: str = "quorum", **options: Any) -> None:
        self.header = Header(ack=ack, options=options)
        self._events: list[tuple[float, int, Event]] = []
        self._processes = 1000

    def did(
        self,
        name: str,
        key: str = "",
        value: Any = None,
        *,
        at: Span,
        kind: Kind | None = "ok",
        answer: Any = None,
        version: str = "",
        level: str = "",
        error: str = "",
        process: int | None = None,
        asked: dict[str, Any] | None = None,
        told: dict[str, Any] | None = None,
    ) -> Story:
        """An operation; `kind` None: it was never answered."""
        self._processes += 1
        process = self._processes if process is None else process
        began = Event(kind="invoke", process=process, name=name, time_ms=at[0], key=key, value=value)
        self._add(at[0], _with(began, details=asked or {}))
        if kind is not None:
            ended = Event(kind=kind, process=process, name=name, time_ms=at[1], key=key, value=answer)
            self._add(at[1], _with(ended, details=told or {}, version=version, level=level, error=error))
        return self

    def write(self, key: str, value: Any, at: Span, version: str = "", level: str = "quorum", **asked: Any) -> Story:
        """A write that was acknowledged."""
        return self.did("write", key, value, at=at, version=version, level=level, asked=asked)

    def lost_its_answer(self, name: str, key: str, value: Any, at: Span, **asked: Any) -> Story:
        """Nobody knows what became of it."""
        return self.did(name, key, value, at=at, kind="info", error="outcome_unknown", asked=asked)

    def refused(self, name: str, key: str, value: Any, at: Span, error: str = "no_leader", **asked: Any) -> Story:
        """It failed for certain."""
        return self.did(name, key, value, at=at, kind="fail", error=error, asked=asked)

    def incr(
        self, key: str, count: int, at: Span, version: str = "", level: str = "quorum", by: int = 1, **asked: Any
    ) -> Story:
        """An increment that was answered."""
        return self.did("incr", key, by, at=at, answer=count, version=version, level=level, asked=asked)

    def read(
        self, key: str, value: Any, at: Span, version: str = "", level: str = "linearizable", **told: Any
    ) -> Story:
        """A read that was answered."""
        return self.did("read", key, at=at, answer=value, version=version, level=level, told=told)

    def receipt(self, key: str, version: str, fate: str, at: Span, durable: bool = False) -> Story:
        """A receipt that was answered."""
        return self.did("receipt", key, version, at=at, answer=fate, told={"durable": durable})

    def reported(self, namespace: str, versions: list[str], at: Span, **told: Any) -> Story:
        """A lost-write report."""
        details = {"total": len(versions), "truncated": False, "unreachable": []} | told
        return self.did("lost-writes", "", namespace, at=at, answer=versions, told=details)

    def policy(self, namespace: str, at: Span, kind: Kind | None = "ok", **policy: Any) -> Story:
        """A policy that was set."""
        return self.did("set-namespace", namespace, policy, at=at, kind=kind)

    def dropped(self, namespace: str, at: Span, kind: Kind | None = "ok") -> Story:
        """A namespace that was deleted."""
        return self.did("delete-namespace", namespace, at=at, kind=kind)

    def fault(self, name: str, at: Span, **details: Any) -> Story:
        """A fault, or a mark."""
        for kind, time_ms in zip(("invoke", "info"), at, strict=True):
            event = Event(kind=kind, process=NEMESIS, name=name, time_ms=time_ms)  # type: ignore[arg-type]
            self._add(time_ms, _with(event, details=details))
        return self

    def _add(self, at_ms: float, event: Event) -> None:
        if at_ms < float("inf"):
            self._events.append((at_ms, len(self._events), event))

    def history(self) -> History:
        """All of it, in the order of the times; what has the same time stays as it was told."""
        return History(self.header, [event for _, _, event in sorted(self._events, key=lambda each: each[:2])])


def _with(event: Event, **fields: Any) -> Event:
    for name, value in fields.items():
        setattr(event, name, value)
    return event


def texts(verdict: Verdict) -> list[str]:
    """What it complains of."""
    return [complaint.text for complaint in verdict.complaints]


def passes(verdict: Verdict) -> bool:
    """Whether it found enough to judge, and nothing wrong."""
    return verdict.judgement is Judgement.PASS and verdict.complaints == []


def fails(verdict: Verdict, *about: str) -> bool:
    """Whether it complains of exactly these things, in this order."""
    told = texts(verdict)
    return verdict.judgement is Judgement.FAIL and len(told) == len(about) and all(map(str.__contains__, told, about))


def is_open(verdict: Verdict) -> bool:
    """Whether it could not judge."""
    return verdict.judgement is Judgement.UNKNOWN and verdict.complaints == []
