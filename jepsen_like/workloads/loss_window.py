"""Loss windows: bursts of `primary` writes into namespaces that may lose only a little.

There is a namespace for each word of `onExceeded`. All workers burst at the same moments, each into a namespace of its
own: so the windows are full before the first of it is committed, and stay full where the leader is cut off, which is
when it counts; and workers that are held back in one namespace are not missing in the others. There are many, for those
that were held back or have no answer are out of it for a while. In the end every acknowledged version has a receipt,
which says what was lost, and the cluster reports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

PREFIX = "jl-spend"
ON_EXCEEDED = ("quorum", "wait", "reject")
WINDOW: dict[str, int | None] = {"ms": 150, "writes": 13, "bytes": 900}
"""Small enough to be reached within one round trip of a slow network."""
KEYS = 12
PERIOD_S = 0.5
"""From one burst to the next."""
BURST = (2, 5)
"""Operations of each worker."""
BATCH = 3
SIZES = (1, 10, 40, 200)


class LossWindow:
    """The workload."""

    name = "loss-window"
    summary = "bursts into namespaces with small loss windows, one for each onExceeded"
    pace, workers_per_process = Pace.OWN, 3

    def __init__(self, options: Options) -> None:
        self._window = options.window or WINDOW
        self._keys = options.keys or KEYS
        self._left: dict[int, tuple[int, int]] = {}
        """By worker, which burst it is in, and how many operations of it are left."""
        self._values = 0
        self._acked = Acknowledged()

    def namespaces(self) -> Policies:
        """One for each `onExceeded`."""
        return {f"{PREFIX}-{then}": policy("primary", self._window, onExceeded=then) for then in ON_EXCEEDED}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """The rest of this burst, or a pause until the next."""
        period_ms = PERIOD_S * 1000
        burst, left = self._left.get(worker, (-1, 0))
        current = int(now_ms // period_ms)
        if current > burst:
            left = random.randint(*BURST)
        elif not left:
            return ((burst + 1) * period_ms - now_ms) / 1000
        self._left[worker] = max(current, burst), left - 1
        return self._request(ON_EXCEEDED[worker % len(ON_EXCEEDED)], random)

    def _request(self, then: str, random: Random) -> Request:
        key, kind = self._key(then, random), random.random()
        if kind < 0.1:
            return Request(name="incr", key=f"{key}-n", value=random.randrange(1, 99))
        if kind < 0.18:
            return Request(name="delete", key=key)
        if kind < 0.26:
            items = [[self._key(then, random), self._value(random)] for _ in range(BATCH)]
            return Request(name="write-many", value=items)
        level = "quorum" if kind < 0.32 else ""
        details = {"ttlSeconds": round(random.uniform(0.05, 3.0), 3)} if kind > 0.9 else {}
        return Request(name="write", key=key, value=self._value(random), level=level, details=details)

    def _key(self, then: str, random: Random) -> str:
        return f"{PREFIX}-{then}:s{random.randrange(self._keys)}"

    def _value(self, random: Random) -> str:
        self._values += 1
        return f"{self._values}.".ljust(random.choice(SIZES), "x")

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Note what was acknowledged."""
        self._acked.note(request, told)

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """What became of it all."""
        yield self._acked.receipts()
        yield lost_writes(self.namespaces())

    def checkers(self) -> tuple[str, ...]:
        """Its own, and that the parts tell the same story."""
        return ("loss-window", "receipts", *ALWAYS)
