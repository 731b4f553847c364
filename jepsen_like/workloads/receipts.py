"""Receipts: what the cluster says of a version, held against what is there.

Each write has a key of its own and its own level, at or above the policy's, so it is there exactly where it was not
lost. Receipts are asked for of the newest versions, which are those not settled yet, some with a wait. In the end all
are asked for twice (asking makes a version durable, so the second time it says so), all keys are read, and the cluster
reports what it lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes, reads_of_many, receipt
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-receipts"
RECENT = 40
WAIT_LIMIT_MS = 600
LEVELS = ("primary", "quorum", "durable")


class Receipts:
    """The workload."""

    name = "receipts"
    summary = "writes at all levels, and receipts of them, early and in the end"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._values = 0
        self._acked = Acknowledged()
        self._levels = LEVELS[LEVELS.index(options.ack) :]

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """Two writes for every receipt."""
        recent = self._acked.recent(RECENT) if random.random() < 0.35 else []
        if recent:
            key, version = random.choice(recent)
            return receipt(key, version, random.choice((0, random.randrange(1, WAIT_LIMIT_MS))))
        self._values += 1
        level = random.choice(("", "", *self._levels))
        return Request(name="write", key=f"{NAMESPACE}:w{self._values}", value=self._values, level=level)

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Note what was acknowledged."""
        self._acked.note(request, told)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """What became of it all, from every side."""
        yield self._acked.receipts()
        yield self._acked.receipts()
        yield reads_of_many(f"{NAMESPACE}:w{number}" for number in range(1, self._values + 1))
        yield lost_writes([NAMESPACE])

    def checkers(self) -> tuple[str, ...]:
        """Its own, and how much was lost."""
        return ("receipts", *(("loss-window",) if self._options.ack == "primary" else ()), *ALWAYS)
