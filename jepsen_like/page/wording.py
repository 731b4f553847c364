"""The sentences that the page, the document and the terminal share. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.checking import Judgement, Verdict, worst
from jepsen_like.history import Header, Operation, Outcome
from jepsen_like.page.columns import answer, named, shown
from jepsen_like.page.figures import error_of


def why(verdicts: Sequence[Verdict]) -> str:
    """One line: what the verdict of the run rests on."""
    if not verdicts:
        return "no checker judged this run"
    judgement = worst(verdicts)
    first, *more = (each for each in verdicts if each.judgement is judgement)
    if judgement is Judgement.PASS:
        return f"{counted(len(verdicts), 'checker')} found nothing wrong"
    others = f" (and {', '.join(each.checker for each in more)})" if more else ""
    return f"{first.checker}: {first.summary}{others}"


def facts(header: Header) -> list[tuple[str, str]]:
    """What the run was: names and values, without those that are not known."""
    clock = "virtual seconds" if header.target == "simulation" else "seconds"
    listed = (
        ("workload", header.workload),
        ("nemeses", ", ".join(header.nemeses) or "none"),
        ("ack level", header.ack),
        ("target", header.target),
        ("seed", str(header.seed)),
        ("planted bug", header.plant),
        (clock, f"{header.seconds:g}" if header.seconds else ""),
        ("started", header.started_at),
        ("versions", named(header.versions)),
        ("options", named({name: value for name, value in header.options.items() if name != "plan"})),
    )
    return [(name, value) for name, value in listed if value]


def title(header: Header) -> str:
    """A run in a few words."""
    broken = f" under {', '.join(header.nemeses)}" if header.nemeses else ""
    return f"{header.workload or 'run'}{broken}, seed {header.seed}"


def described(operation: Operation) -> str:
    """What was asked, and what came of it: `cas bank:k3 [1,2] failed: condition_failed`."""
    invoked = operation.invoked
    asked = " ".join(filter(None, (invoked.name, invoked.key, shown(invoked.value))))
    if operation.outcome is Outcome.OK:
        told = answer(operation)
        return f"{asked} → {told}" if told else asked
    ending = "failed" if operation.outcome is Outcome.FAIL else "outcome unknown"
    return f"{asked} {ending}: {error_of(operation)}"


def counted(count: int, what: str) -> str:
    """`1 fault`, `1,200 faults`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def milliseconds(time_ms: float | None) -> str:
    """With three digits; a dash for None."""
    if time_ms is None:
        return "–"
    return f"{time_ms:,.0f} ms" if time_ms >= 100 else f"{time_ms:.3g} ms"


def seconds(time_ms: float) -> str:
    """A point of time in the run."""
    return f"{time_ms / 1000:,.3f} s"
