"""Elections: who may campaign, who may vote, and what counts as a vote.

Raft alone lets any replica that did not hear from its leader for a while depose it, and a replica that was
paused, or cut off one way, does so again and again (hazard 14). Two rules from Ongaro's thesis hold here:

- *Pre-vote* (section 9.6): before a replica raises its term it asks all others whether they would vote for it.
  Only when a majority would does it campaign. The question changes nobody's term.
- *Stickiness* (section 4.2.3): a replica that heard from a leader within the minimum election timeout neither
  grants a pre-vote nor a vote, and a leader that a quorum still answers to does the same. A leadership transfer
  is the exception: the leader itself asked for that campaign.

A replica counts its own start as having heard a leader, so a node that restarts keeps quiet for one timeout.

A vote is an answer to a request addressed to one identity (node, incarnation, replica number), so a node that
lost its disk cannot vote again under its old name (hazard 4): the old name gets no messages any more. Votes are
counted once a member and term (hazard 26).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcache.consensus.api import MemberId
from raftcache.consensus.messages import PRE_VOTE, PRE_VOTE_REPLY, REQUEST_VOTE, STALE_TERM, VOTE

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


class Election:
    """The election rules of one replica."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._heard_at = group.runtime.now()
        self._transfer_term = -1
        self._round = 0
        self._round_ends = self._ask_again_at = 0.0
        self._granted: set[MemberId] = set()
        self._passed_term = -1
        self._votes: set[MemberId] = set()
        self._votes_term = -1
        self.campaign_at = 0.0
        """When the newest campaign's requests were sent: the leader's first sign of a quorum."""

    def heard_leader(self) -> None:
        """A leader of the current term sent something."""
        self._heard_at = self._g.runtime.now()
        self._granted.clear()
        self._passed_term = -1
        self._round_ends = 0.0

    def _sticks_to_leader(self) -> bool:
        if self._g.engine.is_leader():
            return self._g.leads_now()
        return self._g.runtime.now() - self._heard_at < self._g.settings.election_min

    # -- campaigning -----------------------------------------------------------------------------

    def may_campaign(self) -> bool:
        """The election timeout has passed. True lets the engine raise its term and ask for votes."""
        if self._g.member not in self._g.members or self._g.halted:
            return False
        term, now = self._g.engine.term(), self._g.runtime.now()
        if term in (self._passed_term, self._transfer_term) or len(self._g.members) == 1:
            self._passed_term = -1
            self.campaign_at = now
            return True
        if now >= self._round_ends:
            self._begin_round(now)
        elif now >= self._ask_again_at:
            self._ask(now)
        return False

    def _begin_round(self, now: float) -> None:
        """A round lasts as long as an election may: a network whose answers take that long elects nobody anyway.
        Within it, whoever has not granted is asked again every heartbeat or two, for a refusal wears off."""
        self._round += 1
        self._round_ends = now + self._g.settings.election_min * (1 + self._g.runtime.random.random())
        self._granted = {self._g.member}
        self._ask(now)

    def _ask(self, now: float) -> None:
        self._ask_again_at = now + self._g.settings.heartbeat_ms / 1000 * (1 + self._g.runtime.random.random())
        last = self._g.journal[-1]
        for node in self._g.voters:
            if node.member not in self._granted:
                self._g.post(node, PRE_VOTE, self._g.engine.term() + 1, last.index, last.term, self._round)

    def on_pre_vote(self, node: PeerNode, term: int, last_index: int, last_term: int, number: int) -> None:
        """Would we vote for `node` in `term`? Our own term goes along: a lower one can never win."""
        last = self._g.journal[-1]
        up_to_date = (last_term, last_index) >= (last.term, last.index)
        granted = term > self._g.engine.term() and up_to_date and not self._sticks_to_leader()
        self._g.post(node, PRE_VOTE_REPLY, self._g.engine.term(), granted, number, self._g.runtime.wall_ms())

    def on_pre_vote_reply(self, node: PeerNode, term: int, granted: bool, number: int, wall_ms: int) -> None:
        """Count it; a majority of the members opens the way for the campaign at the next tick."""
        self._g.vitals.note_wall(node, wall_ms)
        if term > self._g.engine.term():
            self._g.engine.adopt_term(term)
        elif granted and number == self._round and node.member in self._g.members:
            self._granted.add(node.member)
            if self._g.is_majority(self._granted):
                self._passed_term = self._g.engine.term()

    # -- voting ----------------------------------------------------------------------------------

    def send_request_vote(self, node: PeerNode, term: int, last_index: int, last_term: int) -> None:
        """The engine campaigns."""
        transfer = self._transfer_term == term - 1
        self._g.post(node, REQUEST_VOTE, term, last_index, last_term, transfer)

    def on_request_vote(
        self, node: PeerNode, term: int, last_index: int, last_term: int, transfer: bool
    ) -> None:
        """Let the engine decide, unless a leader was heard of or our term is higher."""
        if term < self._g.engine.term():
            self._g.post(node, STALE_TERM, self._g.engine.term())
        elif transfer or not self._sticks_to_leader():
            self._g.engine.deliver(
                node,
                {
                    "type": "request_vote",
                    "term": term,
                    "last_log_index": last_index,
                    "last_log_term": last_term,
                },
            )

    def send_vote(self, node: PeerNode, term: int) -> None:
        """The engine voted for `node`."""
        self._g.post(node, VOTE, term, self._g.runtime.wall_ms())

    def on_vote(self, node: PeerNode, term: int, wall_ms: int) -> None:
        """One vote a member and term."""
        self._g.vitals.note_wall(node, wall_ms)
        if term != self._votes_term:
            self._votes, self._votes_term = set(), term
        if node.member in self._g.members and node.member not in self._votes:
            self._votes.add(node.member)
            self._g.engine.deliver(node, {"type": "response_vote", "term": term})

    # -- transfer and stale leaders --------------------------------------------------------------

    def on_timeout_now(self, node: PeerNode, term: int) -> None:
        """Our leader wants us to take over, at once and without a pre-vote."""
        if self._g.engine.leader() == node.member and term == self._g.engine.term():
            self._transfer_term = term
            self._g.engine.deliver(node, {"type": "timeout_now", "term": term})

    def on_stale_term(self, _node: PeerNode, term: int) -> None:
        """Somebody is in a higher term: a leader that was cut off learns of it and follows (hazard 15)."""
        if term > self._g.engine.term():
            self._g.engine.adopt_term(term)
