"""Membership: who votes in a group, and how that changes, one member at a time.

The voters are what the journal says (see `journal.py`), from the moment an entry is appended. A change is
proposed only when the last one is committed, applied and synced by a quorum of the new members, and an entry of the
leader's own term is committed: otherwise two disjoint majorities could decide (hazard 5; and the correction to Raft's
thesis of 2015 on single-server changes).

A new member starts as a *learner*: the leader sends it everything and does not count it. It becomes a voter once
it has caught up, so that adding an empty replica never takes the quorum away from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcache.consensus.api import MemberId
from raftcache.consensus.engine import PeerNode
from raftcache.consensus.journal import MEMBERSHIP, pack_members
from raftcache.consensus.settings import CAUGHT_UP_ENTRIES
from raftcache.errors import BadRequest, ChangeInProgress, NotLeader

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

KNOWN_NODES_LIMIT = 64
"""How many members, past and present, are remembered as objects."""


class Membership:
    """The members of one group as one replica sees them."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._nodes: dict[MemberId, PeerNode] = {}
        self._adding: MemberId | None = None
        self._fed: list[PeerNode] = []
        self.members: tuple[MemberId, ...] = ()
        self.voters: list[PeerNode] = []

    def node(self, member: MemberId) -> PeerNode:
        """The one object that stands for `member`."""
        found = self._nodes.get(member)
        if found is None:
            if len(self._nodes) >= KNOWN_NODES_LIMIT:
                self._nodes = {node.member: node for node in self.peers()}
            found = self._nodes[member] = PeerNode(member)
        return found

    def peers(self) -> list[PeerNode]:
        """All that this replica sends to when it leads: the other voters and a learner."""
        return self.voters + ([self.node(self._adding)] if self._adding is not None else [])

    def refresh(self) -> None:
        """Read the members from the journal again."""
        fed = set(self._fed)
        self.members = self._g.journal.members()
        self.voters = [self.node(member) for member in sorted(self.members) if member != self._g.member]
        if self._adding in self.members:
            self._adding = None
        peers = self.peers()
        learners = set(peers) - set(self.voters)
        self._g.engine.set_peers(set(self.voters), learners)
        self._g.replication.retain({node.member for node in peers})
        self._g.staleness.retain({node.member for node in peers})
        self._g.vitals.retain(set(self.members))
        for node in peers:
            if node not in fed and self._g.host.reaches(node.member):
                self._g.transport.connected(node)
        self._fed = peers

    # -- changes, at the leader ------------------------------------------------------------------

    def _require_settled(self) -> None:
        group = self._g
        if not group.is_leader:
            raise NotLeader(f"{group.member.node} does not lead {group.group_id}", leader=group.leader, term=group.term)
        own_term = group.journal.term_at(group.commit_index) == group.term
        if self._adding is not None or group.journal.change_index > group.commit_index or not own_term:
            raise ChangeInProgress(f"{group.group_id}: a membership change is not yet committed; one at a time")
        if not self._last_change_synced():
            raise ChangeInProgress(f"{group.group_id}: a membership change is not yet synced by a quorum")

    def _last_change_synced(self) -> bool:
        """A majority that loses power must not forget one change while the next counts on it. A leader asks for that
        also where the change is an earlier leader's."""
        group = self._g
        change = group.journal.change_index
        group.syncing.want(change)
        group.syncing.count()
        return group.durable_index >= change

    def add(self, member: MemberId) -> None:
        """Start to feed a learner; nothing to do where it is a voter or is being fed already. A node that has lost
        what it held while it was being fed is fed anew, under the identity that it has now."""
        if member in self.members or member == self._adding:
            return
        if self._adding is not None and self._adding.node == member.node:
            self.stop_adding()
        self._require_settled()
        self._adding = member
        self.refresh()
        self._g.send_soon()

    def remove(self, member: MemberId) -> None:
        """Take a voter out, or stop to feed a learner."""
        if member == self._adding:
            self.stop_adding()
        if member not in self.members:
            return
        self._require_settled()
        if member == self._g.member:
            raise BadRequest(f"{self._g.group_id}: a leader does not remove itself; transfer its leadership first")
        self._propose(tuple(m for m in self.members if m != member))

    def _propose(self, members: tuple[MemberId, ...]) -> None:
        self._g.append_membership(pack_members(members), MEMBERSHIP)

    def poll(self) -> None:
        """Make the learner a voter once it has caught up."""
        if self._adding is None or self._g.transfer.active:
            return
        node = self.node(self._adding)
        behind = self._g.last_index - self._g.engine.match_index(node)
        if behind <= CAUGHT_UP_ENTRIES and self._g.engine.match_index(node) > 0:
            self._propose((*self.members, self._adding))

    def stop_adding(self) -> None:
        """Feed the learner no more."""
        if self._adding is not None:
            self._adding = None
            self.refresh()
