"""A namespace that is filled far over its quota, beside one without.

Nothing of the neighbour may be missing in the end, and of the full one there is never more than its quota: that can be
counted when nobody writes any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

FULL, NEIGHBOUR = "jl-full", "jl-neighbour"
QUOTA, KEYS, NEIGHBOURS = 40, 160, 30
EVICTION = ("lru", "s3fifo")


class Quota:
    """The workload."""

    name = "quota"
    summary = "a namespace filled over its quota, beside one that must lose nothing by it"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._values = 0

    def namespaces(self) -> Policies:
        """The full one acknowledges from memory; the neighbour, whose keys must all be there, after a quorum."""
        full = policy("primary", quotaItems=QUOTA, eviction=EVICTION[0])
        return {FULL: full, NEIGHBOUR: policy("quorum")}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """Mostly writes to the full one."""
        dice = random.random()
        if dice < 0.2:
            return self._write(f"{NEIGHBOUR}:k{random.randrange(NEIGHBOURS)}")
        key = f"{FULL}:k{random.randrange(KEYS)}"
        return Request(name="read", key=key) if dice < 0.35 else self._write(key)

    def _write(self, key: str) -> Request:
        self._values += 1
        return Request(name="write", key=key, value=self._values)

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Nothing depends on it."""

    def settle(self) -> list[Request]:
        """Liveness: both can be written."""
        return [self._write(f"{FULL}:k0"), self._write(f"{NEIGHBOUR}:k0")]

    def final(self) -> Iterator[list[Request]]:
        """Read every key."""
        yield reads(f"{FULL}:k{number}" for number in range(KEYS))
        yield reads(f"{NEIGHBOUR}:k{number}" for number in range(NEIGHBOURS))

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        return ("quota", *ALWAYS)
