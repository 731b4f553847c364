"""The cluster as one node sees it: the body of `GET /v1/cluster`, and whether the node is ready."""

from __future__ import annotations

from typing import Any

from raftcache.consensus.api import MemberId
from raftcache.metadata.reports import GroupReport, ReplicaReport
from raftcache.metadata.state import METADATA_GROUP, Shard, Survivor
from raftcache.node.core import NodeCore
from raftcache.node.replicas import OPENING


def cluster_document(core: NodeCore) -> dict[str, Any]:
    """`{"epoch", "nodes", "shards", "metadata"}`: wanted things from the metadata, their state from reports."""
    state = core.view.state
    return {
        "epoch": state.epoch,
        "nodes": [{"id": node.id, "state": _node_state(core, node.id)} for node in state.nodes],
        "shards": [_shard(core, shard) for shard in state.shards],
        "metadata": _group(core, METADATA_GROUP, state.metadata),
    }


def _node_state(core: NodeCore, node_id: str) -> str:
    reachable = node_id == core.identity.node_id or node_id in core.host.peer_ids()
    return "up" if reachable else "down"


def _shard(core: NodeCore, shard: Shard) -> dict[str, Any]:
    document = {
        "id": shard.id,
        "slots": [list(part) for part in shard.slots],
        "state": shard.state,
        **_group(core, shard.id, shard.replicas),
    }
    if shard.state == "lost":
        document["survivors"] = [_survivor(each) for each in sorted(shard.survivors, key=_position, reverse=True)]
    return document


def _position(survivor: Survivor) -> tuple[int, int]:
    return survivor.term, survivor.last_index


def _survivor(survivor: Survivor) -> dict[str, Any]:
    """As of when the shard was declared lost; nothing is written to it since. `keys` is null where nobody knows."""
    return {
        "node": survivor.member.node,
        "member": str(survivor.member),
        "term": survivor.term,
        "lastIndex": survivor.last_index,
        "keys": survivor.keys if survivor.keys >= 0 else None,
    }


def _group(core: NodeCore, group_id: str, wanted: tuple[MemberId, ...]) -> dict[str, Any]:
    report = core.fresh_report(group_id)
    members = tuple(wanted) + tuple(m for m in (report.members if report else ()) if m not in wanted)
    held = {each.member: each for each in core.held.fresh().get(group_id, ())}
    return {
        "replicas": [_replica(member, report, held.get(member)) for member in members],
        "leader": report.leader if report else None,
        "term": report.term if report else _known_term(core, group_id),
    }


def _replica(member: MemberId, report: GroupReport | None, held: ReplicaReport | None) -> dict[str, Any]:
    document = {"node": member.node, "state": _replica_state(member, report, held)}
    return {**document, "reason": held.reason} if held is not None and held.reason else document


def _replica_state(member: MemberId, report: GroupReport | None, held: ReplicaReport | None) -> str:
    """`voter` is a member that has caught up, `lagging` one that has not, `joining` one that is to be added; `opening`
    and `refused` are what its own node says of it."""
    if held is not None and held.state != "open":
        return held.state
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
    """Ready when every shard has a leader that this node can reach, and every replica here works; else why not."""
    for reason in (_starting(core), _stopped(core), core.host.votes_error, _lost(core), _leaderless(core)):
        if reason:
            return False, reason
    return True, ""


def _starting(core: NodeCore) -> str:
    busy = next((each for each in core.replicas.busy.values()), None)
    if busy is None:
        return "" if core.view.state.shards else "the cluster has no shards yet"
    kind = "the metadata group" if busy.group_id == METADATA_GROUP else f"shard {busy.group_id}"
    return f"starting: {kind}: {busy.describe()}" if busy.doing == OPENING else f"{kind} is {busy.describe()}"


def _stopped(core: NodeCore) -> str:
    for group_id, group in core.host.groups.items():
        if group.halted:
            return f"the replica of {group_id} has stopped: {group.halted}"
        if group.disk_error:
            return f"the replica of {group_id} cannot use its disk just now: {group.disk_error}"
    for group_id, reason in core.replicas.refused.items():
        return f"the replica of {group_id} was not started: {reason}"
    return ""


def _lost(core: NodeCore) -> str:
    for shard in core.view.state.shards:
        if shard.state == "lost":
            return (
                f"shard {shard.id} is lost: its quorum is gone for good; "
                f"`raftcache shard replace {shard.id} ...` starts a new one"
            )
    return ""


def _leaderless(core: NodeCore) -> str:
    without = [shard.id for shard in core.view.state.shards if core.fresh_report(shard.id) is None]
    return f"no leader within reach for shard {', '.join(without)}" if without else ""
