"""What a few looks at the metrics of some nodes come to. Pure.

Each replica of a shard tells what a namespace has in it, so of such figures each shard counts once, by its largest, and
then all shards are added up. Of counters the sum over nodes counts, for nobody counts what another one executed. A rate
is what a series has grown by since the look before, at nodes that answered both times: of one that was away meanwhile
nobody knows when it counted what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from raftcache.supervisor.views import leaders

Labels = frozenset[tuple[str, str]]
Samples = Mapping[str, Mapping[Labels, float]]
"""The series of one node's `/metrics`, by name and labels."""


class Seen(NamedTuple):
    """What one look has found: by node, its samples, None where it did not answer; and the body of its
    `GET /v1/cluster`, of those that answered."""

    at_s: float
    nodes: Mapping[str, Samples | None]
    clusters: Mapping[str, Mapping[str, Any]] = {}


class Figures:
    """Two looks, the newer one and the one before, of which there may be none."""

    def __init__(self, now: Seen, before: Seen | None) -> None:
        self.now, self._before = now, before
        self._passed_s = now.at_s - before.at_s if before is not None else 0.0

    def values(self, name: str, **labels: str) -> list[float]:
        """All series of that name that have these labels."""
        wanted = set(labels.items())
        return [value for _, found, value in self._series(name) if wanted <= found]

    def sum(self, name: str, **labels: str) -> float:
        """Of counters, over all nodes."""
        return sum(self.values(name, **labels))

    def most(self, name: str, **labels: str) -> float:
        """The largest, 0 where there is none."""
        return max(self.values(name, **labels), default=0.0)

    def of(self, node_id: str, name: str) -> float:
        """One node's only series of that name."""
        return next(iter((self.now.nodes[node_id] or {}).get(name, {}).values()), 0.0)

    def rate(self, name: str, node: str | None = None, **labels: str) -> float | None:
        """A second, of all nodes or one; None where there is no look before."""
        before = self._before
        if before is None or self._passed_s <= 0 or (node is not None and before.nodes.get(node) is None):
            return None
        wanted, grown = set(labels.items()), 0.0
        for node_id, found, value in self._series(name):
            then = before.nodes.get(node_id)
            if then is not None and wanted <= found and node in (None, node_id):
                grown += max(0.0, value - then.get(name, {}).get(found, 0.0))
        return grown / self._passed_s

    def whole(self, name: str) -> dict[str, float]:
        """Of each namespace the sum over its shards, each of which counts once."""
        largest: dict[tuple[str, str], float] = {}
        for _, found, value in self._series(name):
            labels = dict(found)
            place = (labels["namespace"], labels["shard"])
            largest[place] = max(value, largest.get(place, 0.0))
        sums: dict[str, float] = {}
        for (namespace, _), value in largest.items():
            sums[namespace] = sums.get(namespace, 0.0) + value
        return sums

    def labelled(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {dict(found)[label] for _, found, _ in self._series(name)}

    def namespaces(self) -> set[str]:
        """Those of which there is anything to tell."""
        names = ("raftcache_namespace_keys", "raftcache_keyspace_hits_total", "raftcache_namespace_refused_total")
        return set().union(*(self.labelled(name, "namespace") for name in names))

    def leaders(self) -> dict[str, str | None]:
        """Who leads each group, as far as nodes know that answered."""
        return leaders(dict(body) for body in self.now.clusters.values())

    def hit_rate(self, **labels: str) -> float | None:
        """The part of the reads since the look before that found their key."""
        hits = self.rate("raftcache_keyspace_hits_total", **labels)
        misses = self.rate("raftcache_keyspace_misses_total", **labels)
        return hits / (hits + misses) if hits is not None and misses is not None and hits + misses else None

    def reads(self, **labels: str) -> float | None:
        """A second."""
        hits = self.rate("raftcache_keyspace_hits_total", **labels)
        misses = self.rate("raftcache_keyspace_misses_total", **labels)
        return None if hits is None or misses is None else hits + misses

    def used_of_quota(self) -> dict[str, float]:
        """Which part of its quotas each namespace with any has in use: of bytes or of keys, of which it is more."""
        parts: dict[str, float] = {}
        for what in ("bytes", "keys"):
            have = self.whole(f"raftcache_namespace_{what}")
            for name, quota in self.whole(f"raftcache_namespace_quota_{what}").items():
                part = have.get(name, 0.0) / quota if quota else 0.0
                parts[name] = max(part, parts.get(name, 0.0))
        return parts

    def _series(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        for node_id, samples in self.now.nodes.items():
            for labels, value in (samples or {}).get(name, {}).items():
                yield node_id, labels, value
