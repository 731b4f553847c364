"""Simulated clusters for scripts about one shard."""

from __future__ import annotations

from collections.abc import Callable

from raftcache.commands.types import Command, Failure, Get, Reply, Set
from raftcache.consensus import MemberId
from raftcache.metadata.commands import SetShard
from raftcache.metadata.state import METADATA_GROUP, Shard
from raftcache.node.core import NodeCore
from raftcache.node.status import cluster_document
from raftcache.testing.cluster import DATA, ClusterSettings, SimCluster

SEED = 7


def created(nodes: int = 3, shards: int = 1, settle: float = 3.0) -> SimCluster:
    """A cluster that serves, a few seconds old."""
    cluster = SimCluster(SEED, ClusterSettings(nodes=nodes, shards=shards))
    cluster.create()
    run(cluster, settle)
    return cluster


def run(cluster: SimCluster, seconds: float) -> None:
    """Let virtual time pass."""
    cluster.loop.run_until(cluster.loop.time + seconds)


def run_until(cluster: SimCluster, condition: Callable[[], bool], seconds: float) -> bool:
    """Let time pass until `condition` holds, at most `seconds`. Whether it came to hold."""
    end = cluster.loop.time + seconds
    while not condition():
        if cluster.loop.time >= end:
            return False
        run(cluster, 0.05)
    return True


def core(cluster: SimCluster, node_id: str) -> NodeCore:
    """A running node."""
    return cluster.processes[node_id].core


def the_shard(cluster: SimCluster) -> Shard:
    """The first shard, as the newest state that a running node has says."""
    return max((p.core.view.state for p in cluster.running()), key=lambda state: state.epoch).shards[0]


def leader_of(cluster: SimCluster, shard_id: str) -> str | None:
    """The node that serves a shard."""
    serving = [p.node_id for p in cluster.running() if shard_id in p.core.shards and p.core.shards[shard_id].serving]
    return serving[0] if len(serving) == 1 else None


def members_of(cluster: SimCluster, shard_id: str) -> list[str]:
    """The nodes that the shard's leader counts; none where there is no leader."""
    leader = leader_of(cluster, shard_id)
    return [] if leader is None else [member.node for member in core(cluster, leader).host.groups[shard_id].members]


def move(cluster: SimCluster, shard: Shard, *nodes: str) -> None:
    """Want the shard on these nodes, the first of them in the lead."""
    members = tuple(MemberId(node_id, cluster.incarnations[node_id]) for node_id in nodes)
    cluster.submit_metadata(SetShard(shard.id, members, nodes[0]))


def holds_files(cluster: SimCluster, node_id: str, group_id: str) -> bool:
    """Whether anything of the group is on the node's disk."""
    files = cluster.files[node_id]
    return files.exists(f"{DATA}/{group_id}")


def damage(cluster: SimCluster, node_id: str, group_id: str) -> str:
    """Flip a byte in the oldest file of a group's log; the path of that file."""
    files, folder = cluster.files[node_id], f"{DATA}/{group_id}/log"
    path = f"{folder}/{min(files.listdir(folder))}"
    files.corrupt(path, files.size(path) // 2)
    return path


def replica_numbers(cluster: SimCluster, node_id: str) -> dict[str, int]:
    """Under which number a node holds each group that is open there."""
    return {group_id: group.member.replica for group_id, group in core(cluster, node_id).host.groups.items()}


def member_names(cluster: SimCluster, group_id: str) -> set[str]:
    """The members of a group, as its leader counts them; none where nobody leads."""
    for process in cluster.running():
        group = process.core.host.groups.get(group_id)
        if group is not None and group.leads_now():
            return {str(member) for member in group.members}
    return set()


def metadata_leader(cluster: SimCluster) -> str:
    """The node that serves the metadata group."""
    return next(process.node_id for process in cluster.running() if process.core.metadata.serving)


def write(cluster: SimCluster, node_id: str, key: bytes, value: bytes) -> Reply | None:
    """Set a key through one node's front end, within five seconds."""
    return _execute(cluster, node_id, Set(key, value))


def read(cluster: SimCluster, node_id: str, key: bytes) -> Reply | None:
    """Get a key through one node's front end, within five seconds."""
    return _execute(cluster, node_id, Get(key))


def _execute(cluster: SimCluster, node_id: str, command: Command) -> Reply | None:
    replies: list[Reply] = []
    process = cluster.processes[node_id]
    process.runtime.deliver(
        lambda: process.dispatcher.execute(command, process.runtime.now() + 5.0, replies.append)
    )
    run_until(cluster, lambda: bool(replies), 6.0)
    return replies[0] if replies else None


def succeeded(reply: Reply | None) -> bool:
    """Whether a command was answered, and not with a failure."""
    return reply is not None and not isinstance(reply, Failure)


def replica_states(cluster: SimCluster, at: str, group_id: str) -> dict[str, str]:
    """What the document of one node says of a group's replicas."""
    document = cluster_document(core(cluster, at))
    groups = {shard["id"]: shard for shard in document["shards"]} | {METADATA_GROUP: document["metadata"]}
    return {replica["node"]: replica["state"] for replica in groups[group_id]["replicas"]}
