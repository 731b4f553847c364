"""Which line of the timeline an operation is drawn on. Pure.

A process does one thing at a time, so a lane for each process shows everything. But a process whose operation stays
open is not used again, another takes its place, and a run with a thousand timeouts has a thousand processes, most with
a handful of operations. From some number of processes on, those that succeed each other therefore share a lane, which
is what a client of the workload is. Handing each process, by the time of its first question, a lane that is free at
that time needs no more lanes than there were processes at work at once: the greedy partition of intervals (Kleinberg
and Tardos, *Algorithm Design*, 4.1).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import msgspec

from jepsen_like.history import Operation
from jepsen_like.page.figures import given_up_ms

EACH_ITS_OWN = 40
"""Processes that still get a lane each: they fit on a screen."""


class Lanes(msgspec.Struct):
    """The processes of every lane, in the order in which they worked."""

    processes: list[list[int]]

    def places(self) -> dict[int, int]:
        """The lane of each process."""
        return {process: lane for lane, processes in enumerate(self.processes) for process in processes}

    @property
    def shared(self) -> bool:
        """Whether any lane has more than one process."""
        return any(len(processes) > 1 for processes in self.processes)


def lanes(operations: Sequence[Operation], each_its_own: int = EACH_ITS_OWN) -> Lanes:
    """A lane for each process, by its number; shared lanes where there are more than `each_its_own`."""
    spans = _spans(operations)
    if len(spans) <= each_its_own:
        return Lanes([[process] for process in sorted(spans)])
    return Lanes(_packed(spans))


def _spans(operations: Iterable[Operation]) -> dict[int, tuple[float, float]]:
    """From when to when each process was at work, ms. It does one thing at a time, so its last is over last."""
    spans: dict[int, tuple[float, float]] = {}
    for each in operations:
        began_ms, _ = spans.get(each.invoked.process, (each.began_ms, 0.0))
        spans[each.invoked.process] = began_ms, given_up_ms(each)
    return spans


def _packed(spans: dict[int, tuple[float, float]]) -> list[list[int]]:
    packed: list[list[int]] = []
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    for process in sorted(spans, key=lambda each: (spans[each][0], each)):
        began_ms, ended_ms = spans[process]
        while busy and busy[0][0] <= began_ms:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            packed.append([])
            free.append(len(packed) - 1)
        lane = heapq.heappop(free)
        packed[lane].append(process)
        heapq.heappush(busy, (ended_ms, lane))
    return sorted(packed)
