"""Looks at made-up nodes, for the page of `raftcache status --watch`."""

from __future__ import annotations

from typing import Any

from raftcache.cli.status_figures import Samples, Seen


def series(**named: dict[str, float]) -> Samples:
    """Names without `raftcache_`; labels as `label=value,label=value`."""
    return {
        f"raftcache_{name}": {
            frozenset(tuple(pair.split("=")) for pair in labels.split(",") if pair): value  # type: ignore[misc]
            for labels, value in values.items()
        }
        for name, values in named.items()
    }


def well(**changes: dict[str, float]) -> Samples:
    """A node without troubles, but for what is changed."""
    found: dict[str, dict[str, float]] = {
        "ready": {"": 1.0},
        "memory_used_bytes": {"": 3 << 20},
        "memory_mark_bytes": {"": 15 << 18},
        "memory_max_bytes": {"": 4 << 20},
        "shard_lost": {"shard=aa": 0.0},
        "replicas": {"state=open": 3.0, "state=stopped": 0.0, "state=refused": 0.0},
        "disk_error": {"shard=aa": 0.0},
        "votes_error": {"": 0.0},
        "elections_won_total": {"shard=aa": 1.0},
        "replica_lag_ms": {"shard=aa,node=n1": 100.0},
        "lost_writes_total": {"namespace=q": 0.0},
        "shedding": {"": 0.0},
    }
    return series(**(found | changes))


def body(leader: str | None = "n0", **states: str) -> dict[str, Any]:
    """A node's `GET /v1/cluster`: one shard, and the states of nodes that are not up."""
    nodes = [{"id": node_id, "state": states.get(node_id, "up")} for node_id in ("n0", "n1", "n2")]
    shard = {"id": "aa", "slots": [[0, 16383]], "state": "healthy", "leader": leader, "term": 3}
    return {"epoch": 5, "nodes": nodes, "shards": [shard], "metadata": {"leader": "n0", "term": 2}}


def seen(at_s: float, nodes: dict[str, Samples | None], **bodies: dict[str, Any]) -> Seen:
    """A look; of a node that answers and of which nothing else is said, the body in which all is well."""
    answered = [node_id for node_id, samples in nodes.items() if samples is not None]
    return Seen(at_s, nodes, {node_id: bodies.get(node_id, body()) for node_id in answered})
