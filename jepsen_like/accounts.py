"""What one round of the contract's check found, whether its parts agree, and the table of all. Pure.

Every write has a key of its own, so a write is lost exactly where its key is not there under its version. Its receipt
must say the same, and so must the lost-write reports, as far as the memory of the deposed leader is there still: a
leader that was killed took its list along, and the new one publishes an upper bound in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COMMITTED, LOST = "committed", "lost"
SHOWN = 3
"""Versions that a complaint names."""


class Case(NamedTuple):
    """An ack level, and what is done to the leader."""

    ack: str
    fault: str


@dataclass(slots=True)
class Account:
    """One round. Versions are text; `acknowledged` has every acknowledged one."""

    acknowledged: set[str] = field(default_factory=set)
    there: set[str] = field(default_factory=set)
    receipts: dict[str, str] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    """What the reports list: the newest lost writes."""
    reported_count: int = 0
    """How many lost writes they count."""
    bound_writes: int = 0
    """What the shard's share of the loss window allows to be lost; 0 where nothing may be."""
    memory_gone: bool = False
    """Whether the leader was killed, and its list of what it acknowledged with it."""
    upper_bound: float = 0.0
    """What the new leader published of a leader that is gone."""

    @property
    def lost(self) -> set[str]:
        """Acknowledged, and not there."""
        return self.acknowledged - self.there

    def figures(self) -> dict[str, Any]:
        """For programs."""
        return {
            "acknowledged": len(self.acknowledged),
            "lost": len(self.lost),
            "bound": self.bound_writes,
            "receipts": len(self.receipts),
            "reported": self.reported_count,
            "upper_bound": self.upper_bound,
        }

    def complaints(self) -> list[str]:
        """Where the parts do not tell the same story, or more is lost than may be."""
        lost, wrong = self.lost, []
        if len(lost) > self.bound_writes:
            wrong.append(f"{len(lost)} lost, the bound is {self.bound_writes}{_some(lost)}")
        said_lost = {version for version, state in self.receipts.items() if state == LOST}
        said_committed = {version for version, state in self.receipts.items() if state == COMMITTED}
        for what, versions in (
            ("have no receipt", self.acknowledged - self.receipts.keys()),
            ("have a receipt that is not final", self.receipts.keys() - said_lost - said_committed),
            ("are lost, and their receipts say committed", lost & said_committed),
            ("are there, and their receipts say lost", self.there & said_lost),
            ("are reported as lost, and are there", self.reported & self.there),
        ):
            if versions:
                wrong.append(f"{len(versions)} writes {what}{_some(versions)}")
        if not self.memory_gone and self.reported_count != len(lost):
            missing = _some(lost - self.reported)
            wrong.append(f"{len(lost)} writes are lost, and {self.reported_count} reported as lost{missing}")
        if self.memory_gone and len(lost) > self.upper_bound:
            wrong.append(f"{len(lost)} lost, and the published upper bound is {self.upper_bound:g}")
        return wrong


def _some(versions: set[str]) -> str:
    return f": {', '.join(sorted(versions)[:SHOWN])}" if versions else ""


def complaints(case: Case, rounds: Sequence[Account]) -> list[str]:
    """Of all rounds of a case. A case in which nothing was acknowledged shows nothing."""
    wrong = [
        f"{case.ack}, {case.fault}, round {number}: {line}"
        for number, account in enumerate(rounds, 1)
        for line in account.complaints()
    ]
    if not all(account.acknowledged for account in rounds):
        wrong.append(f"{case.ack}, {case.fault}: a round without an acknowledged write")
    return wrong


HEAD = (
    "| ack level | fault | writes acknowledged | lost | lost at most, a fault | bound, a fault | receipts checked "
    "| lost-write report |\n|---|---|--:|--:|--:|--:|--:|---|"
)


def table(accounts: Mapping[Case, Sequence[Account]]) -> str:
    """All cases in Markdown, a row each."""
    return "\n".join([HEAD, *(_row(case, rounds) for case, rounds in accounts.items())])


def _row(case: Case, rounds: Sequence[Account]) -> str:
    lost = [len(account.lost) for account in rounds]
    cells = (
        f"`{case.ack}`",
        case.fault,
        f"{sum(len(account.acknowledged) for account in rounds):,}",
        f"{sum(lost):,}",
        f"{max(lost):,}",
        f"{max(account.bound_writes for account in rounds):,}",
        f"{sum(len(account.receipts) for account in rounds):,}",
        _report(rounds),
    )
    return f"| {' | '.join(cells)} |"


def _report(rounds: Sequence[Account]) -> str:
    if any(account.reported_count != len(account.lost) for account in rounds if not account.memory_gone):
        return "DIFFERS"
    if any(account.memory_gone for account in rounds):
        bound = max(account.upper_bound for account in rounds)
        return f"gone with the leader; upper bound {bound:,.0f}" if bound else "upper bound 0"
    return "equal"
