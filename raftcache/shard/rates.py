"""How fast a namespace may be used: token buckets at each node, of which all together have the cluster's rate.

A command is charged where it is executed, at its shard's leader or at the replica that answers it: once, whichever way
it came. So nobody is asked on its way, and an unlimited namespace costs one comparison.

**A node's share.** Every node tells the others twice a second how much of each limited rate was asked of it, refused
commands included, as a part of the whole rate (`NodeReport.demands`). From the same figures, its own as it has told
them, each node works out its share: `LEAST_PART` of the rate is dealt out evenly, so that a node which was idle has
something to begin with, and the rest in proportion to demand. Shares add up to the rate but for reports that are under
way: where load moves from one node to another, both may have it for a second. A node that was not heard from for
`DEMAND_AGE_S` counts for nothing: it is down, or cut off, when it does not lead for much longer either.

**The bucket** (J. Turner, "New directions in communications", IEEE Communications 24(10), 1986) fills at the share of
the rate and holds what comes in `burst_ms`. A command takes one operation and the bytes of its key and value; the bytes
of a reply are known only afterwards, and are taken all the same: the bucket may be overdrawn by one reply, and is in
debt until that is paid off. Of a multi-key command each item is charged, and refused, by itself.

Pure but for the clock that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final

from raftcache.commands.policy import Namespace
from raftcache.errors import RateLimited

LEAST_PART: Final = 0.03
DEMAND_AGE_S: Final = 3.0
SMOOTHING: Final = 0.5
"""The weight of the newest half second in what is told of demand."""
DEMANDS_LIMIT: Final = 256
"""Namespaces in a report; of more those with the most demand."""
IDLE_DEMAND: Final = 0.001
"""Less than that of a rate is not told."""

Demands = tuple[tuple[str, float], ...]
"""`(namespace, demand as a part of its rate)`."""


class Bucket:
    """One bound of one namespace at one node."""

    __slots__ = ("filled_at_s", "tokens")

    def __init__(self, now_s: float) -> None:
        self.filled_at_s = now_s
        self.tokens = float("inf")
        """Full, whatever that is; `fill` knows."""

    def fill(self, now_s: float, per_second: float, burst_s: float) -> None:
        """Let come in what has come since. A bucket holds one token at least."""
        room = max(1.0, per_second * burst_s)
        self.tokens = min(room, self.tokens + per_second * (now_s - self.filled_at_s))
        self.filled_at_s = now_s


class Meter:
    """A namespace's traffic at one node."""

    __slots__ = ("asked", "demand", "operations", "size_bytes", "told")

    def __init__(self, now_s: float) -> None:
        self.operations, self.size_bytes = Bucket(now_s), Bucket(now_s)
        self.asked = 0.0
        """Since the last report, in seconds of the whole rate."""
        self.demand = self.told = 0.0


class NodeRates:
    """The buckets of one node. `now` is its monotonic clock, `nodes` how many nodes there are."""

    def __init__(self, now: Callable[[], float], nodes: Callable[[], int]) -> None:
        self._now, self._nodes = now, nodes
        self._meters: dict[str, Meter] = {}
        self._others: dict[str, tuple[float, dict[str, float]]] = {}
        self._told_at_s = now()
        self.refused: dict[tuple[str, str], int] = {}
        """Commands refused, by namespace and bound."""

    def take(self, namespace: Namespace, size_bytes: int) -> None:
        """Charge a command that is to be executed. Raises RateLimited, and nothing is charged then."""
        limits, now_s = namespace.limits, self._now()
        meter = self._meters.get(namespace.name)
        if meter is None:
            meter = self._meters[namespace.name] = Meter(now_s)
        self._ask(meter, namespace, 1, size_bytes)
        share, burst_s = self.share(namespace.name), limits.burst_ms / 1000
        if limits.operations_per_second is not None:
            per_second = limits.operations_per_second * share
            meter.operations.fill(now_s, per_second, burst_s)
            if meter.operations.tokens < 1:
                raise self._refusal(namespace, "operationsPerSecond", 1 - meter.operations.tokens, per_second)
        if limits.bytes_per_second is not None:
            per_second = limits.bytes_per_second * share
            meter.size_bytes.fill(now_s, per_second, burst_s)
            if meter.size_bytes.tokens < 0:
                raise self._refusal(namespace, "bytesPerSecond", -meter.size_bytes.tokens, per_second)
            meter.size_bytes.tokens -= size_bytes
        meter.operations.tokens -= 1

    def spend(self, namespace: Namespace, size_bytes: int) -> None:
        """Charge the bytes of a reply."""
        meter = self._meters.get(namespace.name)
        if meter is not None and namespace.limits.bytes_per_second is not None:
            meter.size_bytes.tokens -= size_bytes
            self._ask(meter, namespace, 0, size_bytes)

    def share(self, name: str) -> float:
        """This node's part of a namespace's rate."""
        nodes = max(1, self._nodes())
        meter = self._meters.get(name)
        own = 0.0 if meter is None else meter.told
        total = own + sum(self._heard(name))
        return 1 / nodes if total <= 0 else LEAST_PART / nodes + (1 - LEAST_PART) * own / total

    def tell(self) -> Demands:
        """What this node tells of demand, for the time since it told last. It counts from now on."""
        now_s = self._now()
        passed_s, self._told_at_s = max(1e-3, now_s - self._told_at_s), now_s
        for name, meter in list(self._meters.items()):
            meter.demand += SMOOTHING * (meter.asked / passed_s - meter.demand)
            meter.asked, meter.told = 0.0, meter.demand if meter.demand >= IDLE_DEMAND else 0.0
            if not meter.told and meter.operations.filled_at_s < now_s - 60:
                del self._meters[name]
        rows = [(name, meter.told) for name, meter in self._meters.items() if meter.told]
        return tuple(sorted(rows, key=lambda row: -row[1])[:DEMANDS_LIMIT])

    def hear(self, node_id: str, demands: Iterable[tuple[str, float]]) -> None:
        """What another node tells."""
        self._others[node_id] = (self._now(), dict(demands))

    def _heard(self, name: str) -> Iterable[float]:
        oldest_s = self._now() - DEMAND_AGE_S
        return (demands.get(name, 0.0) for at_s, demands in self._others.values() if at_s >= oldest_s)

    def _ask(self, meter: Meter, namespace: Namespace, operations: int, size_bytes: int) -> None:
        limits = namespace.limits
        of_operations = operations / limits.operations_per_second if limits.operations_per_second else 0.0
        of_bytes = size_bytes / limits.bytes_per_second if limits.bytes_per_second else 0.0
        meter.asked += max(of_operations, of_bytes)

    def _refusal(self, namespace: Namespace, bound: str, missing: float, per_second: float) -> RateLimited:
        place = (namespace.name, bound)
        self.refused[place] = self.refused.get(place, 0) + 1
        limits = namespace.limits
        limit = limits.operations_per_second if bound == "operationsPerSecond" else limits.bytes_per_second
        wait_ms = max(1, ceil(missing / per_second * 1000)) if per_second > 0 else 1000
        text = f"{bound} of namespace {namespace.name!r}: the limit of {limit} over the cluster is reached"
        return RateLimited(text, namespace=namespace.name, bound=bound, limit=limit, retry_after_ms=wait_ms)
