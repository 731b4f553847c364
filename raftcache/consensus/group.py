"""One replica of one Raft group: what the rest of raftcache holds in its hands.

A group is entered from outside (a frame, a tick, a proposal), runs the engine, and is left again; leaving hands
the log to the operating system *before* the messages that speak of it go to the links, and those that reflect what must
be on disk first wait for that (`gate`). Everything happens on the loop, in callbacks; nothing here blocks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from raftcache.consensus import seams
from raftcache.consensus.api import GroupStatus, MemberId, StateMachine
from raftcache.consensus.compaction import Compaction, TakenDone
from raftcache.consensus.election import Election
from raftcache.consensus.engine import LEADER, Engine, PeerNode
from raftcache.consensus.gate import Gate
from raftcache.consensus.journal import NO_OP, REGULAR, Journal, TakenBack
from raftcache.consensus.lease import Lease
from raftcache.consensus.membership import Membership
from raftcache.consensus.mending import Mending
from raftcache.consensus.messages import Message
from raftcache.consensus.replication import Replication
from raftcache.consensus.settings import APPLY_TURN_BYTES, ENTRY_LIMIT_BYTES
from raftcache.consensus.snapshots import SnapshotInbox, SnapshotSends
from raftcache.consensus.staleness import Staleness
from raftcache.consensus.syncing import Syncing
from raftcache.consensus.transfer import Transfer
from raftcache.consensus.transport import GroupTransport
from raftcache.consensus.vitals import Vitals
from raftcache.errors import NotLeader, OutcomeUnknown, Overloaded, RaftcacheError
from raftcache.net.api import Peer
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.storage import require_continued

if TYPE_CHECKING:
    from raftcache.consensus.host import Host

log = logging.getLogger("raftcache.consensus")

BARRIER_LIMIT = 10_000
"""Barriers waiting at one leader."""


class Group:
    """One replica. `Host.open_group` makes it; `Host.close_group` ends it."""

    journal: Journal
    engine: Engine
    replication: Replication
    election: Election
    membership: Membership
    compaction: Compaction
    sends: SnapshotSends
    inbox: SnapshotInbox
    gate: Gate
    syncing: Syncing
    mending: Mending
    lease: Lease

    def __init__(
        self,
        host: Host,
        group_id: str,
        member: MemberId,
        storage: GroupStorage,
        machine: StateMachine,
        always: bool = False,
    ) -> None:
        """`always`: sync the log before anything that speaks of it is sent, whatever the settings say."""
        self.group_id, self.member = group_id, member
        self.host, self.runtime, self.settings = host, host.runtime, host.settings
        self.storage, self.machine = storage, machine
        self.halted = ""
        """Why this replica stopped for good; empty while it runs."""
        self.on_lost: Callable[[str], None] = lambda _reason: None
        """Told, on the loop, that this replica's state is not the group's any more and has to go."""
        self.time_ms: Callable[[], int] = lambda: 0
        """What time it is for the machine, where this replica leads; 0 where it does not say."""
        self.on_time: Callable[[int], None] = lambda _time_ms: None
        """Told, with each append, what the leader's machine said."""
        self.propose_rest: Callable[[], None] = lambda: None
        """Has the machine propose what it has executed, before this leadership ends in good order."""
        self.elections_won = 0
        self.gate = Gate(self, always or self.settings.fsync == "always")
        self.syncing, self.mending = Syncing(self), Mending(self)
        self.lease, self.staleness = Lease(self), Staleness(self)
        self._depth = 0
        self._clock_before: Any = None
        self._outbox: list[tuple[str, Message]] = []
        self._leading_term: int | None = None
        self._elected_at = 0.0
        self._gained = self._send_soon = False
        self._barriers: deque[tuple[int, Callable[[bool], None]]] = deque()
        self.vitals, self.transfer = Vitals(self), Transfer(self)
        self._build()

    def _build(self) -> None:
        snapshot = self.storage.snapshots.latest()
        self.journal = Journal(self.storage.log, self.storage.votes, snapshot)
        self.replication = Replication(self)
        self.transport = GroupTransport(self)
        self.compaction = Compaction(self)
        self.sends, self.inbox = SnapshotSends(self), SnapshotInbox(self)
        with seams.entered(self.runtime):
            self.engine = Engine(PeerNode(self.member), self.journal, self.transport, self, self.settings)
            self.election, self.membership = Election(self), Membership(self)
            self.journal.applied_index = self.engine.applied_index
            self.journal.on_members = self.membership.refresh
            self.journal.on_cut = self.syncing.cut
            self.membership.refresh()

    # -- status ----------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this replica believes that it leads; see `leads_now`."""
        return self.engine.is_leader()

    @property
    def term(self) -> int:
        """The current term."""
        return self.engine.term()

    @property
    def leader(self) -> str | None:
        """The node that leads the current term, where known."""
        member = self.engine.leader()
        return member.node if member is not None else None

    @property
    def commit_index(self) -> int:
        """The newest entry known to be committed."""
        return self.engine.commit_index()

    @property
    def applied_index(self) -> int:
        """The newest entry applied."""
        return self.engine.applied_index()

    @property
    def last_index(self) -> int:
        """The newest entry in the log."""
        return self.journal[-1].index

    @property
    def members(self) -> tuple[MemberId, ...]:
        """The members in force."""
        return self.membership.members

    @property
    def voters(self) -> list[PeerNode]:
        """The other members."""
        return self.membership.voters

    @property
    def disk_error(self) -> str:
        """Why this replica cannot write its log just now; it goes on by itself when it can. Empty while it can."""
        return self.mending.reason

    @property
    def stopped(self) -> bool:
        """Whether this replica takes no part in its group, for good or for now."""
        return bool(self.halted or self.mending.reason)

    @property
    def suspect(self) -> bool:
        """Whether this replica may have forgotten what it acknowledged; its vote alone elects nobody then."""
        return self.election.suspect

    @property
    def durable_index(self) -> int:
        """At the leader: everything up to it is committed and synced on a quorum, as far as anybody asked for that."""
        return self.syncing.durable_index

    @property
    def on_disk(self) -> bool:
        """Whether a quorum of this group can keep anything over a loss of power."""
        return self.syncing.has_disk()

    def leads_now(self) -> bool:
        """Whether this replica leads and a quorum has answered something that it sent within the fallback time.

        To be asked at every command: a process that was paused finds out here, before it reads its sockets.
        """
        return self.leads_at(self.runtime.now())

    def leads_at(self, now_s: float) -> bool:
        """The same at `now_s`, which is now: for one who has just looked at the clock, behind the sockets it read."""
        if self._leading_term is None or self.transfer.active:
            return False
        return not self.membership.voters or now_s - self.replication.quorum_at < self.settings.fallback

    def staleness_ms(self) -> int | None:
        """How long ago it can have been, at most, that something was committed which is not applied here; None while
        that is not known."""
        return self.staleness.staleness_ms()

    def longest_ms(self, measured_s: float) -> int:
        """What a time that this node's clock measured can have been at most, for its rate may be off; rounded up."""
        return ceil(measured_s * 1000 / (1 - self.settings.max_clock_drift))

    def holds_lease(self) -> bool:
        """Whether this replica leads and it is certain that nobody has been elected after it (`lease`): what it has
        applied and proposed is all that can have been committed anywhere. True only of the moment of the call."""
        if self._leading_term is None or not self.lease.holds():
            return False
        if self.host.observer is not None:
            self.host.observer.leased(self.group_id, self.member.node, self._leading_term)
        return True

    @property
    def alone_from_s(self) -> float:
        """At the leader: from when on, by the runtime's clock, no earlier leader can be serving any more.

        An earlier one counts its fallback time from what a quorum answered before it elected this leader.
        """
        return self._elected_at + self.settings.fallback_elsewhere

    def is_majority(self, members: set[MemberId]) -> bool:
        """Whether `members`, all of them in force, are more than half."""
        return 2 * len(members) > len(self.members)

    def median_wall_ms(self) -> int:
        """The median of the voters' wall clocks, as far as they have been heard of."""
        return self.vitals.median_wall_ms()

    def status(self) -> GroupStatus:
        """A picture of this replica for people and metrics."""
        return self.vitals.status()

    # -- acting ----------------------------------------------------------------------------------

    def propose(self, payload: bytes, sync: bool = False) -> int:
        """Append `payload` to the log and send it; returns its index. It may still be lost until it is applied. With
        `sync`, every member syncs it as soon as it can, and the machine is told once a quorum has.

        Raises NotLeader, or Overloaded where it is over `ENTRY_LIMIT_BYTES`; nothing was appended then. Raises
        OutcomeUnknown where the log failed; this replica has stopped then.
        """
        if len(payload) > ENTRY_LIMIT_BYTES:
            raise Overloaded(f"an entry of {len(payload)} bytes is over the limit of {ENTRY_LIMIT_BYTES}")
        if sync and self.engine.is_leader():
            self.syncing.want(self.last_index + 1)
        return self._append(payload, REGULAR)

    def barrier(self, done: Callable[[bool], None]) -> None:
        """Call `done(True)` when everything proposed before is applied and this replica still led; else False."""
        try:
            if len(self._barriers) >= BARRIER_LIMIT:
                raise Overloaded(f"barriers waiting: {BARRIER_LIMIT} reach the limit")
            index = self._append(b"", NO_OP)
        except RaftcacheError:
            done(False)
            return
        self._barriers.append((index, done))

    def want_synced(self, index: int) -> None:
        """Have what is in the log up to `index` synced on every member as soon as can be; the machine is told once a
        quorum has. Harmless where this replica does not lead."""
        if self.engine.is_leader() and not self.stopped:
            self.run(self.syncing.want_now, min(index, self.last_index))
            self.send_soon()

    def append_membership(self, payload: bytes, kind: int) -> None:
        """A membership entry, from `membership`."""
        self.syncing.want(self.last_index + 1)
        self._append(payload, kind)

    def _append(self, payload: bytes, kind: int) -> int:
        if not self.engine.is_leader() or self.stopped or self.transfer.asked:
            raise NotLeader(
                f"{self.member.node} does not lead {self.group_id}", leader=self.leader, term=self.term
            )
        self.run(self.engine.append_command, payload, kind)
        if self.stopped:
            # The entry stays in the journal, to be written once the disk works, so this is not a definite failure.
            raise OutcomeUnknown(f"{self.member.node} stopped in {self.group_id}: {self.halted or self.disk_error}")
        return self.last_index

    def step_down(self, reason: str) -> None:
        """Follow; harmless where this replica does not lead."""
        if self.engine.is_leader():
            log.warning("%s: %s steps down in term %d: %s", self.group_id, self.member.node, self.term, reason)
            self.run(self.engine.step_down)

    def transfer_leadership(self, node_id: str | None = None) -> bool:
        """Hand over to `node_id`, or to whoever has come furthest. Serves no commands while it is under way, and
        gives up after one election timeout. False where it cannot even start."""
        return self.transfer.start(node_id)

    def add_member(self, member: MemberId) -> None:
        """Let `member` catch up, then make it a voter. Raises NotLeader or ChangeInProgress."""
        self.run(self.membership.add, member)

    def remove_member(self, member: MemberId) -> None:
        """Take a voter out. Raises NotLeader, ChangeInProgress, or BadRequest for this leader itself."""
        self.run(self.membership.remove, member)

    def take_snapshot(self, done: TakenDone | None = None) -> bool:
        """Take a snapshot now; False where one is under way or nothing is new. `done` is told once what came of it,
        or of the one under way."""
        running, taken = self.compaction.running, self.compaction.taken
        self.run(self.compaction.take, done or (lambda _outcome: None))
        return not running and (self.compaction.running or self.compaction.taken > taken)

    # -- driven by the host ----------------------------------------------------------------------

    def run(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do `work` inside the group: with its clock, and with its messages leaving afterwards. A log that cannot
        be written, or a defect of ours, stops this replica, alone, before anything that speaks of it leaves."""
        self._enter()
        try:
            work(*arguments)
        except OSError as error:
            self._log_failed(error)
        except (TakenBack, WalDamaged) as error:
            self.lose(str(error))
        except RaftcacheError:
            raise
        except Exception as error:
            log.exception("%s: a defect in this replica", self.group_id)
            self._outbox.clear()
            self._halt(f"a defect: {error!r}")
        finally:
            self._leave()

    def receive(self, peer: Peer, message: Message) -> None:
        """One message from a link."""
        if not self.stopped and message[2] == self.member.replica:
            node = self.membership.node(MemberId(peer.node_id, peer.incarnation, message[3]))
            self.run(self.host.handler(self, message[1]), node, *message[4:])

    def tick(self, timed: bool) -> None:
        """One step. `timed` ones come by the clock, the others after messages and proposals."""
        if not self.stopped:
            self.run(self._tick, timed)

    def _tick(self, timed: bool) -> None:
        self.engine.tick()
        try:
            if self.engine.is_leader():
                self._tick_leader(timed)
        except RaftcacheError as error:
            log.info("%s: a step of the leader is put off: %s", self.group_id, error)
        if timed:
            self.compaction.poll()

    def _tick_leader(self, timed: bool) -> None:
        if self.voters and self.runtime.now() - self.replication.quorum_at >= self.settings.fallback:
            self.step_down("no quorum has answered within the fallback time")
            return
        behind = timed and self.engine.commit_index() > self.replication.sent_commit
        if self._send_soon or behind:
            self._send_soon = False
            self.engine.send_appends()
            self.replication.sent_commit = self.engine.commit_index()
        if timed:
            self.election.heard_commit(self.term, self.commit_index)
            self.transfer.poll()
            self.membership.poll()
            self.sends.poll()
            self.vitals.mark()

    def link_changed(self, node_id: str, incarnation: str, up: bool, same_run: bool) -> None:
        """The link to a node came up or went down."""
        self.gate.forget(node_id)
        for node in self.membership.peers():
            if node.member.node == node_id and node.member.incarnation == incarnation:
                self.sends.pause(node)
                self.replication.link_changed(node, same_run)
                (self.transport.connected if up else self.transport.disconnected)(node)

    def sync_soon(self) -> None:
        """Sync what nobody waits for; for the timer of `fsync: interval`."""
        self.syncing.sync()

    def close(self) -> bool:
        """Stop, sync, and let go of the files; the machine is told if it led. False where the disk did not take all."""
        self.compaction.abandon()
        self.inbox.abort()
        if not self.stopped:
            self.propose_rest()
            self.run(self._let_out)
            self.run(self.engine.step_down)
        whole = not self.stopped
        self.halted = self.halted or "closed"
        self.gate.clear()
        try:
            if whole:
                self.journal.flush()
                self.syncing.sync_now()
            if not self.mending.running:
                self.journal.close()
        except OSError as error:
            log.error("%s: the log is not whole on disk: %s", self.group_id, error)
            return False
        return whole

    # -- inside ----------------------------------------------------------------------------------

    def _let_out(self) -> None:
        """Put the log on disk, and send what waits for that: there is no later turn in which it could leave."""
        self.journal.flush()
        self.syncing.sync_now()
        self.gate.release()

    def post(self, node: PeerNode, kind: int, *fields: Any) -> None:
        """Put a message to `node` into the outbox; dropped where that incarnation is out of reach."""
        member = node.member
        if self.host.reaches(member):
            self._outbox.append((member.node, [self.group_id, kind, member.replica, self.member.replica, *fields]))

    def send_soon(self) -> None:
        """A follower must be sent something without waiting for the next heartbeat."""
        self._send_soon = True
        self.host.mark(self)

    def snapshot_needed(self, node: PeerNode) -> None:
        """The log no longer has what `node` lacks."""
        self.sends.needed(node)

    def _enter(self) -> None:
        if self._depth == 0:
            self._clock_before = seams.enter(self.runtime)
        self._depth += 1

    def _leave(self) -> None:
        try:
            if self._depth == 1:
                self._announce()
                self._settle()
        finally:
            self._depth -= 1
            if self._depth == 0:
                seams.enter(self._clock_before)

    def _announce(self) -> None:
        if self._gained and self.engine.is_leader() and self.journal.vote_synced():
            self._gained = False
            self._leading_term = self.engine.term()
            self.machine.leadership_gained(self._leading_term)

    def _settle(self) -> None:
        """The log first, then what speaks of it. A replica that has stopped says nothing, and leaves its log alone: a
        thread may be mending it."""
        if self.stopped:
            self._outbox.clear()
            return
        try:
            self.journal.flush()
            if self.gate.always and not self.voters:
                self.syncing.sync_now()  # Nobody is sent anything, so nothing else would wait for the disk.
        except OSError as error:
            self._log_failed(error)
        if self.stopped:
            return
        if not self.journal.vote_synced():
            self.host.sync_votes()
        self.syncing.poll()
        self.gate.release()
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self.gate.pass_on(outbox)
        if self.engine.is_leader() or self.engine.commit_index() > self.engine.applied_index():
            self.host.mark_if_due(self)

    def _log_failed(self, error: OSError) -> None:
        self.mending.failed(error)
        self._fall_silent()

    def _halt(self, reason: str) -> None:
        log.error("%s: this replica stops: %s", self.group_id, reason)
        self.halted = reason
        self._fall_silent()

    def _fall_silent(self) -> None:
        """A snapshot under way is given up as well: it would cut the log when it is done."""
        self._outbox.clear()
        self.gate.clear()
        self.compaction.abandon()
        if self.engine.is_leader():
            self.engine.step_down()

    def lose(self, reason: str) -> None:
        """This replica's state is not the group's any more: stop, and have it wiped."""
        self._halt(reason)
        self.runtime.call_soon(lambda: self.on_lost(reason))

    def resumed(self) -> None:
        """The disk works again."""
        self.engine.postpone_election()
        self.host.mark(self)

    # -- hooks of the engine ---------------------------------------------------------------------

    def may_campaign(self) -> bool:
        """See `election`."""
        return self.election.may_campaign()

    def state_changed(self, old: int, new: int) -> None:
        """The engine changed state, in the middle of something: tell the machine at once when leadership is
        lost, before anything else is applied, and later when it is gained."""
        if new == LEADER:
            self._gained = True
            self._elected_at = self.runtime.now()
            self.vitals.leadership_gained()
            self.syncing.leadership_gained()
            self.elections_won += 1
            if self.host.observer is not None:
                self.host.observer.led(self.group_id, self.member.node, self.engine.term())
            self.replication.leadership_gained(self.election.campaign_at)
            self.staleness.leadership_gained()
            self.lease.leadership_gained()
        elif old == LEADER:
            self._lost()

    def _lost(self) -> None:
        term, self._leading_term = self._leading_term, None
        self._gained = False
        self.transfer.stop()
        self.sends.clear()
        self.membership.stop_adding()
        if term is not None:
            self.machine.leadership_lost(term)
        barriers, self._barriers = self._barriers, deque()
        for _, done in barriers:
            done(False)

    def apply_committed(self) -> None:
        """Apply committed entries, a bounded number of bytes; each index once, whatever the machine does."""
        applied, commit = self.engine.applied_index(), self.engine.commit_index()
        if applied >= commit:
            return
        first = self.journal[0].index
        budget = APPLY_TURN_BYTES
        while applied < commit and budget > 0 and not self.stopped:
            applied += 1
            entry = self.journal[applied - first]
            self.engine.set_applied(applied)
            budget -= len(entry.data) + 64
            if entry.data[0] == REGULAR:
                self._apply(entry.index, entry.term, entry.data[1:])
        while self._barriers and self._barriers[0][0] <= applied:
            self._barriers.popleft()[1](True)
        if self.engine.is_leader():
            self.syncing.count()

    def _apply(self, index: int, term: int, payload: bytes) -> None:
        if self.host.observer is not None:
            self.host.observer.applied(self.group_id, self.member.node, index, term, payload)
        try:
            self.machine.apply(index, term, payload)
        except Exception as error:
            log.exception("%s: applying entry %d failed", self.group_id, index)
            self._halt(f"entry {index} could not be applied: {error}")

    def install(self, meta: SnapshotMeta, prepared: Any) -> None:
        """Swap in a received snapshot that is in place on disk."""
        self.compaction.abandon()
        if self.journal.holds(meta.index, meta.term):
            self.journal.covered_by(meta)
            self.membership.refresh()
        else:
            self.journal.restart_at(meta)  # First, for it may fail, and then the machine must be as it was.
        self.machine.install(prepared, meta.index, meta.term)
        self.engine.jump_to(max(meta.index, self.engine.applied_index()))

    def restore(self, prepared: Prepared) -> None:
        """At start: bring the machine to the newest snapshot."""
        if prepared.meta is not None:
            self.compaction.state_bytes = prepared.state_bytes
            self.machine.install(prepared.state, prepared.meta.index, prepared.meta.term)


class Prepared(NamedTuple):
    """What a replica starts from: its newest snapshot, decoded. `meta` is None where there is none to start from."""

    meta: SnapshotMeta | None
    state: Any
    state_bytes: int


def prepare_group(storage: GroupStorage, machine: StateMachine) -> Prepared:
    """Decode the newest snapshot of a group that is to be opened. Belongs off the loop. Raises `SnapshotDamaged`, and
    `WalDamaged` where the log does not go on from it."""
    meta = storage.snapshots.latest()
    require_continued(storage.log, meta)
    if meta is None or meta.index == 0:
        return Prepared(None, None, 0)
    size = 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for block in storage.snapshots.blocks(meta):
            size += len(block)
            yield block

    state = machine.prepare_restore(measured())
    return Prepared(meta, state, size)
