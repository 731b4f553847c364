"""pysyncobj, fitted: the one class that reaches into it, and the list of what it reaches.

The seams (a Transport, a Journal, the construction-time names in `seams.py`) do most of the work. What they
cannot do is done here, by overriding a private method of the base class or by reading its state under its
mangled name; nothing outside this file knows such a name.

Overridden:
- `__connectedToAnyone`, the last condition before a campaign: asks the group, which wants a pre-vote first;
- `__applyLogEntries`: a bounded number a turn, with index and term, and never twice (hazards 6, 7, 30);
- `__sendAppendEntries`: a peer that needs a snapshot gets one filler a heartbeat; the base class would spin on it
  until the heartbeat's period is over (hazard 19). It leaves a peer alone that it thinks disconnected;
- `__tryLogCompaction`: snapshots are ours;
- `__parseChangeClusterRequest`: membership is read from the journal, so the engine finds none (hazards 3, 5, 27).
"""

from __future__ import annotations

import zlib
from typing import Any, Protocol

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftcache.consensus import seams
from raftcache.consensus.api import MemberId
from raftcache.consensus.journal import Journal
from raftcache.consensus.settings import ConsensusSettings

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2


class PeerNode(Node):  # type: ignore[misc]
    """A member as the engine knows it. The hash does not depend on PYTHONHASHSEED: members sit in sets, and the
    order of a set must be the same in every run of a seed."""

    def __init__(self, member: MemberId) -> None:
        super().__init__(str(member))
        self.member = member
        self._hash = zlib.crc32(str(member).encode())

    def __hash__(self) -> int:
        return self._hash


class Hooks(Protocol):
    """What the engine asks of its group."""

    def may_campaign(self) -> bool:
        """The election timeout has passed: may a campaign start now?"""

    def apply_committed(self) -> None:
        """Apply what is committed, as much as fits in a turn."""

    def state_changed(self, old: int, new: int) -> None:
        """Follower, candidate, leader."""


def _configuration(settings: ConsensusSettings, hooks: Hooks) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        # We batch ourselves and send right after appending; "use batch" spares a second append per commit.
        appendEntriesUseBatch=True,
        appendEntriesBatchSizeBytes=settings.append_limit_bytes,
        appendEntriesPeriod=settings.heartbeat_ms / 1000,
        raftMinTimeout=settings.election_min_ms / 1000,
        raftMaxTimeout=settings.election_max_ms / 1000,
        connectionTimeout=max(3.5, settings.election_max_ms / 1000),
        leaderFallbackTimeout=settings.fallback_ms / 1000,
        commandsWaitLeader=False,
        dynamicMembershipChange=False,
        onStateChanged=hooks.state_changed,
    )


