"""What a scenario measured, and whether that is good enough. Pure.

A *round* is one fault. Its service-back time runs from the fault (for a pause: from its end) until a write that was
sent after that moment is acknowledged by the group that was hit: by the slowest one where several were. Its
full-voter time runs until the supervisor says that the killed node's new process is a voter everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any

from jepsen_like.ledger import Violation

MOST = 0.9
"""At least this part of the rounds must be back within `Limits.service_most_ms`."""
ACKNOWLEDGED_PER_ROUND = 20
"""A scenario that hardly wrote shows nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How quick is quick enough; None where only coming back at all counts, or (full voter) was not looked for."""

    service_median_ms: float | None = 1000.0
    service_most_ms: float | None = 2000.0
    full_voter_ms: float | None = 5000.0


@dataclass(frozen=True, slots=True)
class Round:
    """One fault. Times are None where that did not happen while the drill waited. `nodes` are those that it hit.

    `awaited` is false where the next fault came before service was asked for.
    """

    nodes: tuple[str, ...]
    group: str
    service_back_ms: float | None
    full_voter_ms: float | None = None
    kills: bool = True
    awaited: bool = True


@dataclass(slots=True)
class Result:
    """One scenario. `kills_each` is how often every node must have been killed."""

    scenario: str
    rounds: list[Round]
    attempts: dict[str, int]
    refusals: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    """What must not be seen on the way: answers that no client should get, tracebacks in logs."""
    node_ids: tuple[str, ...] = ()
    kills_each: int = 0
    limits: Limits = Limits()
    figures: dict[str, Any] = field(default_factory=dict)
    """What else is worth telling; not judged."""
    kept: str = ""
    """Where the cluster's logs are, if they were kept."""

    @property
    def service_times_ms(self) -> list[float]:
        """Of the rounds that came back."""
        return [each.service_back_ms for each in self.rounds if each.service_back_ms is not None]

    @property
    def voter_times_ms(self) -> list[float]:
        """Of the killed nodes that came back."""
        return [each.full_voter_ms for each in self.rounds if each.full_voter_ms is not None]

    def complaints(self) -> list[str]:
        """Why the scenario did not pass; empty for a pass."""
        return [
            *_about_service([each for each in self.rounds if each.awaited], self.service_times_ms, self.limits),
            *_about_voters(self.rounds, self.limits.full_voter_ms),
            *_about_kills(self.rounds, self.node_ids, self.kills_each),
            *_about_load(self.attempts, len(self.rounds)),
            *(f"{count} times {kind}" for kind, count in Counter(v.kind for v in self.violations).items()),
            *self.defects,
        ]


def _about_service(rounds: Sequence[Round], times_ms: Sequence[float], limits: Limits) -> list[str]:
    if not rounds:
        return ["not one round was run"]
    complaints, middle_ms, most_ms = [], limits.service_median_ms, limits.service_most_ms
    if len(times_ms) < len(rounds):
        complaints.append(f"service did not come back in {len(rounds) - len(times_ms)} of {len(rounds)} rounds")
    if middle_ms is not None and times_ms and median(times_ms) >= middle_ms:
        complaints.append(f"service back after {median(times_ms):.0f} ms (median), limit {middle_ms:.0f} ms")
    quick = sum(most_ms is None or time_ms < most_ms for time_ms in times_ms)
    if most_ms is not None and quick < ceil(MOST * len(rounds)):
        complaints.append(f"service back within {most_ms:.0f} ms in only {quick} of {len(rounds)} rounds")
    return complaints


def _about_voters(rounds: Sequence[Round], limit_ms: float | None) -> list[str]:
    if limit_ms is None:
        return []
    late = [each for each in rounds if each.kills and not _voter_in_time(each, limit_ms)]
    return [f"{'/'.join(each.nodes)} was a full voter {_after(each.full_voter_ms, limit_ms)}" for each in late]


def _voter_in_time(each: Round, limit_ms: float) -> bool:
    return each.full_voter_ms is not None and each.full_voter_ms <= limit_ms


def _after(time_ms: float | None, limit_ms: float) -> str:
    limit = f"limit {limit_ms:.0f} ms"
    return f"not at all, {limit}" if time_ms is None else f"after {time_ms:.0f} ms, {limit}"


def _about_kills(rounds: Sequence[Round], node_ids: Sequence[str], kills_each: int) -> list[str]:
    kills = Counter(node for each in rounds if each.kills for node in each.nodes)
    return [
        f"{node} was killed {kills[node]} times, wanted {kills_each}" for node in node_ids if kills[node] < kills_each
    ]


def _about_load(attempts: dict[str, int], rounds: int) -> list[str]:
    acknowledged, wanted = attempts.get("acknowledged", 0), ACKNOWLEDGED_PER_ROUND * rounds
    return [f"only {acknowledged} writes were acknowledged, wanted {wanted}"] if acknowledged < wanted else []
