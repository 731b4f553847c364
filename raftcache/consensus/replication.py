"""Appends and their acknowledgements: what passes between the engine and the wire, and what is mended there.

The engine's replication loses acknowledged writes under nothing worse than a paused leader. These are the rules
that hold it, each by the number of its hazard:

1. A follower's commit index never passes what *this* append proved to match: the engine takes the leader's
   commit index up to its own log's end, whether or not that end matches. Every append's commit index is capped
   at its last entry, and fillers carry none.
2. Appends in flight when a follower falls out of step each answer "start again from N", and each answer undid
   the step back of the one before, for ever. Appends carry a generation; one restart a generation is honoured.
   A follower whose log conflicts asks for the entry after its commit index: all before that is the leader's too.
3. After a successful answer the engine moves `next` back to what was acknowledged and sends all that is in
   flight again. `next` is put back to what was sent in this generation. (The journal's part is in `journal.py`.)
12. Answers carry the term and are dropped in any other.
15. An append of a lower term is answered with ours, so that its leader steps down. Appends carry their send
   time, answers echo it: a leader knows since when a quorum has been following it (`quorum_at`), counted from
   the *send*, so that a paused leader cannot mistake old answers for fresh ones.
16. A filler is answered, with both flags false: it says that the follower lives and nothing more.
25. A peer's new run id makes the leader forget how far that peer had come, until it acknowledges again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from raftcache.consensus.api import MemberId
from raftcache.consensus.journal import TakenBack
from raftcache.consensus.messages import ACK, APPEND, FILLER, STALE_TERM, Message, pack_entries, unpack_entries

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group


@dataclass(slots=True)
class Progress:
    """What a leader knows of one follower beyond the engine's own tables. Times are the leader's clock."""

    generation: int = 0
    sent_to: int = 0
    sent_term: int = 0
    acked_at: float = 0.0
    acked_term: int = 0
    promised_until: float = -inf


class Replication:
    """Both halves of one replica: the leader's and the follower's."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._progress: dict[MemberId, Progress] = {}
        self._answering: tuple[int, float] | None = None
        self._mismatch = False
        self.quorum_at = 0.0
        self.sent_commit = 0

    def progress(self, member: MemberId) -> Progress:
        """The record of one follower."""
        found = self._progress.get(member)
        if found is None:
            found = self._progress[member] = Progress()
        return found

    def retain(self, members: set[MemberId]) -> None:
        """Forget the rest."""
        self._progress = {member: p for member, p in self._progress.items() if member in members}

    # -- leader ----------------------------------------------------------------------------------

    def leadership_gained(self, since: float) -> None:
        """`since`: when the vote requests went out, which is the first that a quorum answered."""
        self.quorum_at = since
        self.sent_commit = 0

    def link_changed(self, node: PeerNode, same_run: bool) -> None:
        """What was in flight is lost; a restarted peer may have lost more (hazard 25)."""
        progress = self.progress(node.member)
        progress.generation += 1
        progress.sent_to = 0
        if not same_run:
            self._g.engine.forget_match(node)
            self._g.staleness.forget(node.member)
        match = self._g.engine.match_index(node)
        if self._g.engine.is_leader() and match:
            self._g.engine.set_next_index(node, match + 1)

    def send_append(self, node: PeerNode, message: dict[str, Any]) -> None:
        """The engine's append, stamped. An append without a place in the log asks for a snapshot."""
        term, now = message["term"], self._g.runtime.now()
        if message.get("prevLogIdx") is None:
            self._g.post(node, FILLER, term, now)
            self._g.engine.skip_for_now(node)
            self._g.snapshot_needed(node)
            return
        progress, entries = self.progress(node.member), message["entries"]
        if entries:
            progress.sent_to, progress.sent_term = entries[-1][1] + 1, term
        commit = message["commit_index"]
        self.sent_commit = max(self.sent_commit, commit)
        self._g.post(
            node,
            APPEND,
            term,
            commit,
            message["prevLogIdx"],
            message["prevLogTerm"],
            progress.generation,
            now,
            self._g.syncing.wish(),
            self._g.staleness.echo(node.member),
            self._g.time_ms(),
            *pack_entries(entries),
        )

    def on_ack(
        self,
        node: PeerNode,
        term: int,
        next_index: int,
        reset: bool,
        success: bool,
        generation: int,
        sent_at: float,
        wall_ms: int,
        stamp: float,
        silence_ms: int,
    ) -> None:
        """A follower's answer; the arguments are the fields of ACK."""
        engine, progress = self._g.engine, self.progress(node.member)
        self._g.vitals.note_wall(node, wall_ms)
        if term > engine.term():
            engine.adopt_term(term)
        if term != engine.term() or not engine.is_leader() or not engine.feeds(node):
            return  # Of another term, or of a member that was removed meanwhile.
        self._note_answer(progress, term, sent_at, silence_ms)
        self._g.staleness.stamped(node.member, stamp)
        if reset and generation != progress.generation:
            reset = success = False
        elif reset:
            progress.generation += 1
            progress.sent_to = 0
            next_index = max(1, min(next_index, self._g.journal[-1].index + 1))
            self._g.send_soon()
        self._deliver(node, next_index, reset, success)
        if success and progress.sent_term == term and progress.sent_to > engine.next_index(node):
            engine.set_next_index(node, progress.sent_to)

    def _deliver(self, node: PeerNode, next_index: int, reset: bool, success: bool) -> None:
        self._g.engine.deliver(
            node,
            {"type": "next_node_idx", "next_node_idx": next_index, "reset": reset, "success": success},
        )

    def _note_answer(self, progress: Progress, term: int, sent_at: float, silence_ms: int) -> None:
        lease = self._g.lease
        if progress.acked_term != term or sent_at > progress.acked_at:
            progress.acked_term, progress.acked_at = term, sent_at
            progress.promised_until = lease.promised_until(sent_at, silence_ms)
        self.quorum_at = max(self.quorum_at, self._quorum_time(term))
        lease.renew(self._promises(term))

    def _quorum_time(self, term: int) -> float:
        """The newest send time that a majority, the leader with it, has answered."""
        times = [self._g.runtime.now()]
        for voter in self._g.voters:
            progress = self.progress(voter.member)
            times.append(progress.acked_at if progress.acked_term == term else 0.0)
        times.sort(reverse=True)
        return times[len(times) // 2]

    def _promises(self, term: int) -> list[float]:
        """Until when each voter, this leader included, is certain to refuse its vote to others."""
        own = self._g.lease.promised_until(self._g.runtime.now(), self._g.settings.election_min_ms)
        known = [self.progress(voter.member) for voter in self._g.voters]
        return [own, *(each.promised_until if each.acked_term == term else -inf for each in known)]

    def note_contact(self, node: PeerNode) -> None:
        """Something other than an ACK showed that `node` lives and follows (a snapshot chunk's answer)."""
        self._deliver(node, 0, False, False)

    def snapshot_installed(self, node: PeerNode, index: int) -> None:
        """`node` now has everything up to `index`."""
        progress = self.progress(node.member)
        progress.generation += 1
        progress.sent_to = 0
        self._deliver(node, index + 1, True, True)
        self._g.send_soon()

    # -- follower --------------------------------------------------------------------------------

    def _accepts(self, node: PeerNode, term: int) -> bool:
        if term < self._g.engine.term():
            self._g.post(node, STALE_TERM, self._g.engine.term())
            return False
        self._g.election.heard_leader()
        return True

    def on_append(
        self,
        node: PeerNode,
        term: int,
        commit: int,
        prev_index: int,
        prev_term: int,
        generation: int,
        sent_at: float,
        sync_index: int,
        stamp: float,
        time_ms: int,
        *tail: Any,
    ) -> None:
        """A leader's append; the arguments are the fields of APPEND. Raises TakenBack."""
        if not self._accepts(node, term):
            return
        entries = unpack_entries(prev_index, list(tail))
        self._answering = (generation, sent_at)
        self._mismatch = self._conflicts(prev_index, prev_term)
        self._require_kept(prev_index, ends_there=not entries)
        try:
            self._g.engine.deliver(
                node,
                {
                    "type": "append_entries",
                    "term": term,
                    "commit_index": min(commit, prev_index + len(entries)),
                    "entries": entries,
                    "prevLogIdx": prev_index,
                    "prevLogTerm": prev_term,
                },
            )
        finally:
            self._answering = None
        self._g.syncing.asked(node, sync_index, heartbeat=not entries)
        self._g.staleness.echoed(commit, stamp)
        self._g.on_time(time_ms)
        self._g.election.heard_commit(term, commit)

    def _require_kept(self, prev_index: int, ends_there: bool) -> None:
        """A leader has everything that was ever committed, so its log neither differs from ours at an entry that we
        know to be committed, nor ends before it (`ends_there`: with nothing to send, it sends from its end). Raises
        TakenBack where it does: then a majority has forgotten what it had acknowledged."""
        commit = self._g.engine.commit_index()
        differs = self._mismatch and self._g.journal[0].index <= prev_index <= commit
        if differs or (ends_there and prev_index < commit):
            raise TakenBack(f"the leader's log contradicts this one at {prev_index}, committed here up to {commit}")

    def _conflicts(self, prev_index: int, prev_term: int) -> bool:
        journal = self._g.journal
        offset = prev_index - journal[0].index
        if offset < 0:
            return True
        return offset < len(journal) and journal[offset].term != prev_term

    def on_filler(self, node: PeerNode, term: int, sent_at: float) -> None:
        """A heartbeat without a place in the log: it keeps us from campaigning and commits nothing."""
        if not self._accepts(node, term):
            return
        filler = {"type": "append_entries", "term": term, "commit_index": 0, "serialized": None}
        self._g.engine.deliver(node, filler)
        self._answer(node, self._g.journal[-1].index + 1, False, False, -1, sent_at)

    def send_ack(self, node: PeerNode, message: dict[str, Any]) -> None:
        """The engine's answer to the append under way, stamped."""
        if self._answering is None:
            return
        next_index, reset = message["next_node_idx"], message["reset"]
        if reset and self._mismatch:
            next_index = self._g.engine.commit_index() + 1
        self._answer(node, next_index, reset, message["success"], *self._answering)

    def _answer(
        self, node: PeerNode, next_index: int, reset: bool, success: bool, generation: int, sent_at: float
    ) -> None:
        fields: Message = [self._g.engine.term(), next_index, reset, success, generation, sent_at]
        promises = (self._g.staleness.stamp(), self._g.settings.election_min_ms)
        self._g.post(node, ACK, *fields, self._g.runtime.wall_ms(), *promises)
