"""All groups of one node: one clockwork, one set of links, one frame per peer and loop turn.

Whatever happens in a turn of the loop (frames, proposals) marks its group; at the end of the turn each marked
group is ticked once, and what all groups have to say to one peer leaves as one frame. Besides, every group is
ticked by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from raftcache.clock import Handle, Runtime
from raftcache.consensus import messages as m
from raftcache.consensus import seams
from raftcache.consensus.api import MemberId, StateMachine
from raftcache.consensus.group import Group
from raftcache.consensus.messages import Message, pack_frames, unpack_frame
from raftcache.consensus.settings import ConsensusSettings
from raftcache.net.api import Peer, PeerLinks
from raftcache.wal.api import GroupStorage, SnapshotMeta

log = logging.getLogger("raftcache.consensus")

Handler = Callable[..., None]

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
}


class Observer(Protocol):
    """Sees what every group does; for the simulation's checks."""

    def led(self, group_id: str, node_id: str, term: int) -> None:
        """A replica won an election."""

    def applied(self, group_id: str, node_id: str, index: int, term: int, payload: bytes) -> None:
        """A replica applies a committed entry."""


class Host:
    """The consensus of one node. `run_id` is new at every start, `incarnation` with every empty disk."""

    def __init__(
        self, node_id: str, incarnation: str, runtime: Runtime, links: PeerLinks, settings: ConsensusSettings
    ) -> None:
        self.node_id, self.incarnation = node_id, incarnation
        self.runtime, self.settings = runtime, settings
        self.groups: dict[str, Group] = {}
        self.on_note: Callable[[str, bytes], None] = lambda _node, _payload: None
        self.bad_frames = 0
        self.observer: Observer | None = None
        self._links = links
        self._peers: dict[str, Peer] = {}
        self._runs: dict[str, str] = {}
        self._outbox: dict[str, list[Message]] = {}
        self._marked: dict[Group, None] = {}
        self._turn_due = False
        self._timer: Handle | None = None
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
    ) -> Group:
        """Start this node's replica of a group.

        `bootstrap` names the first members of a group that is being created, this one among them; it counts only
        where the storage is empty. Without it an empty replica waits until a leader adds it. Raises what a
        damaged storage raises.
        """
        member = MemberId(self.node_id, self.incarnation, replica)
        if storage.snapshots.latest() is None and member in bootstrap:
            self._found(group_id, storage, bootstrap)
        group = Group(self, group_id, member, storage, machine)
        group.restore()
        self.groups[group_id] = group
        for peer in self._peers.values():
            group.link_changed(peer.node_id, peer.incarnation, True, True)
        return group

    @staticmethod
    def _found(group_id: str, storage: GroupStorage, bootstrap: tuple[MemberId, ...]) -> None:
        """A snapshot of nothing at index 0 holds the first members, so that they survive a restart."""
        meta = SnapshotMeta(group_id, 0, 0, tuple(str(member) for member in sorted(bootstrap)))
        storage.snapshots.writer(meta).commit()

    def close_group(self, group_id: str) -> None:
        """Stop this node's replica of a group; its storage stays."""
        group = self.groups.pop(group_id, None)
        if group is not None:
            group.close()
            self._marked.pop(group, None)

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self.runtime.call_later(self.settings.tick_ms / 1000, self._timed)

    def stop(self) -> None:
        """Close every group and tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for group_id in list(self.groups):
            self.close_group(group_id)
        self._flush()

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
                self._links.send(node_id, frame)

    def _timed(self) -> None:
        self._timer = self.runtime.call_later(self.settings.tick_ms / 1000, self._timed)
        for group in list(self.groups.values()):
            group.tick(True)
        self._flush()
