"""Snapshots on their way: sent to a replica that lags behind the log, installed there.

*Sending.* A peer that needs what the log in memory no longer has gets the newest snapshot's file in chunks, a bounded
number in flight, each answered with how much the peer has. Where the log in memory does not go on from any, one is
taken first, and the log behind it is kept until it is sent. A transfer begins with an empty chunk, which asks the peer
what it has of that file, and so it goes on after a broken link or lost messages where it was. The leader keeps the
place of a peer that is out of reach for RESUME_S. All transfers of a node share one rate. The engine's own transfer is
never used: it raises commit indexes unseen, gives no answers, and installs old states over new ones (hazards 1, 16,
17, 19).

*Installing.* The file is verified and decoded off the loop, then swapped in, if it is still newer than what was
applied meanwhile. Where the log holds the snapshot's last entry, the log is kept: what follows may have been
acknowledged (Raft, figure 13, step 6). Otherwise it starts over behind the snapshot. The snapshot is in place
before the log is touched, so a process killed in between finds a log that is older than its snapshot, no worse.

*Damage.* A peer refuses a file whose checksums do not match, and says so. The leader then reads its own one. If that
is whole, the fault was on the way, and it is sent again after a pause. If not, it is never sent again, and this
leader's disk is not trusted: its replica is wiped and refilled like any damaged one, provided that the others are a
quorum without it and hold all that is committed. Where they are not, the state in memory is the best copy there is: it
would be folly to throw that away for the sake of a file, and a new snapshot of it replaces the damaged one.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from raftcache.consensus.messages import SNAPSHOT, SNAPSHOT_ACK, SNAPSHOT_REFUSED, STALE_TERM
from raftcache.wal.api import SnapshotMeta, SnapshotReceiver, SnapshotStore
from raftcache.wal.errors import Damaged

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group

log = logging.getLogger("raftcache.consensus")

STALL_S = 0.5
"""A transfer that has not moved for this long asks the peer again what it has."""

RESUME_S = 60.0
"""For so long the place of a peer that is out of reach is kept, and with it its snapshot and the log behind that."""

REFUSED_PAUSE_S = 5.0
"""After a refusal of a file that is whole here: whatever spoils it on the way gets the time to pass."""


class SnapshotSends:
    """The transfers under way from this leader, one a peer."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._sends: dict[PeerNode, _Send] = {}
        self._awaiting: dict[PeerNode, None] = {}
        """Peers for which a snapshot is being taken."""
        self._checking = False
        self._damaged_after: tuple[SnapshotMeta, int] | None = None
        self.refused = 0
        """How many of this replica's snapshots a peer found damaged."""

    def needed(self, node: PeerNode) -> None:
        """`node` needs a snapshot; nothing to do where it is being sent one. One that the log held in memory does
        not continue is of no use: a new one is taken first, and likewise in place of a damaged one."""
        send = self._sends.get(node)
        if send is not None and send.paused_at is None:
            return
        if send is not None and send.meta.index >= self._g.journal[0].index:
            send.paused_at = None
            self._ask(node, send)
            return
        meta = self._g.storage.snapshots.latest()
        if meta is None or meta.index < self._g.journal[0].index:
            return self._await_new(node, again=False)
        if self._is_damaged(meta):
            return self._await_new(node, again=True)
        send = self._sends[node] = _Send(meta, self._g.storage.snapshots.size(meta))
        self._ask(node, send)

    def _await_new(self, node: PeerNode, again: bool) -> None:
        compaction = self._g.compaction
        if compaction.start(again) or compaction.running:
            self._awaiting[node] = None

    def taken(self) -> None:
        """A snapshot was taken: it goes at once to those who await one. A moment later it might be too old for them."""
        awaiting, self._awaiting = self._awaiting, {}
        for node in awaiting:
            if self._g.engine.is_leader() and self._g.engine.feeds(node):
                self.needed(node)

    def none_taken(self) -> None:
        """It was given up. Who needs one will say so again."""
        self._awaiting.clear()

    def _ask(self, node: PeerNode, send: _Send) -> None:
        """An empty chunk: the answer tells where to go on."""
        send.asking, send.progress_at = True, self._g.runtime.now()
        self._post(node, send, 0, b"")

    def _post(self, node: PeerNode, send: _Send, offset: int, data: bytes) -> None:
        meta, term = send.meta, self._g.engine.term()
        self._g.post(node, SNAPSHOT, term, meta.index, meta.term, send.size, offset, data)

    def _pump(self, node: PeerNode, send: _Send) -> None:
        """Read the next chunk, off the loop, where the window and the rate have room for one."""
        settings = self._g.settings
        window_bytes = settings.snapshot_window_chunks * settings.snapshot_chunk_bytes
        if send.reading or not send.moving or send.sent >= send.size or send.sent - send.acked >= window_bytes:
            return
        offset, count = send.sent, min(settings.snapshot_chunk_bytes, send.size - send.sent)
        if not self._g.host.snapshot_rate.take(count):
            return
        send.reading = True
        snapshots, meta = self._g.storage.snapshots, send.meta
        self._g.runtime.offload(
            lambda: snapshots.read(meta, offset, count),
            lambda result: self._g.run(self._was_read, node, send, offset, result),
        )

    def _was_read(self, node: PeerNode, send: _Send, offset: int, result: bytes | BaseException) -> None:
        send.reading = False
        if self._sends.get(node) is not send or self._g.stopped:
            return
        if isinstance(result, BaseException):
            log.warning("%s: a snapshot cannot be sent: %s", self._g.group_id, result)
            self.forget(node)  # A newer one has replaced it, or the disk fails: the next filler starts over.
        elif not result:
            self._check(send.meta)
            send.held_until = self._g.runtime.now() + REFUSED_PAUSE_S
        elif send.moving and offset == send.sent:
            self._post(node, send, offset, result)
            send.sent += len(result)
            self._pump(node, send)

    def on_ack(self, node: PeerNode, term: int, index: int, received: int, installed: bool) -> None:
        """A follower says how much of the snapshot of `index` it has; the arguments are SNAPSHOT_ACK's."""
        if not self._heeds(node, term):
            return
        send = self._sends.get(node)
        if installed:
            self.forget(node)
            self._g.replication.snapshot_installed(node, index)
        elif send is not None and send.meta.index == index and send.paused_at is None:
            self._advance(node, send, received)

    def _advance(self, node: PeerNode, send: _Send, received: int) -> None:
        if received > send.size:
            self.forget(node)  # It holds more than there is, of another leader's file.
            return
        if send.asking:
            send.asking, send.sent, send.acked = False, received, received
        elif received > send.acked:
            send.acked, send.progress_at = received, self._g.runtime.now()
            send.sent = max(send.sent, received)
        self._pump(node, send)

    def _heeds(self, node: PeerNode, term: int) -> bool:
        engine = self._g.engine
        if term != engine.term() or not engine.is_leader() or not engine.feeds(node):
            return False
        self._g.replication.note_contact(node)
        return True

    def poll(self) -> None:
        """Go on where the rate had no room, ask again where nothing has moved for a while, and forget who is gone."""
        now = self._g.runtime.now()
        for node, send in list(self._sends.items()):
            if not self._g.engine.feeds(node) or (send.paused_at is not None and now - send.paused_at > RESUME_S):
                self.forget(node)
            elif send.paused_at is None and now >= send.held_until:
                self._poll(node, send, now)

    def _poll(self, node: PeerNode, send: _Send, now: float) -> None:
        if send.held_until:
            send.held_until = 0.0
            self._ask(node, send)
        elif send.waits_for_us:
            send.progress_at = now
            self._pump(node, send)
        elif now - send.progress_at > STALL_S:
            self._ask(node, send)

    # -- damage ----------------------------------------------------------------------------------

    def on_refused(self, node: PeerNode, term: int, index: int, snapshot_term: int, reason: str) -> None:
        """A follower found the file damaged that it received; the arguments are SNAPSHOT_REFUSED's."""
        send = self._sends.get(node) if self._heeds(node, term) else None
        if send is None or (send.meta.index, send.meta.term) != (index, snapshot_term):
            return
        self.refused += 1
        log.error("%s: %s refuses the snapshot of entry %d: %s", self._g.group_id, node.member, index, reason)
        send.held_until = self._g.runtime.now() + REFUSED_PAUSE_S
        self._check(send.meta)

    def _check(self, meta: SnapshotMeta) -> None:
        """Read this replica's own file, all of it, off the loop."""
        if not self._checking:
            self._checking = True
            snapshots = self._g.storage.snapshots
            self._g.runtime.offload(
                lambda: _read_through(snapshots, meta), lambda result: self._g.run(self._checked, meta, result)
            )

    def _checked(self, meta: SnapshotMeta, result: BaseException | None) -> None:
        self._checking = False
        if self._g.stopped:
            return
        if isinstance(result, Damaged):
            self._found_damaged(meta, result)
        elif result is None:
            log.warning("%s: the snapshot of entry %d is whole here, and is sent again", self._g.group_id, meta.index)

    def _found_damaged(self, meta: SnapshotMeta, damage: Damaged) -> None:
        self._sends = {node: send for node, send in self._sends.items() if send.meta != meta}
        if self._others_suffice():
            self._g.lose(str(damage))
            return
        log.error("%s: a new snapshot replaces this one: %s", self._g.group_id, damage)
        self._damaged_after = (meta, self._g.compaction.taken)
        self._g.compaction.start(again=True)

    def _is_damaged(self, meta: SnapshotMeta) -> bool:
        """Whether it was found damaged and none was taken since, which may be of the same entry."""
        return self._damaged_after == (meta, self._g.compaction.taken)

    def _others_suffice(self) -> bool:
        """Whether the other voters are a quorum by themselves that is within reach and holds all that is committed."""
        commit, engine = self._g.commit_index, self._g.engine
        whole = {
            voter.member
            for voter in self._g.voters
            if engine.match_index(voter) >= commit and self._g.host.reaches(voter.member)
        }
        return engine.is_leader() and self._g.is_majority(whole)

    # -- status ----------------------------------------------------------------------------------

    def lowest_index(self, default: int) -> int:
        """The oldest snapshot being sent, or taken because somebody asked, which without a disk each is: the log behind
        it will be wanted next. At most `default`."""
        wanted, compaction = [send.meta.index for send in self._sends.values()], self._g.compaction
        is_asked_for = self._awaiting or compaction.awaited or not self._g.storage.log.on_disk
        if compaction.index is not None and is_asked_for:
            wanted.append(compaction.index)
        return min([default, *wanted])

    @property
    def active(self) -> bool:
        """Whether any transfer is under way, or waits for its peer to come back."""
        return bool(self._sends)

    def sending_to(self, node: PeerNode) -> bool:
        """Whether `node` is being sent a snapshot."""
        send = self._sends.get(node)
        return send is not None and send.paused_at is None

    def pause(self, node: PeerNode) -> None:
        """The link to `node` went down or came up: whatever was in flight is gone."""
        self._awaiting.pop(node, None)
        send = self._sends.get(node)
        if send is not None and send.paused_at is None:
            send.paused_at = self._g.runtime.now()

    def forget(self, node: PeerNode) -> None:
        """The transfer is done, or of no use."""
        self._sends.pop(node, None)

    def clear(self) -> None:
        """Leadership is gone."""
        self._sends.clear()
        self._awaiting.clear()


