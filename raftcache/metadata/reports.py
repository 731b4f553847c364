"""What nodes report of their replicas: soft facts, sent again and again, true for seconds.

A leader tells how its group is (`GroupReport`). Any node tells of the replicas that a leader cannot speak for
(`ReplicaReport`): those whose leader is not known, and those that were renewed, whose number the metadata leader has
to learn before the group can take them in again.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from raftcache.commands.quotas import QuotaUse
from raftcache.consensus.api import GroupStatus, MemberId

CAUGHT_UP_ENTRIES = 1_000
CAUGHT_UP_MS = 2_000.0

REPLICA_REPORTS_LIMIT = 256
"""Replicas in one report. A node that has more to tell of goes on with the rest in its next one."""

REASON_LIMIT_CHARS = 200
"""Of why a replica is not open; the whole reason stands in its node's log."""


class GroupReport(msgspec.Struct, frozen=True, array_like=True):
    """A group as its leader sees it. `healthy` are the members it hears that have caught up, itself included."""

    group_id: str
    term: int
    leader: str
    members: tuple[MemberId, ...]
    healthy: tuple[MemberId, ...]
    uses: tuple[QuotaUse, ...] = ()
    """Of a shard's namespaces with a quota."""


class ReplicaReport(msgspec.Struct, frozen=True, array_like=True):
    """One replica as its node holds it.

    `members` are those in force by its own log, `term` and `last_index` its last entry's (what Raft compares logs
    by), `empty` whether it knows nothing of its group yet, and `keys` how many it holds, -1 where that is not known.
    Of one that is not `open` nobody knows more than its number yet; `reason` says what is being done to it, or why it
    stays closed.
    """

    group_id: str
    member: MemberId
    members: tuple[MemberId, ...]
    term: int
    last_index: int
    empty: bool
    keys: int = -1
    state: Literal["open", "opening", "refused"] = "open"
    reason: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """How new its log is: of two logs the one with the greater position is the newer (Raft, section 5.4.1)."""
        return self.term, self.last_index


def closed_replica(
    group_id: str, member: MemberId, state: Literal["opening", "refused"], reason: str
) -> ReplicaReport:
    """The report of a replica that takes no part in its group just now."""
    return ReplicaReport(group_id, member, (), 0, 0, False, state=state, reason=reason[:REASON_LIMIT_CHARS])


class NodeReport(msgspec.Struct, frozen=True, array_like=True):
    """What every node tells every other from time to time: that it lives, the groups it leads, and its replicas
    that no leader speaks for."""

    node: str
    groups: tuple[GroupReport, ...]
    replicas: tuple[ReplicaReport, ...] = ()
    demands: tuple[tuple[str, float], ...] = ()
    """How much of each limited rate was asked of it: see `shard.rates`."""


encode_report = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(NodeReport).decode


def report_of(status: GroupStatus, uses: tuple[QuotaUse, ...] = ()) -> GroupReport:
    """What a leader reports about its group."""
    healthy = [
        peer.member
        for peer in status.peers
        if peer.connected
        and not peer.snapshot_sending
        and peer.lag_entries <= CAUGHT_UP_ENTRIES
        and peer.lag_ms <= CAUGHT_UP_MS
    ]
    members = (status.members, (status.member, *healthy))
    return GroupReport(status.group_id, status.term, status.member.node, *members, uses)
