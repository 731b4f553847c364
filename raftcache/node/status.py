"""The cluster as one node sees it: the body of `GET /v1/cluster`, and whether the node is ready."""

from __future__ import annotations

from typing import Any

from raftcache.consensus.api import MemberId
from raftcache.metadata.decisions import GroupReport
from raftcache.metadata.state import METADATA_GROUP
from raftcache.node.core import NodeCore


def cluster_document(core: NodeCore) -> dict[str, Any]:
    """`{"epoch", "nodes", "shards", "metadata"}`: wanted things from the metadata, their state from reports."""
    state = core.view.state
    return {
        "epoch": state.epoch,
        "nodes": [{"id": node.id, "state": _node_state(core, node.id)} for node in state.nodes],
        "shards": [
            {"id": shard.id, "slots": [list(part) for part in shard.slots], **_group(core, shard.id, shard.replicas)}
            for shard in state.shards
        ],
        "metadata": _group(core, METADATA_GROUP, state.metadata),
    }


def _node_state(core: NodeCore, node_id: str) -> str:
    reachable = node_id == core.identity.node_id or node_id in core.host.peer_ids()
    return "up" if reachable else "down"


def _group(core: NodeCore, group_id: str, wanted: tuple[MemberId, ...]) -> dict[str, Any]:
    report = core.fresh_report(group_id)
    members = tuple(wanted) + tuple(m for m in (report.members if report else ()) if m not in wanted)
    return {
        "replicas": [{"node": member.node, "state": _replica_state(member, report)} for member in members],
        "leader": report.leader if report else None,
        "term": report.term if report else _known_term(core, group_id),
    }


def _replica_state(member: MemberId, report: GroupReport | None) -> str:
    """`voter` is a member that has caught up, `lagging` one that has not, `joining` one that is to be added."""
    if report is None:
        return "unknown"
    if member not in report.members:
        return "joining"
    return "voter" if member in report.healthy else "lagging"


def _known_term(core: NodeCore, group_id: str) -> int:
    group = core.host.groups.get(group_id)
    leader = core.view.leaders.get(group_id)
    return max(group.term if group is not None else 0, leader.term if leader is not None else 0)


def readiness(core: NodeCore) -> tuple[bool, str]:
    """Ready when every shard has a leader that this node can reach; else why not."""
    state = core.view.state
    if not state.shards:
        return False, "the cluster has no shards yet"
    for shard_id, group in core.host.groups.items():
        if group.halted:
            return False, f"the replica of {shard_id} has stopped: {group.halted}"
    for shard_id, reason in core.refused.items():
        return False, f"the replica of {shard_id} was not started: {reason}"
    without = [shard.id for shard in state.shards if core.fresh_report(shard.id) is None]
    if without:
        return False, f"no leader within reach for shard {', '.join(without)}"
    return True, ""
