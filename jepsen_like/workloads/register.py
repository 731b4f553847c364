"""Registers: read, write and compare-and-set by version, on many keys.

No value is written twice, so a read names the write that it saw. Compare-and-set goes by versions that anybody has
seen, mostly the newest: two that race for one version are frequent, and only one may win.

*Keys are left.* What a checker of linearizability must search grows with every operation that stays open for ever. So
a key is used for so many operations, or until so many of unknown outcome, and a fresh one takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes, reads
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-register"
KEYS = 5
OPERATIONS_PER_KEY = 300
UNKNOWN_PER_KEY = 6
SEEN = 3
"""Versions of a key that are remembered."""
KEPT = 500
"""Keys that are read in the end: the newest."""


class Keys:
    """The keys in use, and those that were left."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix, self._made = prefix, 0
        self.used: deque[str] = deque(maxlen=KEPT)
        self._operations: dict[str, int] = {}
        self._unknown: dict[str, int] = {}
        self.current = [self._fresh() for _ in range(count)]

    def pick(self, random: Random) -> str:
        """A key for one more operation."""
        place = random.randrange(len(self.current))
        key = self.current[place]
        if self._operations[key] >= OPERATIONS_PER_KEY or self._unknown[key] >= UNKNOWN_PER_KEY:
            del self._operations[key], self._unknown[key]
            key = self.current[place] = self._fresh()
        self._operations[key] += 1
        return key

    def unknown(self, key: str) -> None:
        """A change of it will never be known to have ended."""
        if key in self._unknown:
            self._unknown[key] += 1

    def _fresh(self) -> str:
        key = f"{self._prefix}:r{self._made}"
        self._made += 1
        self._operations[key] = self._unknown[key] = 0
        self.used.append(key)
        return key


class Register:
    """The workload."""

    name = "register"
    summary = "read, write and compare-and-set by version, on many keys"
    pace, workers_per_process = Pace.CLOSED, 1

    def __init__(self, options: Options) -> None:
        self._options = options
        self._keys = Keys(NAMESPACE, options.keys or KEYS)
        self._seen: dict[str, deque[tuple[int, str]]] = {}
        self._values = 0
        self._acked = Acknowledged()

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """Two reads for each write and for each compare-and-set."""
        key, kind = self._keys.pick(random), random.random()
        if kind < 0.4:
            return Request(name="read", key=key)
        self._values += 1
        if kind < 0.65:
            return Request(name="write", key=key, value=self._values)
        return self._swap(key, random)

    def _swap(self, key: str, random: Random) -> Request:
        seen = self._seen.get(key)
        if not seen:
            return Request(name="cas", key=key, value=[None, self._values], details={"ifAbsent": True})
        value, version = seen[-1] if random.random() < 0.8 else random.choice(seen)
        return Request(name="cas", key=key, value=[value, self._values], details={"ifVersion": version})

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Remember the version, or that it is of no use any more."""
        if told.kind == "info" and request.name != "read":
            self._keys.unknown(request.key)
        elif told.kind == "ok" and told.version:
            self._see(request, told)
        elif told.error == CONDITION:
            self._forget(request)
        if self._options.ack == "primary":
            self._acked.note(request, told)

    def _see(self, request: Request, told: Completion) -> None:
        value = {"read": told.value, "write": request.value}.get(request.name)
        if request.name == "cas":
            value = request.value[1]
        if value is not None and request.key in self._keys.current:
            self._seen.setdefault(request.key, deque(maxlen=SEEN)).append((value, told.version))
        for left in self._seen.keys() - set(self._keys.current):
            del self._seen[left]

    def _forget(self, request: Request) -> None:
        stale = (request.value[0], request.details.get("ifVersion", ""))
        seen = self._seen.get(request.key, deque())
        if stale in seen:
            seen.remove(stale)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """Read every key; where writes may be lost, ask which were."""
        yield reads(self._keys.used)
        if self._options.ack == "primary":
            yield self._acked.receipts()
            yield lost_writes([NAMESPACE])

    def checkers(self) -> tuple[str, ...]:
        """What may be lost is not linearizable, but bounded."""
        own = ("loss-window", "receipts") if self._options.ack == "primary" else ("linearizability",)
        return (*own, *ALWAYS)
