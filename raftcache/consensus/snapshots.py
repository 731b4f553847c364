"""Snapshots of a group: taken off the loop, sent to a replica that lags behind the log, installed there.

*Taking.* The state machine cuts its state at one index and hands it out in blocks, one a loop turn; a thread
compresses and writes each; the rename puts it in place. Then the log is cut behind it, keeping a tail, so that a
replica that lags a little is not sent everything (hazard 21).

*Sending.* A peer that needs what the log in memory no longer has gets the newest snapshot's file in chunks, a bounded
number in flight, each answered with how much the peer has. A transfer that broke off goes on from there. The
engine's own transfer is never used: it raises commit indexes unseen, gives no answers, and installs old states
over new ones (hazards 1, 16, 17, 19).

*Installing.* The file is verified and decoded off the loop, then swapped in, if it is still newer than what was
applied meanwhile. Where the log holds the snapshot's last entry, the log is kept: what follows may have been
acknowledged (Raft, figure 13, step 6). Otherwise it starts over behind the snapshot. The snapshot is in place
before the log is touched, so a process killed in between finds a log that is older than its snapshot, no worse.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from raftcache.consensus.messages import SNAPSHOT, SNAPSHOT_ACK, STALE_TERM
from raftcache.wal.api import SnapshotMeta, SnapshotReceiver, SnapshotWriter

if TYPE_CHECKING:
    from raftcache.consensus.engine import PeerNode
    from raftcache.consensus.group import Group

log = logging.getLogger("raftcache.consensus")

SENDING_PATIENCE = 8
"""While a snapshot is being sent, the log may grow this many times further before the next one is taken: only the
last two are kept, and a transfer must not lose its file."""

STALL_S = 0.5
"""A transfer that has not moved for this long starts again from what the peer has."""


class Compaction:
    """Takes snapshots and cuts the log."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._counted_from = 0
        self._blocks: Iterator[bytes] | None = None
        self._writer: SnapshotWriter | None = None
        self._meta: SnapshotMeta | None = None
        self._written_bytes = 0
        self.state_bytes = 0
        """What the newest snapshot holds, before compression."""
        self.taken = 0

    @property
    def running(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._blocks is not None

    def poll(self) -> None:
        """Start one where the log has grown enough: in proportion to the state, or a large state would be written
        again for every few megabytes of log."""
        settings = self._g.settings
        due_bytes = max(settings.snapshot_log_bytes, self.state_bytes * settings.snapshot_growth_percent // 100)
        grown_bytes = self._g.journal.appended_bytes - self._counted_from
        if grown_bytes > due_bytes * (SENDING_PATIENCE if self._g.sends.active else 1):
            self.start()
        applied = self._g.applied_index
        self._g.journal.trim(min(applied, self._g.sends.lowest_index(applied)), settings.log_tail_bytes)

    def restored(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the blocks of a restored snapshot on, and measure them."""
        self.state_bytes = 0
        for block in blocks:
            self.state_bytes += len(block)
            yield block

    def start(self) -> bool:
        """Take a snapshot now; False where one is under way or nothing is new."""
        index = self._g.applied_index
        if self.running or self._g.halted or index <= self._g.journal.start_index:
            return False
        self._counted_from = self._g.journal.appended_bytes
        members = tuple(str(member) for member in self._g.journal.members_at(index))
        meta = SnapshotMeta(self._g.group_id, index, self._g.journal.term_at(index), members)
        try:
            self._writer = self._g.storage.snapshots.writer(meta)
        except OSError as error:
            log.error("%s: no snapshot can be written: %s", self._g.group_id, error)
            return False
        self._meta, self._written_bytes = meta, 0
        self._blocks = self._g.machine.snapshot_blocks()
        self._step()
        return True

    def _step(self) -> None:
        blocks, writer = self._blocks, self._writer
        if blocks is None or writer is None:
            return
        try:
            block = next(blocks, None)
        except Exception:
            log.exception("%s: the snapshot is given up", self._g.group_id)
            self.abandon()
            return
        if block is not None:
            self._written_bytes += len(block)
            self._g.runtime.offload(lambda: writer.add_block(block), self._stepped(writer, self._step))
        else:
            self._g.runtime.offload(writer.commit, self._stepped(writer, lambda: self._g.run(self._finish)))

    def _stepped(self, writer: SnapshotWriter, then: Any) -> Any:
        def done(result: object) -> None:
            if writer is not self._writer:
                writer.abort()
            elif isinstance(result, BaseException):
                log.error("%s: the snapshot failed: %s", self._g.group_id, result)
                self.abandon()
            else:
                then()

        return done

    def _finish(self) -> None:
        meta = self._meta
        assert meta is not None
        self._blocks = self._writer = self._meta = None
        self.taken += 1
        self.state_bytes = self._written_bytes
        journal = self._g.journal
        if meta.index > journal.start_index:
            journal.covered_by(meta)
            keep_from = min(meta.index, self._g.sends.lowest_index(meta.index))
            journal.drop_prefix(min(keep_from, journal.tail_start(self._g.settings.log_tail_bytes)))

    def abandon(self) -> None:
        """Give up the snapshot under way."""
        if self._blocks is not None:
            close = getattr(self._blocks, "close", None)
            if close is not None:
                close()
        if self._writer is not None:
            self._writer.abort()
        self._blocks = self._writer = self._meta = None


class SnapshotSends:
    """The transfers under way from this leader, one a peer."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._sends: dict[PeerNode, _Send] = {}

    def needed(self, node: PeerNode) -> None:
        """`node` needs a snapshot; nothing to do where it is being sent one. One that the log held in memory does
        not continue is of no use: a new one is taken first."""
        if node not in self._sends:
            meta = self._g.storage.snapshots.latest()
            if meta is None or meta.index < self._g.journal[0].index:
                self._g.compaction.start()
            else:
                size = self._g.storage.snapshots.size(meta)
                send = self._sends[node] = _Send(meta, size, self._g.runtime.now())
                self._pump(node, send)

    def _pump(self, node: PeerNode, send: _Send) -> None:
        settings = self._g.settings
        window = settings.snapshot_window_chunks * settings.snapshot_chunk_bytes
        while send.sent < send.size and send.sent - send.acked < window:
            try:
                data = self._g.storage.snapshots.read(send.meta, send.sent, settings.snapshot_chunk_bytes)
            except (OSError, KeyError, ValueError):
                self.forget(node)  # A newer snapshot has replaced it: the next filler starts over with that.
                return
            self._post(node, send, data)
            send.sent += len(data)

    def _post(self, node: PeerNode, send: _Send, data: bytes) -> None:
        meta, term = send.meta, self._g.engine.term()
        self._g.post(node, SNAPSHOT, term, meta.index, meta.term, send.size, send.sent, data)

    def on_ack(self, node: PeerNode, term: int, index: int, received: int, installed: bool) -> None:
        """A follower says how much of the snapshot of `index` it has; the arguments are SNAPSHOT_ACK's."""
        engine = self._g.engine
        if term != engine.term() or not engine.is_leader() or not engine.feeds(node):
            return
        self._g.replication.note_contact(node)
        send = self._sends.get(node)
        if installed:
            self.forget(node)
            self._g.replication.snapshot_installed(node, index)
        elif send is not None and send.meta.index == index:
            send.reported = received
            if received > send.acked:
                send.acked, send.progress_at = received, self._g.runtime.now()
                send.sent = max(send.sent, received)
                self._pump(node, send)

    def poll(self) -> None:
        """Start again from what the peer reported where nothing has moved for a while. A peer that has all and
        does not say that it installed it gets an empty chunk, to which it answers what it really has."""
        now = self._g.runtime.now()
        for node, send in list(self._sends.items()):
            if now - send.progress_at > STALL_S:
                send.sent = send.acked = send.reported
                send.progress_at = now
                self._pump(node, send)
                if send.reported > send.size:
                    self.forget(node)  # It holds more than there is, of another leader's file.
                elif send.sent == send.size:
                    self._post(node, send, b"")

    def lowest_index(self, default: int) -> int:
        """The oldest snapshot being sent: the log behind it will be wanted next."""
        return min([send.meta.index for send in self._sends.values()], default=default)

    @property
    def active(self) -> bool:
        """Whether any transfer is under way."""
        return bool(self._sends)

    def sending_to(self, node: PeerNode) -> bool:
        """Whether `node` is being sent a snapshot."""
        return node in self._sends

    def forget(self, node: PeerNode) -> None:
        """The transfer is done, or its link is gone."""
        self._sends.pop(node, None)

    def clear(self) -> None:
        """Leadership is gone."""
        self._sends.clear()


class _Send:
    __slots__ = ("acked", "meta", "progress_at", "reported", "sent", "size")

    def __init__(self, meta: SnapshotMeta, size: int, now: float) -> None:
        self.meta, self.size, self.progress_at = meta, size, now
        self.sent = self.acked = self.reported = 0


class SnapshotInbox:
    """A snapshot on its way in."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._target: tuple[int, int, int, str] | None = None
        self._receiver: SnapshotReceiver | None = None
        self._installing = False
        self._from: PeerNode | None = None
        self.installed = 0

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
        receiver, self._receiver, self._target = self._receiver, None, None
        if receiver is None:
            return
        if isinstance(result, BaseException):
            log.error("%s: a received snapshot is refused: %s", self._g.group_id, result)
            receiver.abort()
            return
        meta, prepared = result
        if self._applied_covers(meta.index) or self._g.halted:
            receiver.abort()
            return
        receiver.commit()
        self.installed += 1
        self._g.install(meta, prepared)
        if self._from is not None:
            self._g.post(self._from, SNAPSHOT_ACK, self._g.engine.term(), meta.index, 0, True)

    def abort(self) -> None:
        """Throw away what has arrived."""
        if self._receiver is not None and not self._installing:
            self._receiver.abort()
            self._receiver = self._target = None
