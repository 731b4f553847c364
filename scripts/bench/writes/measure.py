"""Counting what happens within a stretch of time, and the statistics of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from writes.spec import Outcome

_UTIME, _STIME = 11, 12
"""Places in `/proc/PID/stat` after the command's name, which is in brackets and may hold anything."""


def cpu_seconds(stat: str, ticks_per_second: int) -> float:
    """Processor time of all threads of a process, from the text of its `/proc/PID/stat`."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / ticks_per_second


def cpu_of(pids: Iterable[int]) -> list[float]:
    """Processor time of each of these processes so far, in seconds. Raises OSError where one is gone."""
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    return [cpu_seconds(Path(f"/proc/{pid}/stat").read_text(), ticks_per_second) for pid in pids]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the `ordered` values do not exceed; 0 where there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times the median of `theirs` the median of `ours` is."""
    return median(ours) / median(theirs)


class Meter:
    """Counts what ends between `open` and `close`; what ends before or after is not counted."""

    def __init__(self, pids: tuple[int, ...]) -> None:
        self._pids = pids
        self._open = False
        self._latencies: list[float] = []
        self._failures: Counter[str] = Counter()
        self._began = self._load_cpu = 0.0
        self._servers_cpu: list[float] = []

    def open(self) -> None:
        """Begin."""
        self._servers_cpu = cpu_of(self._pids)
        self._began, self._load_cpu = time.perf_counter(), time.process_time()
        self._open = True

    def done(self, began: float) -> None:
        """A write that was sent at `began` (`time.perf_counter()`) is acknowledged."""
        if self._open:
            self._latencies.append(time.perf_counter() - began)

    def failed(self, error: str) -> None:
        """A write was not acknowledged."""
        if self._open:
            self._failures[error] += 1

    def close(self) -> Outcome:
        """End, and say what was counted."""
        self._open = False
        seconds, load_cpu_s = time.perf_counter() - self._began, time.process_time() - self._load_cpu
        servers_cpu_s = tuple(now - then for now, then in zip(cpu_of(self._pids), self._servers_cpu, strict=True))
        ordered = sorted(self._latencies)
        return Outcome(
            writes=len(ordered),
            seconds=seconds,
            p50_ms=quantile(ordered, 0.5) * 1000,
            p99_ms=quantile(ordered, 0.99) * 1000,
            servers_cpu_s=servers_cpu_s,
            load_cpu_s=load_cpu_s,
            failures=dict(self._failures),
        )
