"""A set, one key an element: what was inserted is there, and stays. Pure.

The analysis is that of Jepsen's `set-full`. An element is a key that is written one value only and never changed
otherwise; it may be written again by retries. Of each, the linearizable reads that began after its insertion was
acknowledged tell what became of it:

    ok          all of these reads show it
    lost        the last of them misses it, and no read shows it later
    stale       one missed it, and it was found by a read that ended after that one had begun
    never_read  there is no such read: it may be lost, so the verdict is no pass
    recovered   its outcome is unknown, and it was found
    unknown     its outcome is unknown, and it was not found
    refused     every attempt failed
    excused     a majority may have forgotten it

Lost and stale elements are complaints if they were answered above `primary`, or if `fates` tells that they are
committed. Others that are lost have their bound in `loss_window`, and are only counted here. Further complaints:

    refused     it was refused, and a read shows it
    foreign     a read shows a value that nobody had tried to write by then
    repeated    a kept element stands under another version than its answer gave, and no other attempt can have put it
                there

Reads at other levels show what is there, but a miss in them proves nothing.

**Not judged**: keys that were written several values, changed by anything but `write`, with a time to live, or of a
namespace that may have been dropped after the first attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from jepsen_like.checkers.fates import Fates
from jepsen_like.checkers.keys import NEVER, Change, Read, shown
from jepsen_like.checkers.observed import HistoryChecker, Observed, unknown
from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import Outcome
from raftcache.commands.types import AckLevel


class Sets(HistoryChecker):
    """See the module."""

    name = "set"

    def judge(self, observed: Observed) -> Verdict:
        """Tell of every element what became of it."""
        fates = Fates(observed)
        elements = [Element(observed, fates, key) for key in sorted(observed.changes) if _is_element(observed, key)]
        complaints = [complaint for element in elements for complaint in element.complaints()]
        states = Counter(element.state for element in elements)
        figures = {"elements": len(elements), "unjudged": len(observed.changes) - len(elements)}
        figures |= {state: states[state] for state in STATES}
        summary = f"{len(elements):,} elements: " + ", ".join(f"{states[state]:,} {state}" for state in STATES)
        judged = states["ok"] + states["lost"] + states["stale"]
        if not complaints and (states["never_read"] or not judged):
            return unknown(self.name, summary, **figures)
        return verdict(self.name, summary, complaints, **figures)


STATES = ("ok", "lost", "stale", "never_read", "recovered", "unknown", "refused", "excused")


def _is_element(observed: Observed, key: str) -> bool:
    changes = observed.changes[key]
    began_ms = min(change.began_ms for change in changes)
    values = {msgspec.json.encode(change.asked) for change in changes}
    plain = all(change.name == "write" and change.ttl_ms is None for change in changes)
    return plain and len(values) == 1 and not observed.dropped_since(key, began_ms)


class Element:
    """One key, and what reads show of it."""

    def __init__(self, observed: Observed, fates: Fates, key: str) -> None:
        self.key, self._seen, self._fates = key, observed, fates
        self.attempts = observed.changes[key]
        self.value = self.attempts[0].asked
        answered = [attempt for attempt in self.attempts if attempt.outcome is Outcome.OK]
        self.excused = any(observed.excused(attempt) for attempt in answered)
        self.answered = [] if self.excused else answered
        self.reads = observed.reads.get(key, [])
        self.found = [read for read in self.reads if read.value is not None]
        self.acked = min(self.answered, key=lambda attempt: attempt.ended_ms, default=None)
        since_ms = self.acked.ended_ms if self.acked is not None else NEVER
        self._since = [read for read in self.reads if read.proved and read.began_ms > since_ms]
        self.missed = [read for read in self._since if read.value is None]
        self.state = self._state()

    @property
    def keeping(self) -> list[Change]:
        """The answers that promise never to lose it, or whose writes were committed."""
        fates = self._fates
        return [each for each in self.answered if each.level > AckLevel.PRIMARY or fates.is_committed(each.version)]

    def _state(self) -> str:
        if self.excused:
            return "excused"
        if self.acked is None:
            if all(attempt.refused for attempt in self.attempts):
                return "refused"
            return "recovered" if self.found else "unknown"
        if not self._since:
            return "never_read"
        if not self.missed:
            return "ok"
        return "stale" if self._found_after(self.missed[-1]) is not None else "lost"

    def _found_after(self, miss: Read) -> Read | None:
        return next((read for read in self.found if read.committed and read.ended_ms > miss.began_ms), None)

    def complaints(self) -> Iterator[Complaint]:
        """Whatever cannot be."""
        yield from self._of_missing()
        for read in self.found:
            text = self._wrong_with(read)
            if text is not None:
                yield Complaint(f"{self.key}: {text}", [read.number, *(attempt.number for attempt in self.attempts)])

    def _of_missing(self) -> Iterator[Complaint]:
        for answer in self.keeping:
            missed = next((read for read in self.missed if read.began_ms > answer.ended_ms), None)
            if missed is None:
                continue
            found = self._found_after(missed)
            what = "is lost" if found is None else "was missing for a while: a stale read"
            text = f"{self.key}: acknowledged at {answer.level.name.lower()} as {answer.version}, and {what}"
            yield Complaint(text, [answer.number, missed.number, *([found.number] if found is not None else [])])
            return

    def _wrong_with(self, read: Read) -> str | None:
        begun = [attempt for attempt in self.attempts if attempt.began_ms <= read.ended_ms]
        if not begun or msgspec.json.encode(read.value) != msgspec.json.encode(self.value):
            return f"{shown(read.value)} was read, and is foreign: nobody had tried to write it"
        if all(attempt.refused for attempt in begun):
            return "it was refused, and is there after all"
        return self._repeated(read)

    def _repeated(self, read: Read) -> str | None:
        """Whether another execution must have put it there."""
        versions = {answer.version for answer in self.answered}
        alive = [attempt for attempt in self.attempts if not attempt.refused]
        keys = {attempt.idempotency for attempt in alive}
        one_write = len(alive) == 1 or (len(keys) == 1 and None not in keys)
        sure = [answer for answer in self.keeping if answer.version is not None]
        if not sure or not one_write or read.version is None or read.version in versions or not read.committed:
            return None
        return f"acknowledged as {sure[0].version}, and repeated: it stands there as {read.version}"
