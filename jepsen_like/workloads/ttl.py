"""Times to live: a key lives while it should, and not longer, across changes of leader and steps of clocks.

Each key is new. It is written with a time to live, and read at moments around its end; to some something happens in the
middle of their lives: they are given another time to live, or are written again, without one. What is to be asked later
waits in a heap by its time, and when enough waits there nothing new is begun.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-ttl"
TTL_S = (0.3, 4.0)
WAITING_PER_WORKER = 12
PAUSE_S = 0.02
AROUND_END_MS = (-150, -20, 5, 60, 400)
"""When a key is read, counted from the end of its time."""
IMMORTAL_KEPT = 100


class Ttl:
    """The workload."""

    name = "ttl"
    summary = "keys with a time to live, read around its end; times to live that change"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._limit = WAITING_PER_WORKER * options.processes
        self._later: list[tuple[float, int, Request]] = []
        self._made = self._values = 0
        self._immortal: list[str] = []

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """What is due, or a new key."""
        if self._later and self._later[0][0] <= now_ms:
            return heapq.heappop(self._later)[2]
        if len(self._later) >= self._limit:
            return min(PAUSE_S, (self._later[0][0] - now_ms) / 1000)
        return self._begin(now_ms, random)

    def _begin(self, now_ms: float, random: Random) -> Request:
        """A key's first write, with all that is to happen to it."""
        self._made += 1
        key, ttl_s = f"{NAMESPACE}:t{self._made}", round(random.uniform(*TTL_S), 3)
        middle_ms, kind = now_ms + ttl_s * random.uniform(200, 700), random.random()
        self._at(middle_ms, Request(name="read", key=key))
        end_ms = now_ms + ttl_s * 1000
        if kind < 0.25:
            other_s = round(random.uniform(*TTL_S), 3)
            self._at(middle_ms, Request(name="expire", key=key, value=other_s))
            end_ms = middle_ms + other_s * 1000
        elif kind < 0.35:
            self._at(middle_ms, self._write(key))
            self._immortal = [*self._immortal[-IMMORTAL_KEPT + 1 :], key]
        for offset_ms in random.sample(AROUND_END_MS, 3):
            self._at(end_ms + offset_ms, Request(name="read", key=key))
        return self._write(key, ttlSeconds=ttl_s)

    def _write(self, key: str, **details: float) -> Request:
        self._values += 1
        return Request(name="write", key=key, value=self._values, details=details)

    def _at(self, time_ms: float, request: Request) -> None:
        self._made += 1  # Breaks ties: requests have no order.
        heapq.heappush(self._later, (time_ms, self._made, request))

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Nothing depends on it."""

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """Read what was written again without an end."""
        yield reads(self._immortal)

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        return ("ttl", *ALWAYS)
