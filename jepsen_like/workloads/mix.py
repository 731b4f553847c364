"""An open mix, shaped like one of Twitter's production cache clusters.

Operations arrive by themselves, whether or not those before are answered: a cluster that stands still for a second has
a second's worth of them waiting then, as it would have in earnest. Which operations, how large keys and values are, how
long they live and how popular keys are (Zipf) is that cluster's. memcached's words are translated:

    get, gets    read                     add        cas, if absent
    set          write                    cas        cas, by the version seen last
    prepend      write                    incr       incr, on keys of their own
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Any

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.acknowledged import Acknowledged, lost_writes
from jepsen_like.workloads.shapes import shape
from jepsen_like.workloads.workload import ALWAYS, Options, Pace, Policies, policy

NAMESPACE = "jl-mix"
KEYS = 1_000
VALUE_LIMIT_BYTES = 64 << 10
"""A harness that moves nothing but megabytes finds nothing else."""
ASKED_FOR = 2_000
"""Receipts in the end."""


class Mix:
    """The workload."""

    name = "mix"
    summary = "an open mix shaped like one of Twitter's cache clusters"
    pace, workers_per_process = Pace.OPEN, 8

    def __init__(self, options: Options) -> None:
        """Raises ValueError: no such shape."""
        self._options, self._shape = options, shape(options.shape)
        count = options.keys or KEYS
        self._popularity = list(accumulate(rank**-self._shape.alpha for rank in range(1, count + 1)))
        self._seen: dict[str, tuple[Any, str]] = {}
        self._values = 0
        self._acked = Acknowledged(ASKED_FOR)

    def namespaces(self) -> Policies:
        """One, at the level asked for."""
        return {NAMESPACE: policy(self._options.ack, self._options.window)}

    def next(self, worker: int, now_ms: float, random: Random) -> Request | float:
        """An operation as they come in production."""
        kind, key = _choice(self._shape.operations, random), self._key(random)
        if kind in ("get", "gets"):
            return Request(name="read", key=key)
        if kind == "delete":
            return Request(name="delete", key=key)
        if kind == "incr":
            return Request(name="incr", key=f"{key}-n", value=1)
        return self._store(kind, key, random)

    def _store(self, kind: str, key: str, random: Random) -> Request:
        value, ttl = self._value(random), {"ttlSeconds": _choice(self._shape.ttls_s, random)}
        seen = self._seen.get(key) if kind == "cas" else None
        if seen is not None:
            return Request(name="cas", key=key, value=[seen[0], value], details={"ifVersion": seen[1]} | ttl)
        if kind in ("add", "cas"):
            return Request(name="cas", key=key, value=[None, value], details={"ifAbsent": True} | ttl)
        return Request(name="write", key=key, value=value, details=ttl)

    def _key(self, random: Random) -> str:
        rank = bisect(self._popularity, random.random() * self._popularity[-1])
        return f"{NAMESPACE}:m{rank}-".ljust(self._shape.key_bytes, "k")

    def _value(self, random: Random) -> str:
        self._values += 1
        size = min(VALUE_LIMIT_BYTES, round(random.expovariate(1 / self._shape.value_bytes)))
        return f"{self._values}.".ljust(size, "x")

    def completed(self, worker: int, request: Request, told: Completion) -> None:
        """Note what was acknowledged, and the versions to compare with."""
        self._acked.note(request, told)
        if told.kind == "ok" and request.name == "read" and told.value is not None:
            self._seen[request.key] = told.value, told.version
        elif request.key in self._seen and request.name != "read":
            del self._seen[request.key]

    def settle(self) -> list[Request]:
        """Nothing."""
        return []

    def final(self) -> Iterator[list[Request]]:
        """What became of the newest writes."""
        yield self._acked.receipts()
        if self._options.ack == "primary":
            yield lost_writes([NAMESPACE])

    def checkers(self) -> tuple[str, ...]:
        """Whether it serves, and keeps what it acknowledged."""
        return ("receipts", *(("loss-window",) if self._options.ack == "primary" else ()), *ALWAYS)


def _choice(weights: dict[Any, float], random: Random) -> Any:
    return random.choices(list(weights), list(weights.values()))[0]
