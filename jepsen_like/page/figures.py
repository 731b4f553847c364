"""What happened in a run, counted: by window of time, by name of the operation, by error. Pure.

When does an operation count? An answer counts when it came, in the rates; a question without an answer counts when it
was put, since there is no other time at which it is known to have happened. A latency stands at the time of the
question: a stall of five seconds is then seen as it was, a slope of operations that all waited for its end.
Percentiles are of operations that succeeded. Errors are often quick, and would make a broken cluster look fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from jepsen_like.history import Fault, Operation, Outcome
from raftcache.cli.replaying import percentile

WINDOWS_MOST = 250
"""Over a run: a window is then some four pixels wide on a desktop."""

UNANSWERED = "(never answered)"
"""In place of an error, for what was still open when the run ended."""

WITHOUT_CODE = "(no code)"


class Windows(msgspec.Struct, kw_only=True):
    """Windows of equal width from the start of the run, in columns. Percentiles are None where nothing succeeded."""

    width_ms: float
    ok: list[int]
    fail: list[int]
    unknown: list[int]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Tally(msgspec.Struct, kw_only=True):
    """How operations ended, and how long those took that succeeded."""

    ok: int
    fail: int
    unknown: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @property
    def all(self) -> int:
        """Every operation."""
        return self.ok + self.fail + self.unknown


class ErrorKind(msgspec.Struct, kw_only=True):
    """An error, how often it was met and where; times are those of the questions."""

    error: str
    fail: int
    unknown: int
    names: dict[str, int]
    """How many operations of each name, most first."""
    first_ms: float
    last_ms: float
    during_faults: int
    """How many overlap a fault; those of unknown outcome up to when they were given up."""


def tally(operations: Iterable[Operation]) -> Tally:
    """Of any operations."""
    counts: Counter[Outcome] = Counter()
    took_ms = []
    for each in operations:
        counts[each.outcome] += 1
        if each.outcome is Outcome.OK:
            took_ms.append(each.ended_ms - each.began_ms)
    took_ms.sort()
    p50_ms, p99_ms, max_ms = (_percentile(took_ms, fraction) for fraction in (0.5, 0.99, 1.0))
    ok, fail, unknown = (counts[outcome] for outcome in Outcome)
    return Tally(ok=ok, fail=fail, unknown=unknown, p50_ms=p50_ms, p99_ms=p99_ms, max_ms=max_ms)


def _percentile(ordered: list[float], fraction: float) -> float | None:
    return round(percentile(ordered, fraction), 3) if ordered else None


def tallies(operations: Sequence[Operation]) -> dict[str, Tally]:
    """By the operations' names, in alphabetical order."""
    by_name: dict[str, list[Operation]] = {}
    for each in operations:
        by_name.setdefault(each.invoked.name, []).append(each)
    return {name: tally(by_name[name]) for name in sorted(by_name)}


def width_ms(duration_ms: float, most: int = WINDOWS_MOST) -> float:
    """Of windows: the shortest of 1, 2, 2.5, 5, 10, 20, 25, ... ms of which `most` cover the run."""
    least_ms = max(duration_ms / most, 1.0)
    magnitude = 10.0 ** math.floor(math.log10(least_ms))
    return next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= least_ms)


def windows(operations: Iterable[Operation], duration_ms: float) -> Windows:
    """Rates and percentiles over the run."""
    width = width_ms(duration_ms)
    count = max(math.ceil(duration_ms / width), 1)
    totals = {outcome: [0] * count for outcome in Outcome}
    took_ms: list[list[float]] = [[] for _ in range(count)]
    for each in operations:
        open_for_ever = each.outcome is Outcome.UNKNOWN
        totals[each.outcome][_place(each.began_ms if open_for_ever else each.ended_ms, width, count)] += 1
        if each.outcome is Outcome.OK:
            took_ms[_place(each.began_ms, width, count)].append(each.ended_ms - each.began_ms)
    for taken in took_ms:
        taken.sort()
    p50_ms, p99_ms = ([_percentile(taken, fraction) for taken in took_ms] for fraction in (0.5, 0.99))
    ok, fail, unknown = (totals[outcome] for outcome in Outcome)
    return Windows(width_ms=width, ok=ok, fail=fail, unknown=unknown, p50_ms=p50_ms, p99_ms=p99_ms)


def _place(time_ms: float, width_ms: float, count: int) -> int:
    return min(max(int(time_ms // width_ms), 0), count - 1)


def given_up_ms(operation: Operation) -> float:
    """When its process heard of it for the last time: the answer, or that there will be none; infinity for nothing."""
    return operation.completed.time_ms if operation.completed is not None else math.inf


def error_of(operation: Operation) -> str:
    """Its error, or what stands in its place; "" for what succeeded."""
    if operation.completed is None:
        return UNANSWERED
    return "" if operation.outcome is Outcome.OK else operation.completed.error or WITHOUT_CODE


def error_kinds(operations: Iterable[Operation], faults: Sequence[Fault]) -> list[ErrorKind]:
    """Every error that was met, the most frequent first."""
    by_error: dict[str, list[Operation]] = {}
    for each in operations:
        if each.outcome is not Outcome.OK:
            by_error.setdefault(error_of(each), []).append(each)
    kinds = [_error_kind(error, found, faults) for error, found in by_error.items()]
    return sorted(kinds, key=lambda kind: (-kind.fail - kind.unknown, kind.error))


def _error_kind(error: str, operations: list[Operation], faults: Sequence[Fault]) -> ErrorKind:
    times_ms = [each.began_ms for each in operations]
    failed = sum(each.outcome is Outcome.FAIL for each in operations)
    return ErrorKind(
        error=error,
        fail=failed,
        unknown=len(operations) - failed,
        names=dict(Counter(each.invoked.name for each in operations).most_common()),
        first_ms=min(times_ms),
        last_ms=max(times_ms),
        during_faults=sum(any(_overlap(each, fault) for fault in faults) for each in operations),
    )


def _overlap(operation: Operation, fault: Fault) -> bool:
    return operation.began_ms <= fault.ended_ms and fault.began_ms <= given_up_ms(operation)
