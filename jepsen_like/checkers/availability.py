"""How well the cluster served: the longest time without service, errors by kind, the rate. Pure.

    complaint           demanded
    too few             at least `minimumRatePerS` successful operations a second over the whole run
    nothing was asked   an operation at all

All else is told, and not judged: how long a cluster may be away depends on what is done to it, and `liveness` says what
must be.

    longest_gap_ms          the longest time without a success, while somebody waited for an answer
    longest_gap_faulty_ms   of those during which a fault was on
    longest_gap_quiet_ms    of the others
    longest_recovery_ms     the longest time from the end of a fault to the next success
    successes, rate_per_s   an operation is one, and so is a batch, if all its items were served
    failures, unknown       definite errors that are no service, and outcomes that nobody knows
    errors                  by code, how often, most frequent first; `unanswered` where there was no answer at all
    unknown_by_name         which operations are of unknown outcome

*Success* is any answer, also that a condition did not hold or that a request can never work: see `keys.served`. A fault
that was not over when the run ended was on until then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, compress
from typing import NamedTuple

from jepsen_like.checkers.expanding import expand
from jepsen_like.checkers.keys import served
from jepsen_like.checkers.observed import HistoryChecker, Observed
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Fault, Operation, Outcome

MINIMUM_RATE_PER_S = 1.0
UNANSWERED = "unanswered"


class Gap(NamedTuple):
    """A time without a success."""

    began_ms: float
    ended_ms: float

    @property
    def length_ms(self) -> float:
        """How long it was."""
        return self.ended_ms - self.began_ms


class Availability(HistoryChecker):
    """See the module. `minimum_rate_per_s` holds where the header's options name none."""

    name = "availability"

    def __init__(self, minimum_rate_per_s: float = MINIMUM_RATE_PER_S) -> None:
        self._minimum_rate_per_s = minimum_rate_per_s

    def judge(self, observed: Observed) -> Verdict:
        """Count, and demand the minimum rate."""
        operations = observed.operations
        successes = [each for each in operations if _failed_part(each) is None]
        seconds = _span_ms(operations) / 1000
        rate_per_s = len(successes) / seconds if seconds else float(len(successes))
        least_per_s = observed.setting.number("minimumRatePerS", self._minimum_rate_per_s)
        gaps = list(_gaps(operations, successes))
        faults = observed.setting.faults
        faulty = [any(_overlaps(gap, fault) for fault in faults) for gap in gaps]
        unknown = [each for each in operations if each.outcome is Outcome.UNKNOWN]
        figures = {
            "operations": len(operations),
            "successes": len(successes),
            "rate_per_s": round(rate_per_s, 3),
            "minimum_rate_per_s": least_per_s,
            "failures": len(operations) - len(successes) - len(unknown),
            "unknown": len(unknown),
            "unknown_by_name": dict(Counter(each.invoked.name for each in unknown)),
            "errors": dict(Counter(_errors(operations)).most_common()),
            "longest_gap_ms": _longest_ms(gaps),
            "longest_gap_faulty_ms": _longest_ms(list(compress(gaps, faulty))),
            "longest_gap_quiet_ms": _longest_ms([gap for gap, struck in zip(gaps, faulty, strict=True) if not struck]),
            "longest_recovery_ms": _longest_ms([_recovery(fault, gaps) for fault in faults]),
        }
        summary = (
            f"{len(successes):,} of {len(operations):,} operations succeeded, {rate_per_s:,.1f} a second; "
            f"the longest time without one was {_longest_ms(gaps) / 1000:,.2f} s; {len(unknown):,} of unknown outcome"
        )
        return verdict(self.name, summary, _complaints(operations, rate_per_s, least_per_s), **figures)


def _complaints(operations: list[Operation], rate_per_s: float, least_per_s: float) -> Iterator[Complaint]:
    if not operations:
        yield Complaint("nothing was asked")
    elif rate_per_s < least_per_s:
        yield Complaint(f"too few operations succeeded: {rate_per_s:,.2f} a second, and {least_per_s:g} is the least")


def _span_ms(operations: list[Operation]) -> float:
    """From the first invocation to the last event of any operation."""
    return max(map(_last_ms, operations)) - operations[0].began_ms if operations else 0.0


def _last_ms(operation: Operation) -> float:
    """The time of its last event."""
    return (operation.completed or operation.invoked).time_ms


def _gaps(operations: list[Operation], successes: list[Operation]) -> Iterator[Gap]:
    """Between each success and the next, from the first invocation to the end of the last operation, and only as far as
    somebody waits: who asks nothing misses nothing."""
    if not operations:
        return
    ended = sorted(operations, key=_last_ms)
    ends_ms = [_last_ms(each) for each in ended]
    began_ms = [each.began_ms for each in ended]
    waiting_since_ms = list(accumulate(reversed(began_ms), min))[::-1]
    before_ms = operations[0].began_ms
    for at_ms in [*sorted(each.ended_ms for each in successes), ends_ms[-1]]:
        place = bisect_right(ends_ms, before_ms)
        yield Gap(max(before_ms, waiting_since_ms[place]) if place < len(ended) else at_ms, at_ms)
        before_ms = at_ms


def _overlaps(gap: Gap, fault: Fault) -> bool:
    return fault.began_ms < gap.ended_ms and gap.began_ms < fault.ended_ms


def _recovery(fault: Fault, gaps: list[Gap]) -> Gap:
    """From the end of a fault to the next success; of no length where the run ended first."""
    after = next((gap for gap in gaps if gap.ended_ms >= fault.ended_ms), None)
    return Gap(fault.ended_ms, after.ended_ms) if after is not None else Gap(0.0, 0.0)


def _longest_ms(gaps: list[Gap]) -> float:
    return round(max((gap.length_ms for gap in gaps), default=0.0), 3)


def _failed_part(operation: Operation) -> Operation | None:
    """What was not served: the operation, or the first such item of a batch."""
    return next((item for item in expand([operation]) if not served(item)), None)


def _errors(operations: list[Operation]) -> Iterator[str]:
    for each in operations:
        part = _failed_part(each)
        if part is not None:
            yield part.completed.error or UNANSWERED if part.completed is not None else UNANSWERED
