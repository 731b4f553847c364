"""Reads from replicas: no older than they say, no older than was asked for, and never before what a session has seen.

Values of a few keys are written by everybody. A worker reads from replicas with a bound on the staleness or none, and
mostly with the version as `minVersion` that it has seen last of that key, in a write of its own or in a read: what it
sees of a key must never go back then, whichever node it asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-replicas"
KEYS = 4
STALENESS_MS = (None, None, 150, 400, 1500)


class ReplicaReads:
    """The workload."""

    name = "replica-reads"
    summary = "reads from replicas with staleness bounds and minVersion"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = [f"{NAMESPACE}:k{number}" for number in range(options.keys or KEYS)]
        self._seen: dict[tuple[int, str], str] = {}
        self._values = 0

    def namespaces(self) -> Policies:
        """One, which reads at `committed` where writes may be lost: a session must not see what goes away again."""
        level = "committed" if self._options.ack == "primary" else "linearizable"
        more = {"readLevel": level, "allowReplicaReads": True}
        return {NAMESPACE: policy(self._options.ack, self._options.window, **more)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """A third of it writes, half of it reads from replicas."""
        key, kind = random.choice(self._keys), random.random()
        if kind < 0.35:
            self._values += 1
            return Request(name="write", key=key, value=self._values)
        if kind < 0.5:
            return Request(name="read", key=key)
        details: dict[str, Any] = {"readPreference": "replica"}
        seen, bound = self._seen.get((worker, key)), random.choice(STALENESS_MS)
        if seen is not None and random.random() < 0.7:
            details["minVersion"] = seen
        if bound is not None:
            details["maxStalenessMs"] = bound
        return Request(name="read", key=key, details=details)

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """What the worker has seen last; a version that is lost is no use as a bound."""
        place = worker, request.key
        if told.kind == "ok" and told.version:
            self._seen[place] = told.version
        elif told.error == "version_lost":
            self._seen.pop(place, None)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """Read all keys."""
        yield reads(self._keys)

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        return ("staleness", *ALWAYS)
