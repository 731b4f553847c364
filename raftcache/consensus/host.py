"""All groups of one node: one clockwork, one set of links, one frame per peer and loop turn.

Whatever happens in a turn of the loop (frames, proposals) marks its group; at the end of the turn each marked
group is ticked once, and what all groups have to say to one peer leaves as one frame. Besides, every group is
ticked by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from raftcache.clock import Handle, Runtime
from raftcache.consensus import messages as m
from raftcache.consensus import seams
from raftcache.consensus.api import MemberId, StateMachine
from raftcache.consensus.group import Group, Prepared, prepare_group
from raftcache.consensus.messages import Message, pack_frames, unpack_frame
from raftcache.consensus.pacing import TokenBucket
from raftcache.consensus.settings import ConsensusSettings
from raftcache.net.api import Peer, PeerLinks
from raftcache.wal.api import GroupStorage, SnapshotMeta, VoteStore

log = logging.getLogger("raftcache.consensus")

Handler = Callable[..., None]

VOTES_RETRY_S: Final = 1.0

_HANDLERS: dict[int, Callable[[Group], Handler]] = {
    m.APPEND: lambda g: g.replication.on_append,
    m.ACK: lambda g: g.replication.on_ack,
    m.FILLER: lambda g: g.replication.on_filler,
    m.REQUEST_VOTE: lambda g: g.election.on_request_vote,
    m.VOTE: lambda g: g.election.on_vote,
    m.PRE_VOTE: lambda g: g.election.on_pre_vote,
    m.PRE_VOTE_REPLY: lambda g: g.election.on_pre_vote_reply,
    m.TIMEOUT_NOW: lambda g: g.election.on_timeout_now,
    m.STALE_TERM: lambda g: g.election.on_stale_term,
    m.SNAPSHOT: lambda g: g.inbox.on_chunk,
    m.SNAPSHOT_ACK: lambda g: g.sends.on_ack,
    m.SNAPSHOT_REFUSED: lambda g: g.sends.on_refused,
    m.SYNCED: lambda g: g.syncing.on_synced,
}


class Observer(Protocol):
    """Sees what every group does; for the simulation's checks."""

    def led(self, group_id: str, node_id: str, term: int) -> None:
        """A replica won an election."""

    def leased(self, group_id: str, node_id: str, term: int) -> None:
        """A leader goes by its lease."""

    def applied(self, group_id: str, node_id: str, index: int, term: int, payload: bytes) -> None:
        """A replica applies a committed entry."""

    def durable(self, group_id: str, node_id: str, index: int) -> None:
        """A leader knows everything up to `index` to be committed and synced on a quorum."""


