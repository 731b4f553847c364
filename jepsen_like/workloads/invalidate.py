"""Namespaces and tags that are dropped while they are used.

Each dropper (a worker) drops its own namespace, or one of the tags in it, after a pause. The other workers write there,
each value once and some of them with tags, and read at all levels. What was written and answered before a drop was
called must not be read by whoever begins after its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

PREFIX = "jl-dropped"
DROPPERS = 2
"""The workers from 0 on. With fewer than four workers there is one."""
KEYS = 6
TAGS = ("red", "blue")
LEVELS = ("", "latest", "committed", "linearizable")
PAUSE_S = (0.2, 2.0)


class Invalidate:
    """The workload."""

    name = "invalidate"
    summary = "namespaces and tags dropped under use; nothing of before is read after"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = options.keys or KEYS
        droppers = DROPPERS if options.processes >= 2 * DROPPERS else 1
        self._names = [f"{PREFIX}{number}" for number in range(droppers)]
        self._rested: set[int] = set()
        self._values = 0

    def namespaces(self) -> Policies:
        """One for each dropper, at the level asked for."""
        return {name: policy(self._options.ack, self._options.window) for name in self._names}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """A dropper's next drop after a pause; anybody else uses a namespace."""
        if worker >= len(self._names):
            return self._use(random)
        if worker not in self._rested:
            self._rested.add(worker)
            return random.uniform(*PAUSE_S)
        self._rested.discard(worker)
        return Request(name="invalidate", key=self._names[worker], value=random.choice((None, *TAGS)))

    def _use(self, random: Random) -> Request:
        key = f"{random.choice(self._names)}:k{random.randrange(self._keys)}"
        if random.random() < 0.5:
            return Request(name="read", key=key, level=random.choice(LEVELS))
        self._values += 1
        tags = [tag for tag in TAGS if random.random() < 0.5]
        return Request(name="write", key=key, value=self._values, details={"tags": tags} if tags else {})

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Nothing depends on it."""

    def settle(self) -> list[Request]:
        """Liveness: every namespace can be dropped again."""
        return [Request(name="invalidate", key=name) for name in self._names]

    def final(self) -> Iterator[list[Request]]:
        """Read every key."""
        yield reads(f"{name}:k{number}" for name in self._names for number in range(self._keys))

    def checkers(self) -> tuple[str, ...]:
        """Its own."""
        return ("invalidation", *ALWAYS)