class Engine(SyncObj):  # type: ignore[misc]
    """One replica of one group inside pysyncobj. Driven from outside: it has no thread, no socket, no file."""

    _SyncObj__otherNodes: set[PeerNode]
    _SyncObj__readonlyNodes: set[PeerNode]
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int

    def __init__(
        self, node: PeerNode, journal: Journal, transport: Transport, hooks: Hooks, settings: ConsensusSettings
    ) -> None:
        self._hooks = hooks
        self._skipped: list[PeerNode] = []
        with seams.construction(journal):
            super().__init__(node, [], _configuration(settings, hooks), transport=transport)
        self._SyncObj__raftLastApplied = journal.start_index
        self._SyncObj__raftCommitIndex = journal.start_index

    # -- overridden ------------------------------------------------------------------------------

    def _SyncObj__connectedToAnyone(self) -> bool:
        return self._hooks.may_campaign()

    def _SyncObj__applyLogEntries(self) -> bool:
        self._hooks.apply_committed()
        return False

    def _SyncObj__sendAppendEntries(self) -> None:
        SyncObj._SyncObj__sendAppendEntries(self)
        for node in self._skipped:
            self._SyncObj__connectedNodes.add(node)
        self._skipped.clear()

    def skip_for_now(self, node: PeerNode) -> None:
        """Send `node` nothing more in this round of appends."""
        self._SyncObj__connectedNodes.discard(node)
        self._skipped.append(node)

    def _SyncObj__tryLogCompaction(self) -> None:
        pass

    def _checkCommandsToApply(self) -> None:
        """Nothing: nobody puts a command into the engine's queue (`append_command`), and to look costs a lock."""

    def _SyncObj__parseChangeClusterRequest(self, _command: bytes) -> None:
        pass

    # -- driving ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """One step of the engine's clockwork: timeouts, commit, apply, heartbeats."""
        self._onTick(0.0)

    def append_command(self, payload: bytes, kind: int) -> None:
        """Append one entry in the current term and send it. Only for a leader.

        Not through the engine's queue: that is emptied against the clock, and a process that is stopped between
        two of its clock readings leaves the entry there.
        """
        last = self._SyncObj__getCurrentLogIndex()
        self._SyncObj__raftLog.add(bytes([kind]) + payload, last + 1, self._SyncObj__raftCurrentTerm)
        self.send_appends()

    def send_appends(self) -> None:
        """Send every connected peer what it lacks, or a heartbeat."""
        self._SyncObj__sendAppendEntries()

    def step_down(self) -> None:
        """Follow, in the same term."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)
        self.postpone_election()

    def adopt_term(self, term: int) -> None:
        """Follow in a higher term that a peer told of, without a vote in it."""
        self._SyncObj__setCurrentTerm(term, None)
        self.step_down()

    def end_transfer(self) -> None:
        """Heartbeats put the next campaign off again. From when it is told to campaign the engine lets none do so,
        until it campaigns or an append is of a higher term than its own: never, where it voted for that leader."""
        self._SyncObj__transferInProgress = False

    def postpone_election(self) -> None:
        """Draw a new election timeout, counted from now."""
        self._SyncObj__raftElectionDeadline = seams.now() + self._SyncObj__generateRaftTimeout()

    # -- reading ---------------------------------------------------------------------------------

    def is_leader(self) -> bool:
        """Whether this replica believes that it leads."""
        return bool(self._SyncObj__raftState == LEADER)

    def term(self) -> int:
        """The current term."""
        return self._SyncObj__raftCurrentTerm  # type: ignore[no-any-return]

    def leader(self) -> MemberId | None:
        """The leader of the current term, where known."""
        node = self._SyncObj__raftLeader
        return node.member if node is not None else None

    def commit_index(self) -> int:
        """The newest entry known to be committed."""
        return self._SyncObj__raftCommitIndex

    def applied_index(self) -> int:
        """The newest entry applied."""
        return self._SyncObj__raftLastApplied

    def set_applied(self, index: int) -> None:
        """Entries up to `index` have been applied."""
        self._SyncObj__raftLastApplied = index

    def jump_to(self, index: int) -> None:
        """A snapshot of `index` was installed."""
        self._SyncObj__raftLastApplied = index
        self._SyncObj__raftCommitIndex = index

    # -- peers -----------------------------------------------------------------------------------

    def set_peers(self, voters: set[PeerNode], learners: set[PeerNode]) -> None:
        """The other voters, and those that only receive. New ones start at the end of the log."""
        known = self._SyncObj__otherNodes | self._SyncObj__readonlyNodes
        self._SyncObj__otherNodes = voters
        self._SyncObj__readonlyNodes = learners
        for node in known - voters - learners:
            for table in (self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex, self._SyncObj__lastResponseTime):
                table.pop(node, None)
        for node in (voters | learners) - known:
            self._SyncObj__raftNextIndex[node] = self._SyncObj__getCurrentLogIndex() + 1
            self._SyncObj__raftMatchIndex[node] = 0
            self._SyncObj__lastResponseTime[node] = seams.now()

    def feeds(self, node: PeerNode) -> bool:
        """Whether `node` is one of the other voters or a learner."""
        return node in self._SyncObj__raftMatchIndex

    def match_index(self, node: PeerNode) -> int:
        """How far `node`'s log is known to match; for a leader."""
        return self._SyncObj__raftMatchIndex.get(node, 0)  # type: ignore[no-any-return]

    def forget_match(self, node: PeerNode) -> None:
        """Count nothing for `node` until it acknowledges again."""
        if node in self._SyncObj__raftMatchIndex:
            self._SyncObj__raftMatchIndex[node] = 0

    def next_index(self, node: PeerNode) -> int:
        """What `node` is sent next; for a leader."""
        return self._SyncObj__raftNextIndex.get(node, 0)  # type: ignore[no-any-return]

    def set_next_index(self, node: PeerNode, index: int) -> None:
        """Send `node` from `index` on."""
        if node in self._SyncObj__raftNextIndex:
            self._SyncObj__raftNextIndex[node] = index

    def deliver(self, node: PeerNode, message: dict[str, Any]) -> None:
        """Hand the engine one message in its own form."""
        self._SyncObj__onMessageReceived(node, message)
