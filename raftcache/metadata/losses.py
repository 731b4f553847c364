"""When a shard's quorum is gone for good. Pure.

It is declared, never guessed: a shard without a leader is lost only when no replica that is left can ever be elected.
The wanted members cannot tell that, since wants change; the survivors' own logs can. A survivor goes by the members in
its own log, and in an election it gets the vote of no member that is gone for good and of none whose log is newer than
its own; everybody else, those who are silent or not open included, might vote for it. Where not one survivor can get a
majority, nobody will ever lead.

Who is silent may know of members that no survivor has heard of. So while a wanted member that is not gone is silent,
the wanted members must have lost their majority, too. They are also what is left to go by where no survivor holds
anything: they are renewed only while a leader reports, so they still name those of the last leadership. For a shard
that has not had a leader yet, its first members take their place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from raftcache.consensus.api import MemberId
from raftcache.metadata.identities import Newest, is_gone, quorum_of
from raftcache.metadata.reports import ReplicaReport
from raftcache.metadata.state import Shard, Survivor


def survivors_of(reports: Collection[ReplicaReport], newest: Newest) -> list[ReplicaReport]:
    """The replicas that are known to hold something, those with the newest logs first."""
    holding = [
        report
        for report in reports
        if report.state == "open" and not report.empty and not is_gone(report.member, newest)
    ]
    return sorted(holding, key=lambda report: (report.position, report.member), reverse=True)


def is_lost(shard: Shard, held: Collection[ReplicaReport], newest: Newest) -> bool:
    """Whether nobody can ever lead the shard again. `held` is what nodes say now of the replicas that they hold."""
    survivors = survivors_of(held, newest)
    if any(_electable(each, survivors, newest) for each in survivors):
        return False
    wanted = shard.initial if shard.source is not None else shard.replicas
    left = [member for member in wanted if not is_gone(member, newest)]
    known = {report.member for report in held if report.state == "open"}
    if survivors and known.issuperset(left):
        return True
    return not _is_majority(left, wanted)


def _electable(candidate: ReplicaReport, survivors: Sequence[ReplicaReport], newest: Newest) -> bool:
    newer = {each.member for each in survivors if each.position > candidate.position}
    voters = [each for each in candidate.members if not is_gone(each, newest) and each not in newer]
    return candidate.member in candidate.members and _is_majority(voters, candidate.members)


def _is_majority(part: Sequence[MemberId], members: Sequence[MemberId]) -> bool:
    return len(part) >= quorum_of(len(members))


def described(survivors: Sequence[ReplicaReport]) -> tuple[Survivor, ...]:
    """The survivors as the state keeps them."""
    return tuple(Survivor(each.member, each.term, each.last_index, each.keys) for each in survivors)