class _Send:
    """One transfer: bytes sent and acknowledged. `asking`: the peer has yet to say what it has. `paused_at`: since
    when it is out of reach. `held_until`: nothing is sent before, after a refusal."""

    __slots__ = ("acked", "asking", "held_until", "meta", "paused_at", "progress_at", "reading", "sent", "size")

    def __init__(self, meta: SnapshotMeta, size: int) -> None:
        self.meta, self.size = meta, size
        self.sent = self.acked = 0
        self.asking = self.reading = False
        self.paused_at: float | None = None
        self.held_until = self.progress_at = 0.0

    @property
    def moving(self) -> bool:
        """Whether chunks may be sent."""
        return not self.asking and self.paused_at is None and not self.held_until

    @property
    def waits_for_us(self) -> bool:
        """Whether the peer owes no answer, and there is more to send."""
        return self.moving and self.sent == self.acked < self.size


def _read_through(snapshots: SnapshotStore, meta: SnapshotMeta) -> None:
    """Raises `SnapshotDamaged`, OSError."""
    deque(snapshots.blocks(meta), maxlen=0)


class SnapshotInbox:
    """A snapshot on its way in."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._target: tuple[int, int, int, str] | None = None
        self._receiver: SnapshotReceiver | None = None
        self._installing = False
        self._from: PeerNode | None = None
        self.installed = self.refused = 0

    def on_chunk(
        self, node: PeerNode, term: int, index: int, snapshot_term: int, size: int, offset: int, data: bytes
    ) -> None:
        """One chunk; the arguments are the fields of SNAPSHOT."""
        if term < self._g.engine.term():
            self._g.post(node, STALE_TERM, self._g.engine.term())
            return
        if term > self._g.engine.term():
            self._g.engine.adopt_term(term)
        self._g.election.heard_leader()
        if self._applied_covers(index):
            self._g.post(node, SNAPSHOT_ACK, term, index, size, True)
            return
        self._from = node
        target = (index, snapshot_term, size, node.id)
        if not self._installing:
            self._keep(target, offset, data)
        receiver = self._receiver
        received = receiver.received if receiver is not None and self._target == target else 0
        self._g.post(node, SNAPSHOT_ACK, term, index, received, False)
        if receiver is not None and received == size and not self._installing:
            self._verify(receiver)

    def _applied_covers(self, index: int) -> bool:
        """Whether a snapshot of `index` would take this replica back (hazard 17)."""
        return index <= self._g.applied_index

    def _keep(self, target: tuple[int, int, int, str], offset: int, data: bytes) -> None:
        """Two leaders' files of one index need not be the same bytes, so the sender belongs to the target."""
        try:
            if self._target != target or self._receiver is None:
                self.abort()
                self._target, self._receiver = target, self._g.storage.snapshots.receiver()
            if offset == self._receiver.received:
                self._receiver.write(offset, data)
        except OSError as error:
            log.error("%s: a snapshot cannot be received: %s", self._g.group_id, error)
            self.abort()

    def _verify(self, receiver: SnapshotReceiver) -> None:
        self._installing = True
        machine = self._g.machine

        def work() -> tuple[SnapshotMeta, Any]:
            meta = receiver.finish()
            return meta, machine.prepare_restore(receiver.blocks())

        self._g.runtime.offload(work, lambda result: self._g.run(self._verified, result))

    def _verified(self, result: tuple[SnapshotMeta, Any] | BaseException) -> None:
        self._installing = False
        receiver, target = self._receiver, self._target
        self._receiver = self._target = None
        if receiver is None:
            return
        if isinstance(result, BaseException):
            log.error("%s: a received snapshot is refused: %s", self._g.group_id, result)
            self._refuse(receiver, target, result)
            return
        meta, prepared = result
        if self._applied_covers(meta.index) or self._g.stopped:
            receiver.abort()
            self._g.machine.discard(prepared)
            return
        try:
            receiver.commit()
        except OSError as error:
            log.error("%s: a received snapshot cannot be kept: %s", self._g.group_id, error)
            receiver.abort()
            self._g.machine.discard(prepared)
            return
        self.installed += 1
        self._g.install(meta, prepared)
        if self._from is not None:
            self._g.post(self._from, SNAPSHOT_ACK, self._g.engine.term(), meta.index, 0, True)

    def _refuse(
        self, receiver: SnapshotReceiver, target: tuple[int, int, int, str] | None, error: BaseException
    ) -> None:
        """Throw it away. Where its content is at fault, and not this disk, its sender is told."""
        receiver.abort()
        if isinstance(error, Damaged | ValueError) and self._from is not None and target is not None:
            self.refused += 1
            self._g.post(self._from, SNAPSHOT_REFUSED, self._g.engine.term(), target[0], target[1], str(error))

    def abort(self) -> None:
        """Throw away what has arrived."""
        if self._receiver is not None and not self._installing:
            self._receiver.abort()
            self._receiver = self._target = None