class Host:
    """The consensus of one node. `run_id` is new at every start, `incarnation` with every empty disk."""

    def __init__(
        self, node_id: str, incarnation: str, runtime: Runtime, links: PeerLinks, settings: ConsensusSettings
    ) -> None:
        self.node_id, self.incarnation = node_id, incarnation
        self.runtime, self.settings = runtime, settings
        self.groups: dict[str, Group] = {}
        self.on_note: Callable[[str, bytes], None] = lambda _node, _payload: None
        self.is_gone: Callable[[str, MemberId], bool] = self.is_replaced
        """Whether a member of a group is gone for good: its node lost its disk, or what it held of that group. The node
        may know more than the links do."""
        self.bad_frames = 0
        self.observer: Observer | None = None
        self.snapshot_rate = TokenBucket(
            settings.snapshot_rate_bytes_per_s, settings.snapshot_burst_bytes, runtime.now
        )
        self._links = links
        self._peers: dict[str, Peer] = {}
        self._runs: dict[str, str] = {}
        self._outbox: dict[str, list[Message]] = {}
        self._marked: dict[Group, None] = {}
        self._turn_due = False
        self.votes_error = ""
        """Why the terms and votes cannot be put on disk just now; groups with new ones keep silent meanwhile."""
        self._syncing_votes = False
        self._timer: Handle | None = None
        self._sync_timer: Handle | None = None
        seams.install_clock()
        links.attach(self)

    # -- groups ----------------------------------------------------------------------------------

    def open_group(
        self,
        group_id: str,
        storage: GroupStorage,
        machine: StateMachine,
        replica: int = 0,
        bootstrap: tuple[MemberId, ...] = (),
        always: bool = False,
        prepared: Prepared | None = None,
    ) -> Group:
        """Start this node's replica of a group.

        `prepared` is what `prepare_group` made of the storage, off the loop; without it that is done here. `always`:
        the group's log is synced before anything that speaks of it leaves. `bootstrap` names the first members of a
        group that is being created, this one among them; it counts only where the storage is empty. Without it an empty
        replica waits until a leader adds it. Raises what a damaged storage raises.
        """
        member = MemberId(self.node_id, self.incarnation, replica)
        prepared = prepared or prepare_group(storage, machine)
        if storage.snapshots.latest() is None and member in bootstrap:
            self._found(group_id, storage, bootstrap)
        group = Group(self, group_id, member, storage, machine, always)
        group.restore(prepared)
        self.groups[group_id] = group
        for peer in self._peers.values():
            group.link_changed(peer.node_id, peer.incarnation, True, True)
        return group

    @staticmethod
    def _found(group_id: str, storage: GroupStorage, bootstrap: tuple[MemberId, ...]) -> None:
        """A snapshot of nothing at index 0 holds the first members, so that they survive a restart."""
        meta = SnapshotMeta(group_id, 0, 0, tuple(str(member) for member in sorted(bootstrap)))
        storage.snapshots.writer(meta).commit()

    def close_group(self, group_id: str) -> bool:
        """Stop this node's replica of a group; its storage stays. False where its disk did not take all of it."""
        group = self.groups.pop(group_id, None)
        if group is None:
            return True
        self._marked.pop(group, None)
        return group.close()

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self.runtime.call_later(self.settings.tick_ms / 1000, self._timed)
        self._sync_timer = self.runtime.call_later(self.settings.fsync_interval_ms / 1000, self._sync_timed)

    def stop(self) -> bool:
        """Close every group and tick no more. True where everything is on disk now, down to the last vote."""
        for timer in (self._timer, self._sync_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._sync_timer = None
        votes = [group.storage.votes for group in self.groups.values()]
        whole = [self.close_group(group_id) for group_id in list(self.groups)]
        self._flush()
        return all([*whole, *map(_synced_now, votes)])

    # -- links -----------------------------------------------------------------------------------

    def link_up(self, peer: Peer) -> None:
        """A link to a node is ready."""
        same_run = self._runs.get(peer.node_id, peer.run_id) == peer.run_id
        self._runs[peer.node_id] = peer.run_id
        self._peers[peer.node_id] = peer
        for group in list(self.groups.values()):
            group.run(group.link_changed, peer.node_id, peer.incarnation, True, same_run)

    def link_down(self, node_id: str) -> None:
        """A link is gone."""
        peer = self._peers.pop(node_id, None)
        self._outbox.pop(node_id, None)
        if peer is not None:
            for group in list(self.groups.values()):
                group.run(group.link_changed, node_id, peer.incarnation, False, True)

    def frame_received(self, node_id: str, frame: bytes) -> None:
        """All messages that one turn of `node_id` had for us. A malformed one costs itself only."""
        peer = self._peers.get(node_id)
        if peer is None:
            return
        try:
            incoming = unpack_frame(frame)
        except ValueError as error:
            self._bad(node_id, error)
            return
        for message in incoming:
            if message[0] == m.NOTE_GROUP and len(message) == 2:
                self._note(peer, message[1])
            elif m.well_formed(message):
                self._receive(peer, message)
            else:
                self._bad(node_id, ValueError(f"not a message: {message!r:.100}"))

    def _note(self, peer: Peer, payload: bytes) -> None:
        try:
            self.on_note(peer.node_id, payload)
        except Exception as error:
            self._bad(peer.node_id, error)

    def _receive(self, peer: Peer, message: Message) -> None:
        group = self.groups.get(message[0])
        if group is not None:
            group.receive(peer, message)
            self.mark(group)

    def _bad(self, node_id: str, error: Exception) -> None:
        self.bad_frames += 1
        log.error("a bad message from %s: %s", node_id, error, exc_info=error)

    def reaches(self, member: MemberId) -> bool:
        """Whether a link to that very incarnation is up."""
        peer = self._peers.get(member.node)
        return peer is not None and peer.incarnation == member.incarnation

    def incarnation_of(self, node_id: str) -> str | None:
        """Which incarnation of a node is at the other end, or None while no link is up."""
        peer = self._peers.get(node_id)
        return peer.incarnation if peer is not None else None

    def is_replaced(self, _group_id: str, member: MemberId) -> bool:
        """Whether another incarnation of the member's node is at the other end: its disk is gone then."""
        peer = self._peers.get(member.node)
        return peer is not None and peer.incarnation != member.incarnation

    def peer_ids(self) -> list[str]:
        """The nodes to which a link is up."""
        return sorted(self._peers)

    def send_note(self, node_id: str, payload: bytes) -> None:
        """Send a node-level note, beside all groups; dropped where no link is up."""
        self.enqueue([(node_id, [m.NOTE_GROUP, payload])])

    @staticmethod
    def handler(group: Group, kind: Any) -> Handler:
        """What handles a kind of message. Raises KeyError."""
        return _HANDLERS[kind](group)

    # -- terms and votes -------------------------------------------------------------------------

    def sync_votes(self) -> None:
        """Put the terms and votes of all groups on disk, off the loop; one sync serves all that are new by then."""
        if not self._syncing_votes and not self.votes_error:
            self._sync_votes()

    def _sync_votes(self) -> None:
        for group in self.groups.values():
            work = group.storage.votes.sync_work()
            if work is not None:
                self._syncing_votes = True
                self.runtime.offload(work, self._votes_synced)
                return
        self.votes_error = ""  # What had failed was written by somebody else meanwhile, or its group is closed.

    def _votes_synced(self, result: BaseException | None) -> None:
        self._syncing_votes = False
        if isinstance(result, BaseException):
            if not self.votes_error:
                log.error("terms and votes cannot be put on disk, so this node keeps silent: %s", result)
            self.votes_error = f"terms and votes cannot be written: {result}"
            self.runtime.call_later(VOTES_RETRY_S, self._sync_votes)
            return
        self.votes_error = ""
        for group in list(self.groups.values()):
            if not group.stopped:
                group.run(_nothing)  # Leaving it sends what waited, and asks again for what is newer.

    def _sync_timed(self) -> None:
        self._sync_timer = self.runtime.call_later(self.settings.fsync_interval_ms / 1000, self._sync_timed)
        if self.settings.fsync == "interval":
            for group in list(self.groups.values()):
                group.sync_soon()

    # -- the loop turn ---------------------------------------------------------------------------

    def mark(self, group: Group) -> None:
        """Tick `group` at the end of this turn."""
        self._marked[group] = None
        self._end_turn()

    def mark_if_due(self, group: Group) -> None:
        """Tick again soon a group that can commit by itself, or whose backlog of entries goes on."""
        alone = not group.voters and group.commit_index < group.last_index
        if alone or group.commit_index > group.applied_index:
            self.mark(group)

    def enqueue(self, outbox: list[tuple[str, Message]]) -> None:
        """Messages that leave at the end of this turn."""
        for node_id, message in outbox:
            if node_id in self._peers:
                self._outbox.setdefault(node_id, []).append(message)
        self._end_turn()

    def _end_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self.runtime.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        marked, self._marked = self._marked, {}
        for group in marked:
            group.tick(False)
        self._flush()

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        for node_id, queued in outbox.items():
            for frame in pack_frames(queued):
                self._links.send(node_id, *frame)

    def _timed(self) -> None:
        self._timer = self.runtime.call_later(self.settings.tick_ms / 1000, self._timed)
        for group in list(self.groups.values()):
            group.tick(True)
        self._flush()


def _synced_now(votes: VoteStore) -> bool:
    """Whether term and vote of a group that was closed are on disk, or could be put there."""
    try:
        work = votes.sync_work()
        if work is not None:
            work()
    except OSError as error:
        log.error("terms and votes cannot be put on disk: %s", error)
    return votes.synced()


def _nothing() -> None:
    """Enter a group and leave it again."""
