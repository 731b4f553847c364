"""What a checker is, what it says, and what several of them say together. Pure.

A checker reads a history and nothing else, so it can be run again over a file. It says `pass`, `fail`, or `unknown`
where it ran out of budget or found too little to judge: `unknown` is no pass. The operations that a complaint is about
are named by their numbers, by which the page marks them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Protocol

import msgspec

from jepsen_like.history import History

COMPLAINTS_SHOWN = 20
"""Of each checker; a broken cluster would break the report as well."""


class Judgement(Enum):
    """From best to worst."""

    PASS = "pass"
    UNKNOWN = "unknown"
    FAIL = "fail"


class Complaint(msgspec.Struct):
    """A broken promise: what is wrong, for people, and the numbers of the operations that show it."""

    text: str
    operations: list[int] = []


class Verdict(msgspec.Struct, kw_only=True):
    """What one checker says. `figures` are for tables and programs; `summary` is one line for people."""

    checker: str
    judgement: Judgement
    summary: str
    complaints: list[Complaint] = []
    complaints_in_all: int = 0
    figures: dict[str, Any] = {}


class Checker(Protocol):
    """One property."""

    name: str

    def check(self, history: History) -> Verdict:
        """Judge a history. Raises nothing on account of what is in it."""


def verdict(checker: str, summary: str, complaints: Iterable[Complaint], **figures: Any) -> Verdict:
    """`FAIL` where there is a complaint, else `PASS`."""
    found = list(complaints)
    return Verdict(
        checker=checker,
        judgement=Judgement.FAIL if found else Judgement.PASS,
        summary=summary,
        complaints=found[:COMPLAINTS_SHOWN],
        complaints_in_all=len(found),
        figures=figures,
    )


def worst(verdicts: Iterable[Verdict]) -> Judgement:
    """Of a whole run. One without any verdict is unknown."""
    order = list(Judgement)
    return max((each.judgement for each in verdicts), key=order.index, default=Judgement.UNKNOWN)
