"""What is said of a run as a whole, beside its checkers: did it go through, and was anything broken. Pure.

A run whose faults were all skipped, or never struck, shows nothing of them, and is no pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jepsen_like.checkers.observed import unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Fault, History

NAME = "run"
OTHERS_BROKEN = "not whole"
"""How a rolling restart says that it stopped, since other faults had left no node to spare."""
_PLANNED = "target", "majority"
"""What the details of a fault have that a plan brought about, and not the run itself."""


def conclude(history: History, trouble: Sequence[str], must_strike: bool = True) -> Verdict:
    """The verdict called `run`, in the same form as a checker's. Of a sweep not every run must have had a fault."""
    planned = [fault for fault in history.faults() if any(word in fault.details for word in _PLANNED)]
    struck = [fault for fault in planned if "skipped" not in fault.details]
    complaints = [*trouble, *unmended(struck)]
    figures = {"struck": len(struck), "skipped": len(planned) - len(struck)}
    summary = f"{len(struck):,} faults struck, {figures['skipped']:,} could not"
    if complaints:
        return verdict(NAME, complaints[0], map(Complaint, complaints), **figures)
    if must_strike and history.header.nemeses and not struck:
        return unknown(NAME, f"no fault of {', '.join(history.header.nemeses)} struck", **figures)
    return verdict(NAME, summary, (), **figures)


def unmended(faults: Sequence[Fault]) -> Iterator[str]:
    """What was to come back and did not."""
    for fault in faults:
        nodes, why = ", ".join(fault.details.get("nodes", ())), str(fault.details.get("why", ""))
        if fault.details.get("back") is False and not why.startswith(OTHERS_BROKEN):
            yield f"{fault.name} at {fault.began_ms / 1000:,.1f} s: {nodes} did not come back"
        if "notHealed" in fault.details:
            yield f"{fault.name} at {fault.began_ms / 1000:,.1f} s was not healed: {fault.details['notHealed']}"
