"""Counters whose increments are retried: each must count once.

An increment carries an idempotency key. Where its outcome is unknown, its worker sends it again, at whatever node,
until it is answered; so every one of them that was ever in doubt counts in the end, once. To provoke double counts

- now and then one that was answered is sent again, and must be answered as it was;
- now and then another worker sends one that is under way at this moment;
- some increments have no key and are never sent again: those of unknown outcome may count or not, for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random

import msgspec

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes, reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-counter"
KEYS = 3
ANSWERED_KEPT = 32
LARGEST = 5


class Increment(msgspec.Struct):
    """One with an idempotency key, which is `request.details["idempotencyKey"]`."""

    request: Request
    in_flight: int = 0
    in_doubt: bool = False
    """Whether an attempt ended in an unknown outcome: only an answer settles it then."""


class Counter:
    """The workload."""

    name = "counter"
    summary = "increments retried by idempotency key until they are answered, and reads"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = [f"{NAMESPACE}:n{number}" for number in range(options.keys or KEYS)]
        self._open: dict[str, Increment] = {}
        self._of_worker: dict[int, str] = {}
        self._answered: deque[Request] = deque(maxlen=ANSWERED_KEPT)
        self._made = 0
        self._acked = Acknowledged()

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """What this worker has to send again, or something new."""
        mine = self._of_worker.get(worker)
        if mine in self._open:
            return self._send(mine)
        kind = random.random()
        if kind < 0.3:
            return Request(name="read", key=random.choice(self._keys))
        if kind < 0.38 and self._answered:
            return random.choice(self._answered)
        if kind < 0.46 and self._open:
            return self._send(random.choice(list(self._open)))
        key, amount = random.choice(self._keys), random.randint(1, LARGEST)
        if kind < 0.6:
            return Request(name="incr", key=key, value=amount)
        return self._send(self._new(worker, key, amount))

    def _new(self, worker: int, key: str, amount: int) -> str:
        self._made += 1
        name = self._of_worker[worker] = f"jl-{worker}-{self._made}"
        request = Request(name="incr", key=key, value=amount, details={"idempotencyKey": name})
        self._open[name] = Increment(request)
        return name

    def _send(self, name: str) -> Request:
        increment = self._open[name]
        increment.in_flight += 1
        return increment.request

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Settle an increment, or leave it to be sent again."""
        if self._options.ack == "primary":
            self._acked.note(request, told)
        name = request.details.get("idempotencyKey", "")
        increment = self._open.get(name)
        if increment is None:
            return
        increment.in_flight = max(0, increment.in_flight - 1)  # What settles them sends them by itself.
        increment.in_doubt |= told.kind == "info"
        if told.kind == "ok":
            self._answered.append(self._open.pop(name).request)
        elif not increment.in_doubt and not increment.in_flight:
            del self._open[name]

    def settle(self) -> list[Request]:
        """Have every increment answered."""
        return [increment.request for increment in self._open.values()]

    def final(self) -> Iterator[list[Request]]:
        """Read; where writes may be lost, ask which were."""
        yield reads(self._keys)
        if self._options.ack == "primary":
            yield self._acked.receipts()
            yield lost_writes([NAMESPACE])

    def checkers(self) -> tuple[str, ...]:
        """Its own; where increments may be lost, how many were."""
        return ("counter", *(("loss-window", "receipts") if self._options.ack == "primary" else ()), *ALWAYS)
