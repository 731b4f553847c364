"""A running local cluster, found through its data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raftcache.cli.api import Api
from raftcache.cli.output import Failed
from raftcache.supervisor.cluster import LocalCluster
from raftcache.supervisor.layout import DataDir
from raftcache.supervisor.views import METADATA, leaders


class Local:
    """The cluster that `raftcache up` runs with `data_dir`. Raises Failed or ConfigError where none runs."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = DataDir(data_dir)
        cluster = self.data_dir.load()
        if cluster is None or not self.data_dir.running():
            raise Failed(f"no cluster runs with --data-dir {data_dir}; `raftcache up --data-dir {data_dir}` starts one")
        self.cluster: LocalCluster = cluster

    def pid(self, node_id: str) -> int:
        """The node's process. Raises Failed while it has none, ConfigError where there is no such node."""
        self.cluster.node(node_id)
        pid = self.data_dir.pid(node_id)
        if pid is None:
            raise Failed(f"{node_id} is not running just now")
        return pid

    def pids(self) -> dict[str, int | None]:
        """All nodes' processes."""
        return {node.id: self.data_dir.pid(node.id) for node in self.cluster.nodes}

    def bodies(self) -> dict[str, dict[str, Any]]:
        """`GET /v1/cluster` as each node answers it, by node id; those that do not answer are left out."""
        answers = {node.id: self._body(node.http) for node in self.cluster.nodes}
        return {node_id: body for node_id, body in answers.items() if body is not None}

    def _body(self, address: str) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = Api(f"http://{address}", timeout_seconds=2.0).send("GET", "/v1/cluster")
        except Failed:
            return None
        return body


def choose_leader(bodies: list[dict[str, Any]], target: str | None) -> tuple[str, str]:
    """The group to hit and the node that leads it: `target` is a shard id, "meta", or None for the first shard.

    Raises Failed where there is no such group, or nobody leads it.
    """
    known = leaders(bodies)
    shards = [group_id for group_id in known if group_id != METADATA]
    if not known:
        raise Failed("no node answers: which one leads is not known")
    group_id = target if target is not None else next(iter(shards), METADATA)
    if group_id not in known:
        raise Failed(f"no shard {group_id!r}; there are {', '.join(known)}")
    leader = known[group_id]
    if leader is None:
        raise Failed(f"{group_id} has no leader just now")
    return group_id, leader
