"""What the controller decides: from the wanted state and what the nodes report, the next actions. Pure.

The aim, for every group (the metadata group as well): its members are the wanted ones, and a shard's leader is the
preferred one. Decisions are level-triggered: each look compares afresh, so a lost action or report costs time and
nothing else. One change a group and look, in this order:

1. *Renew.* A wanted member whose node has come back with an empty disk (a new incarnation) is replaced, in what is
   wanted, by the node's new self.
2. *Clear.* A member that is the dead incarnation of a node goes first: it can never answer again, and as long as it
   counts, it weakens the quorum.
3. *Add.* A wanted member that is missing joins.
4. *Remove.* Members that are not wanted go, once all wanted ones are in and caught up; where one of them leads, it
   first hands over.
5. *Balance.* With the membership as wanted, leadership goes to the preferred node, if that has caught up.

No step is taken that would leave the group without a quorum: only members that the leader hears and that have
caught up are counted for, both before and after the change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from raftcache.consensus.api import GroupStatus, MemberId
from raftcache.metadata.commands import MetadataCommand, SetMetadataMembers, SetShard
from raftcache.metadata.state import METADATA_GROUP, MetadataState, Shard

CAUGHT_UP_ENTRIES = 1_000
CAUGHT_UP_MS = 2_000.0


class GroupReport(msgspec.Struct, frozen=True, array_like=True):
    """A group as its leader sees it. `healthy` are the members it hears that have caught up, itself included."""

    group_id: str
    term: int
    leader: str
    members: tuple[MemberId, ...]
    healthy: tuple[MemberId, ...]


class TransferLeadership(msgspec.Struct, frozen=True):
    """Ask `from_node`, which leads, to hand the shard to `to_node`."""

    shard: str
    from_node: str
    to_node: str


class AddMember(msgspec.Struct, frozen=True):
    """Ask `leader`, which leads the group, to add a member."""

    group: str
    leader: str
    member: MemberId


class RemoveMember(msgspec.Struct, frozen=True):
    """Ask `leader`, which leads the group, to remove a member."""

    group: str
    leader: str
    member: MemberId


class Propose(msgspec.Struct, frozen=True):
    """Change what is wanted, by a command of the metadata group itself."""

    group: str
    command: MetadataCommand


Action = TransferLeadership | AddMember | RemoveMember | Propose


def report_of(status: GroupStatus) -> GroupReport:
    """What a leader reports about its group."""
    healthy = [
        peer.member
        for peer in status.peers
        if peer.connected
        and not peer.snapshot_sending
        and peer.lag_entries <= CAUGHT_UP_ENTRIES
        and peer.lag_ms <= CAUGHT_UP_MS
    ]
    return GroupReport(status.group_id, status.term, status.member.node, status.members, (status.member, *healthy))


def decide(state: MetadataState, reports: Mapping[str, GroupReport], up: Collection[str]) -> list[Action]:
    """The next action of every group that has anything to do. `up` are the nodes heard from lately.

    A group without a report has no leader to ask, so only what is wanted of it can change.
    """
    actions = (_next_action(state, group, reports.get(group), up) for group in _groups(state))
    return [action for action in actions if action is not None]


def _groups(state: MetadataState) -> Iterator[str]:
    if state.metadata:
        yield METADATA_GROUP
    for shard in state.shards:
        yield shard.id


def _next_action(state: MetadataState, group: str, report: GroupReport | None, up: Collection[str]) -> Action | None:
    renewal = _renew(state, group)
    if renewal is not None or report is None:
        return renewal
    wanted = state.wanted(group)
    return (
        _clear(state, report)
        or _add(wanted, report, up)
        or _remove(state, wanted, report)
        or _balance(state.shard(group), wanted, report)
    )


def _renew(state: MetadataState, group: str) -> Propose | None:
    """Want the newest incarnation of each node. The replica number starts over with an incarnation."""
    current = {node.id: node.incarnation for node in state.nodes}
    wanted = state.wanted(group)
    renewed = tuple(
        member if member.incarnation == current[member.node] else MemberId(member.node, current[member.node])
        for member in wanted
    )
    if renewed == wanted:
        return None
    if group == METADATA_GROUP:
        return Propose(group, SetMetadataMembers(renewed))
    return Propose(group, SetShard(group, replicas=renewed))


def _clear(state: MetadataState, report: GroupReport) -> RemoveMember | None:
    current = {node.id: node.incarnation for node in state.nodes}
    for member in report.members:
        dead = current.get(member.node, member.incarnation) != member.incarnation
        if dead and member not in report.healthy and _removable(member, report):
            return RemoveMember(report.group_id, report.leader, member)
    return None


def _add(wanted: tuple[MemberId, ...], report: GroupReport, up: Collection[str]) -> AddMember | None:
    present = {member.node for member in report.members}
    for member in wanted:
        if member.node not in present and member.node in up and _has_room(report):
            return AddMember(report.group_id, report.leader, member)
    return None


def _remove(
    state: MetadataState, wanted: tuple[MemberId, ...], report: GroupReport
) -> RemoveMember | TransferLeadership | None:
    if not set(wanted) <= set(report.healthy):
        return None
    for member in report.members:
        if member in wanted:
            continue
        if member.node == report.leader:
            return _hand_over(state.shard(report.group_id), wanted, report)
        if _removable(member, report):
            return RemoveMember(report.group_id, report.leader, member)
    return None


def _hand_over(shard: Shard | None, wanted: tuple[MemberId, ...], report: GroupReport) -> TransferLeadership:
    to_node = shard.preferred if shard is not None else wanted[0].node
    return TransferLeadership(report.group_id, report.leader, to_node)


def _balance(shard: Shard | None, wanted: tuple[MemberId, ...], report: GroupReport) -> TransferLeadership | None:
    """The metadata group has no preferred leader; a shard's membership has to be as wanted first."""
    if shard is None or report.leader == shard.preferred or set(report.members) != set(wanted):
        return None
    if shard.preferred not in {member.node for member in report.healthy}:
        return None
    return TransferLeadership(shard.id, report.leader, shard.preferred)


def _removable(member: MemberId, report: GroupReport) -> bool:
    """Whether those who are left make a quorum, of the healthy ones alone."""
    rest = [each for each in report.members if each != member]
    return len(rest) >= 1 and _is_quorum(_count(rest, report.healthy), len(rest))


def _has_room(report: GroupReport) -> bool:
    """Whether the group has a quorum with a newcomer, who counts as a member only once it has caught up."""
    return _is_quorum(_count(report.members, report.healthy) + 1, len(report.members) + 1)


def _is_quorum(count: int, members: int) -> bool:
    return count >= members // 2 + 1


def _count(members: Iterable[MemberId], healthy: Iterable[MemberId]) -> int:
    return len(set(members) & set(healthy))
