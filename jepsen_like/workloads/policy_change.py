"""Policies that change, and namespaces that come and go, while they are used.

Each owner (a worker) has one namespace, which it tightens, loosens, deletes and creates again, one change at a time.
The other workers write and read there all the while, every third value larger than a tight policy allows. So a checker
knows between which answers which policy was in force:

- a write begun after the reply to a change is answered at the policy's level or above, and refused if it is too large;
- after the reply to a deletion or a creation, nothing is read that was written in an earlier life of the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

PREFIX = "jl-owned"
OWNERS = 2
"""The workers from 0 on. With fewer than four workers there is one."""
KEYS = 4
TIGHT_BYTES, LOOSE_BYTES = 40, 120
"""The size limits of policies."""
LARGE_BYTES = 80
"""The size of every third value. It is stored as JSON, so a little more."""
ACKS = ("primary", "quorum", "durable")
PAUSE_S = (0.1, 1.5)


class PolicyChange:
    """The workload."""

    name = "policy-change"
    summary = "policies tightened and loosened, namespaces deleted and created, under use"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._keys = options.keys or KEYS
        self._acks = ACKS if options.ack == "durable" else ACKS[:2]
        owners = OWNERS if options.processes >= 2 * OWNERS else 1
        self._names = [f"{PREFIX}{number}" for number in range(owners)]
        self._rested: set[int] = set()
        self._maybe_there = set(self._names)
        self._values = 0

    def namespaces(self) -> Policies:
        """All of them, as they begin."""
        return {name: self._document("quorum", LOOSE_BYTES) for name in self._names}

    def _document(self, ack: str, limit_bytes: int) -> dict[str, Any]:
        return policy(ack, readLevel="linearizable", maxItemBytes=limit_bytes)

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """An owner's next change after a pause; anybody else uses a namespace."""
        if worker >= len(self._names):
            return self._use(random)
        if worker not in self._rested:
            self._rested.add(worker)
            return random.uniform(*PAUSE_S)
        self._rested.discard(worker)
        name = self._names[worker]
        if name in self._maybe_there and random.random() < 0.3:
            return Request(name="delete-namespace", key=name)
        self._maybe_there.add(name)
        document = self._document(random.choice(self._acks), random.choice((TIGHT_BYTES, LOOSE_BYTES)))
        return Request(name="set-namespace", key=name, value=document)

    def _use(self, random: Random) -> Request:
        key = f"{random.choice(self._names)}:k{random.randrange(self._keys)}"
        if random.random() < 0.45:
            return Request(name="read", key=key)
        self._values += 1
        value = f"{self._values}."
        return Request(name="write", key=key, value=value if self._values % 3 else value.ljust(LARGE_BYTES, "x"))

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Know whether there is anything to delete."""
        if request.name == "delete-namespace" and told.kind == "ok":
            self._maybe_there.discard(request.key)

    def settle(self) -> list[Request]:
        """Liveness: a change is confirmed for every namespace."""
        return [Request(name="set-namespace", key=name, value=found) for name, found in self.namespaces().items()]

    def final(self) -> Iterator[list[Request]]:
        """Read every key."""
        yield reads(f"{name}:k{number}" for name in self._names for number in range(self._keys))

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        return ("policies", *ALWAYS)
