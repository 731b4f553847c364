"""Elections: who may campaign, who may vote, and what counts as a vote.

Raft alone lets any replica that did not hear from its leader for a while depose it, and a replica that was
paused, or cut off one way, does so again and again (hazard 14). Two rules from Ongaro's thesis hold here:

- *Pre-vote* (section 9.6): before a replica raises its term it asks all others whether they would vote for it.
  Only when a majority would does it campaign. The question changes nobody's term.
- *Stickiness* (section 4.2.3): a replica that heard from a leader within the minimum election timeout neither
  grants a pre-vote nor a vote, not to itself either, and a leader that a quorum still answers to does the same. A
  leadership transfer is the exception: the leader itself asked for that campaign.

A replica counts its own start as having heard a leader, so a node that restarts keeps quiet for one timeout. Leases
rest on this and on stickiness (`lease`): whoever loosens either makes linearizable reads stale.

A replica that lost power, and was not synced always, may have forgotten entries that it acknowledged (`suspect`,
DESIGN section 7). A candidate without them could win with its vote. So who counts the votes of n members wants n - n//2
from *trusted* ones, its own included: as many as have one in common with every majority that acknowledged something,
whichever of them are suspect. With an odd number of members that is a majority, so the votes of suspects are worth
nothing; with an even number they may fill up what is lacking to a majority, without which two members of which one is
suspect could never elect anybody. Terms and votes are always synced, so a suspect still votes once a term.

It is trusted again when it holds a commit index that a leader sent after its start. One thing more than DESIGN says:
that leader must have committed an entry of its *own* term, for a new leader's commit index may still be below what its
predecessor acknowledged. Where a majority is suspect at once, a majority has lost power; nobody would ever lead then,
so ordinary rules apply. Members whose disk is gone for good (`Host.is_gone`) count with the suspects: one of each among
three is a majority that may have forgotten, and waiting for it would be waiting for ever. A suspect counts as one by
what it says in its vote, and not by what was heard of it before, for meanwhile it may have caught up.

A vote is an answer to a request addressed to one identity (node, incarnation, replica number), so a node that
lost its disk cannot vote again under its old name (hazard 4): the old name gets no messages any more. Votes are
counted once a member and term (hazard 26).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from raftcache.consensus.api import MemberId
from raftcache.consensus.messages import PRE_VOTE, PRE_VOTE_REPLY, REQUEST_VOTE, STALE_TERM, VOTE

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


log = logging.getLogger("raftcache.consensus")


class Election:
    """The election rules of one replica."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._heard_at = group.runtime.now()
        self._transfer_term = -1
        self._round = 0
        self._round_ends = self._ask_again_at = 0.0
        self._granted: dict[MemberId, bool] = {}
        self._passed_term = -1
        self._votes: dict[MemberId, bool] = {}
        self._counted: set[MemberId] = set()
        self._votes_term = -1
        self._told_majority = False
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
        if self._g.member not in self._g.members or self._g.stopped:
            return False
        term, now = self._g.engine.term(), self._g.runtime.now()
        if term != self._transfer_term and len(self._g.members) > 1:
            self._g.engine.end_transfer()
            if self._sticks_to_leader() or not self._passed(term, now):
                return False
        self._passed_term = -1
        self.campaign_at = now
        return True

    def _passed(self, term: int, now: float) -> bool:
        """Whether a majority would vote for this replica; where it is not known yet, ask."""
        if term == self._passed_term:
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
        self._granted = {}
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
        wall_ms = self._g.runtime.wall_ms()
        self._g.post(node, PRE_VOTE_REPLY, self._g.engine.term(), granted, number, wall_ms, self.suspect)

    def on_pre_vote_reply(
        self, node: PeerNode, term: int, granted: bool, number: int, wall_ms: int, suspect: bool
    ) -> None:
        """Count it; enough of them open the way for the campaign at the next tick."""
        self._g.vitals.note_wall(node, wall_ms)
        if term > self._g.engine.term():
            self._g.engine.adopt_term(term)
        elif granted and number == self._round and node.member in self._g.members:
            self._granted[node.member] = suspect
            if self._are_enough(self._granted):
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
        self._g.post(node, VOTE, term, self._g.runtime.wall_ms(), self.suspect)

    def on_vote(self, node: PeerNode, term: int, wall_ms: int, suspect: bool) -> None:
        """One vote a member and term. The engine gets them once they are enough."""
        self._g.vitals.note_wall(node, wall_ms)
        if term != self._votes_term:
            self._votes, self._counted, self._votes_term = {}, set(), term
        if node.member in self._g.members:
            self._votes[node.member] = suspect
        if self._are_enough(self._votes):
            for voter in self._g.voters:
                if voter.member in self._votes.keys() - self._counted:
                    self._counted.add(voter.member)
                    self._g.engine.deliver(voter, {"type": "response_vote", "term": term})

    # -- replicas that may have forgotten --------------------------------------------------------

    @property
    def suspect(self) -> bool:
        """Whether this replica may have forgotten what it acknowledged."""
        return self._g.storage.suspicion.active

    def _are_enough(self, votes: dict[MemberId, bool]) -> bool:
        """Whether these votes with this replica's own elect a leader that has everything acknowledged. The values say
        whether the voter is suspect."""
        members = self._g.members
        votes = {self._g.member: self.suspect} | {each: votes[each] for each in members if each in votes}
        if not self._g.is_majority(set(votes)):
            return False
        suspects = {each for each, suspect in votes.items() if suspect}
        if len(votes) - len(suspects) >= len(members) - len(members) // 2:
            return True
        forgetful = suspects | {each for each in members if self._g.host.is_gone(self._g.group_id, each)}
        if not self._g.is_majority(forgetful):
            return False
        self._tell_majority(forgetful)
        return True

    def _tell_majority(self, forgetful: set[MemberId]) -> None:
        """Once a start: what follows may cost writes that a quorum had acknowledged."""
        if not self._told_majority:
            self._told_majority = True
            names = ", ".join(sorted(each.node for each in forgetful))
            text = "%s: a majority may have forgotten what it acknowledged (%s); it elects a leader all the same"
            log.error(text, self._g.group_id, names)

    def heard_commit(self, term: int, commit: int) -> None:
        """A leader of `term` says that everything up to `commit` is committed; trust this replica again where it
        holds that, and it is an entry of that very term."""
        if self.suspect and self._g.journal.holds(commit, term):
            name = self._g.member.node
            log.warning("%s: %s has caught up with all that it may have forgotten", self._g.group_id, name)
            self._g.storage.suspicion.lift()

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
