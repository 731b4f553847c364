"""Answers of `GET /v1/cluster`, recorded from a cluster of three nodes and cut to two shards."""

from __future__ import annotations

from typing import Any


def cluster_body() -> dict[str, Any]:
    """All is well: n0 leads shard ccba, n1 leads shard 2d25 and the metadata group."""
    return {
        "epoch": 1,
        "nodes": [{"id": "n0", "state": "up"}, {"id": "n1", "state": "up"}, {"id": "n2", "state": "up"}],
        "shards": [
            {"id": "ccba", "slots": [[8192, 16383]], "replicas": replicas(), "leader": "n0", "term": 2},
            {"id": "2d25", "slots": [[0, 8191]], "replicas": replicas(), "leader": "n1", "term": 1},
        ],
        "metadata": {"replicas": replicas(), "leader": "n1", "term": 1},
    }


def replicas() -> list[dict[str, str]]:
    """A voter on every node."""
    return [{"node": f"n{number}", "state": "voter"} for number in range(3)]
