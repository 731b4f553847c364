"""How a new cluster becomes known to its metadata group: the admin call `init_cluster`, once all nodes listen."""

from __future__ import annotations

from typing import Any

from raftcache.node import admin
from raftcache.supervisor.cluster import LocalCluster

NAMESPACES = ({"name": "default", "ack": "primary"}, {"name": "safe", "ack": "quorum"})
"""What every new cluster starts with."""
NODE_FIELDS = ("id", "incarnation", "http", "rpc", "peer", "redis_cluster")
"""What the metadata knows of a node. Nobody but its clients need to find its router port."""


def initialise(cluster: LocalCluster, secret: bytes, timeout_seconds: float) -> None:
    """Send `init_cluster`. Sent again it changes nothing. Raises RaftcacheError or OSError."""
    addresses = {node.id: node.rpc for node in cluster.nodes}
    admin.init_cluster(addresses, secret, cluster.cluster_id, init_body(cluster), timeout_seconds)


def init_body(cluster: LocalCluster) -> dict[str, Any]:
    """What the cluster is to start with; each node is what `NODE_FIELDS` names."""
    return {
        "nodes": [{field: getattr(node, field) for field in NODE_FIELDS} for node in cluster.nodes],
        "shards": cluster.shards,
        "replicas": cluster.replicas,
        "namespaces": [dict(namespace) for namespace in NAMESPACES],
    }
