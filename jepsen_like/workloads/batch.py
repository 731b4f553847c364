"""Many keys in one request: a result for each, in order, and each key by itself as sound as if it were asked alone.

Batches of writes and of reads over keys that spread over all shards, mixed with single reads and writes of the same
keys. There is no atomicity over the items, so each is judged as an operation of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes, reads_of_many
from jepsen_like.workloads.register import Keys
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-batch"
KEYS = 12
LARGEST = 8


class Batch:
    """The workload."""

    name = "batch"
    summary = "batches of reads and writes, mixed with single ones of the same keys"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = Keys(NAMESPACE, options.keys or KEYS)
        self._values = 0
        self._acked = Acknowledged()

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """Mostly batches."""
        kind = random.random()
        if kind < 0.15:
            return Request(name="read", key=self._keys.pick(random))
        if kind < 0.3:
            return Request(name="write", key=self._keys.pick(random), value=self._value())
        keys = sorted({self._keys.pick(random) for _ in range(random.randint(2, LARGEST))})
        if kind < 0.6:
            return Request(name="read-many", value=keys)
        return Request(name="write-many", value=[[key, self._value()] for key in keys])

    def _value(self) -> int:
        self._values += 1
        return self._values

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Leave keys of which too much is unknown."""
        if told.kind == "info" and request.name == "write":
            self._keys.unknown(request.key)
        elif told.kind == "info" and request.name == "write-many":
            for key, _ in request.value:
                self._keys.unknown(key)
        if self._options.ack == "primary":
            self._acked.note(request, told)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """Read every key; where writes may be lost, ask which were."""
        yield reads_of_many(self._keys.used)
        if self._options.ack == "primary":
            yield self._acked.receipts()
            yield lost_writes([NAMESPACE])

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        own = ("loss-window", "receipts") if self._options.ack == "primary" else ("batch", "linearizability")
        return (*own, *ALWAYS)
