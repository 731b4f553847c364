"""What the controller decides: from the wanted state and what the nodes report, the next actions. Pure.

The aim, for every group (the metadata group as well): its members are the wanted ones, and a shard's leader is the
preferred one. Decisions are level-triggered: each look compares afresh, so a lost action or report costs time and
nothing else. One change a group and look, in this order:

1. *Declare.* A shard whose quorum is gone for good (`losses`) is declared lost; one that has a leader after all is
   taken back; one that started from a survivor needs its source no more once it has a leader.
2. *Renew.* A wanted member whose node holds the group under another identity by now (`identities`: a new incarnation,
   or a higher replica number) is replaced, in what is wanted, by that. Only while a leader reports: until then the
   wanted members still name who was in the group when it lost its last leader.
3. *Clear.* A member that is gone for good goes first: it can never answer again, and as long as it counts, it weakens
   the quorum.
4. *Add.* A wanted member that is missing joins. No node is a member twice: its dead self is cleared first.
5. *Remove.* Members that are not wanted go, once all wanted ones are in and caught up; where one of them leads, it
   first hands over.
6. *Balance.* With the membership as wanted, leadership goes to the preferred node, if that has caught up.

No step is taken that would leave the group without a quorum: only members that the leader hears, that have caught up
and are not gone for good are counted for, both before and after the change. (The link to a node is up whatever its
replica's number, so in a quiet group a leader takes a renewed replica's dead self for healthy.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import msgspec

from raftcache.consensus.api import MemberId
from raftcache.metadata.commands import (
    DeclareLost,
    MetadataCommand,
    RetractLost,
    SetMetadataMembers,
    SetShard,
    ShardStarted,
)
from raftcache.metadata.identities import Newest, is_gone, newest_identities, quorum_of
from raftcache.metadata.losses import described, is_lost, survivors_of
from raftcache.metadata.reports import GroupReport, ReplicaReport
from raftcache.metadata.state import METADATA_GROUP, MetadataState, Shard


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


class ReplicaFacts(NamedTuple):
    """What is known of replicas beside their leaders' reports, each by group id: the fresh reports of the replicas
    themselves, the highest identities that nodes ever reported, and which groups have had no leader for long."""

    held: Mapping[str, Collection[ReplicaReport]] = {}
    identities: Mapping[str, Collection[MemberId]] = {}
    leaderless: Collection[str] = ()


NOTHING_KNOWN = ReplicaFacts()


def decide(
    state: MetadataState,
    reports: Mapping[str, GroupReport],
    up: Collection[str],
    facts: ReplicaFacts = NOTHING_KNOWN,
) -> list[Action]:
    """The next action of every group that has anything to do. `up` are the nodes heard from lately.

    A group without a report has no leader to ask; all that can be done for it is to declare it lost.
    """
    incarnations = {node.id: node.incarnation for node in state.nodes}
    actions = (_next_action(state, group, reports.get(group), up, facts, incarnations) for group in _groups(state))
    return [action for action in actions if action is not None]


def _groups(state: MetadataState) -> Iterator[str]:
    if state.metadata:
        yield METADATA_GROUP
    for shard in state.shards:
        yield shard.id


def _next_action(
    state: MetadataState,
    group: str,
    report: GroupReport | None,
    up: Collection[str],
    facts: ReplicaFacts,
    incarnations: Mapping[str, str],
) -> Action | None:
    wanted, shard = state.wanted(group), state.shard(group)
    held = facts.held.get(group, ())
    claims = chain(
        wanted,
        shard.initial if shard is not None else (),
        report.members if report is not None else (),
        facts.identities.get(group, ()),
        *(each.members for each in held),
    )
    newest = newest_identities(incarnations, claims)
    if report is None:
        return _declare(shard, held, newest) if shard is not None and group in facts.leaderless else None
    report = _without_the_gone(report, newest)
    return (
        _led_after_all(shard)
        or _renew(group, wanted, newest)
        or _clear(report, newest)
        or _add(wanted, report, up)
        or _remove(state, wanted, report)
        or _balance(shard, wanted, report)
    )


def _declare(shard: Shard, held: Collection[ReplicaReport], newest: Newest) -> Propose | None:
    """Declare a shard lost, and again where more survivors turn up than are known."""
    if not is_lost(shard, held, newest):
        return None
    survivors = survivors_of(held, newest)
    known = {each.member for each in shard.survivors}
    if shard.state == "lost" and known >= {each.member for each in survivors}:
        return None
    return Propose(shard.id, DeclareLost(shard.id, described(survivors)))


def _led_after_all(shard: Shard | None) -> Propose | None:
    if shard is not None and shard.state == "lost":
        return Propose(shard.id, RetractLost(shard.id))
    if shard is not None and shard.source is not None:
        return Propose(shard.id, ShardStarted(shard.id))
    return None


def _without_the_gone(report: GroupReport, newest: Newest) -> GroupReport:
    healthy = tuple(member for member in report.healthy if not is_gone(member, newest))
    return msgspec.structs.replace(report, healthy=healthy)


def _renew(group: str, wanted: tuple[MemberId, ...], newest: Newest) -> Propose | None:
    """Want each node under its present identity."""
    renewed = tuple(newest[member.node] for member in wanted)
    if renewed == wanted:
        return None
    if group == METADATA_GROUP:
        return Propose(group, SetMetadataMembers(renewed))
    return Propose(group, SetShard(group, replicas=renewed))


def _clear(report: GroupReport, newest: Newest) -> RemoveMember | None:
    for member in report.members:
        if is_gone(member, newest) and _removable(member, report):
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
    return count >= quorum_of(members)


def _count(members: Iterable[MemberId], healthy: Iterable[MemberId]) -> int:
    return len(set(members) & set(healthy))
