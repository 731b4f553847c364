"""Bugs to plant on purpose: a check that catches none of them proves nothing.

Each plant breaks one rule of the real code for as long as its context lasts. `scripts/sim --plant NAME` runs the
sweep with it; the tests demand that every one is caught within a bounded number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raftcache.commands.policy import Namespace
from raftcache.commands.types import AckLevel, Fate, Receipt, Written
from raftcache.consensus.election import Election
from raftcache.consensus.group import Group
from raftcache.consensus.journal import Journal
from raftcache.consensus.lease import Lease
from raftcache.consensus.replication import Replication
from raftcache.consensus.snapshots import SnapshotInbox
from raftcache.consensus.staleness import Staleness
from raftcache.consensus.syncing import Syncing
from raftcache.routing.joining import _Resumed
from raftcache.shard import receipts, retries, snapshot
from raftcache.shard.executor import Executor
from raftcache.shard.following import PolicyFollower
from raftcache.shard.losses import Losses
from raftcache.shard.pipeline import Pipeline
from raftcache.shard.replica import ShardReplica
from raftcache.shard.replica_reads import ReplicaReads
from raftcache.shard.window import LossWindows
from raftcache.store.entry import Entry
from raftcache.store.replies import Replies
from raftcache.store.sessions import Sessions
from raftcache.testing.cluster import DATA, SimCluster
from raftcache.testing.memory_plants import MEMORY_PLANTS, SCRIPTED_PLANTS
from raftcache.wal.snapshot_format import newest_two
from raftcache.wal.snapshots import FileSnapshots, _Draft

Patch = tuple[Any, str, Any]
"""A class or a module, the name of something in it, and what stands there for a while."""


def _ack_before_quorum() -> list[Patch]:
    """A quorum write is answered when it is executed."""
    return [(Pipeline, "wait", lambda self, reply_to, answer, durable=False: reply_to(answer))]


def _lost_joint_write_acknowledged() -> list[Patch]:
    """What was lost with its leadership, or never proposed, is answered as written."""

    def send_again(self: _Resumed, place: int) -> None:
        self._put(place, Written(True, self._writes.items[place][2], None, AckLevel.QUORUM))

    return [(_Resumed, "_send_again", send_again)]


def _no_undo() -> list[Patch]:
    """A deposed leader keeps its speculative writes."""
    return [(Pipeline, "_undo", lambda self, batch: None)]


def _undo_oldest_first() -> list[Patch]:
    """It undoes them in the wrong order."""

    def undo(self: Pipeline, batch: Any) -> None:
        for key, old in batch.undo:
            self._keyspace.restore(key, old)

    return [(Pipeline, "_undo", undo)]


def _forget_log() -> list[Patch]:
    """A process that restarts finds its disk empty, and goes on under its old name (hazard 4)."""
    stock = SimCluster.start

    def start(self: SimCluster, node_id: str) -> None:
        if node_id not in self.processes:
            self.files[node_id].restart()
            self.files[node_id].remove_tree(DATA)
        stock(self, node_id)

    return [(SimCluster, "start", start)]


def _ack_before_log() -> list[Patch]:
    """What was appended is never handed to the operating system, so a killed process has acknowledged nothing
    that it still has."""
    return [(Journal, "flush", lambda self: None)]


def _vote_twice() -> list[Patch]:
    """A vote is not kept, so a replica may vote twice in one term."""

    def save(self: Journal, term: int, voted_for: str | None) -> None:
        self._votes.save(term, None)
        self.term, self.voted_for = term, None

    stock = Election.on_request_vote

    def on_request_vote(self: Election, *fields: Any) -> None:
        self._g.engine._SyncObj__votedForNodeId = None
        stock(self, *fields)

    return [(Journal, "setCurrentTerm", save), (Election, "on_request_vote", on_request_vote)]


def _commit_uncapped() -> list[Patch]:
    """A follower takes the leader's commit index whatever the append proved (hazard 1)."""

    def on_append(self: Replication, node: Any, term: int, commit: int, prev: int, prev_term: int, *rest: Any) -> None:
        stock(self, node, term, commit, prev, prev_term, *rest)
        engine = self._g.engine
        if term == engine.term() and not engine.is_leader():
            engine._SyncObj__raftCommitIndex = max(engine.commit_index(), min(commit, self._g.last_index))

    stock = Replication.on_append
    return [(Replication, "on_append", on_append)]


def _install_anything() -> list[Patch]:
    """A received snapshot is installed even where the replica is ahead of it (hazard 17)."""

    def verified(self: SnapshotInbox, result: Any) -> None:
        self._installing = False
        receiver, self._receiver, self._target = self._receiver, None, None
        if receiver is not None and not isinstance(result, BaseException):
            receiver.commit()
            self._g.machine.install(result[1], result[0].index - 1, result[0].term)
            self._g.journal.restart_at(result[0])
            self._g.engine.jump_to(result[0].index)

    stock = Replication.send_append

    def send_append(self: Replication, node: Any, message: Any) -> None:
        stock(self, node, message)
        if self._g.runtime.random.random() < 0.02:
            self._g.sends.needed(node)

    return [
        (SnapshotInbox, "_verified", verified),
        (Replication, "send_append", send_append),
        (SnapshotInbox, "_applied_covers", lambda self, index: False),
    ]


def _read_without_proof() -> list[Patch]:
    """A linearizable read is answered at once, without proof of leadership."""
    stock = Pipeline.wait

    def wait(self: Pipeline, reply_to: Any, answer: Any, durable: bool = False) -> None:
        if type(answer).__name__ == "Value":
            reply_to(answer)
        else:
            stock(self, reply_to, answer, durable)

    return [(Pipeline, "wait", wait), (Group, "leads_at", lambda self, now_s: self._leading_term is not None)]


def _apply_twice() -> list[Patch]:
    """A leader applies its own batches again when they commit."""
    stock = ShardReplica._commit_own

    def commit_own(self: ShardReplica, index: int, term: int) -> None:
        pending = self.pipeline._in_flight[0]
        for effect in pending.effects:
            if effect[0] == 2:
                self.keyspace.remove(effect[1])
        stock(self, index, term)

    return [(ShardReplica, "_commit_own", commit_own)]


def _reply_before_sync() -> list[Patch]:
    """A durable write is answered when it is committed."""
    stock = Pipeline.wait
    return [(Pipeline, "wait", lambda self, reply_to, answer, durable=False: stock(self, reply_to, answer))]


def _report_without_term() -> list[Patch]:
    """A leader counts a follower's synced index whatever entry the follower has there."""
    return [(Syncing, "_matches", lambda self, node, index, entry_term: True)]


def _cut_before_sync() -> list[Patch]:
    """The log is cut behind a snapshot that is not on the disk yet."""

    def seal(self: Any) -> None:
        self._close()

    def publish(self: FileSnapshots, meta: Any, draft: Any) -> None:
        draft.publish(self._path(meta))
        self._kept = newest_two(self._kept, meta)

    return [(_Draft, "seal", seal), (FileSnapshots, "publish", publish)]


def _vote_unsynced() -> list[Patch]:
    """A vote is sent before it is on the disk."""
    return [(Journal, "vote_synced", lambda self: True)]


def _suspects_vote() -> list[Patch]:
    """The vote of a replica that may have forgotten what it acknowledged counts like any other."""
    return [(Election, "suspect", property(lambda self: False))]


def _window_off() -> list[Patch]:
    """No write is held against its loss window before it is executed."""
    return [(LossWindows, "check", lambda self, namespace, size_bytes, now_s=None: None)]


def _receipt_too_early() -> list[Patch]:
    """A leader says `committed` of what it has executed."""
    stock = receipts.ReceiptDesk._receipt

    def receipt(self: receipts.ReceiptDesk, history: Any, newest_seq: int, version: Any) -> Any:
        item = stock(self, history, newest_seq, version)
        pending = isinstance(item, Receipt) and item.fate == Fate.PENDING and version.term == history.term
        return Receipt(version, Fate.COMMITTED) if pending else item

    return [(receipts.ReceiptDesk, "_receipt", receipt)]


def _no_lost_report() -> list[Patch]:
    """A deposed leader takes everything that it acknowledged for kept."""
    return [(Losses, "undone", lambda self, shard_id, term, batches, namespaces: None)]


def _committed_reads_live() -> list[Patch]:
    """What observed a speculative effect is answered at once."""
    return [(Pipeline, "wait_for", lambda self, batch, reply_to, answer: reply_to(answer))]


def _staleness_from_receipt() -> list[Patch]:
    """A follower counts the age of its state from when it heard of its leader."""
    stock = Staleness.echoed
    return [(Staleness, "echoed", lambda self, commit, stamp: stock(self, commit, self._g.runtime.now()))]


def _lease_from_receive_time() -> list[Patch]:
    """A leader counts its lease from when the answers come in."""

    def promised_until(self: Lease, sent_at: float, silence_ms: int) -> float:
        return stock(self, self._g.runtime.now(), silence_ms)

    stock = Lease.promised_until
    return [(Lease, "promised_until", promised_until)]


def _lease_after_transfer() -> list[Patch]:
    """A leader that told another to campaign keeps its lease."""
    return [(Lease, "forfeit", lambda self: None)]


def _lease_without_margin() -> list[Patch]:
    """Clocks are taken for exact."""

    def promised_until(self: Lease, sent_at: float, silence_ms: int) -> float:
        return sent_at + silence_ms / 1000

    return [(Lease, "promised_until", promised_until)]


def _no_restart_silence() -> list[Patch]:
    """A replica that was just opened votes at once."""

    def opened(self: Election, group: Group) -> None:
        stock(self, group)
        self._heard_at -= 3600

    stock = Election.__init__
    return [(Election, "__init__", opened)]


def _forget_reply_record() -> list[Patch]:
    """The reply of a keyed write is kept in its leader's memory alone."""

    def keep_reply(self: Executor, id_: bytes, record: bytes, expires_ms: int, namespace: Namespace) -> None:
        vars(self.replies).setdefault("kept", {})[id_] = Entry(record, 0, expires_ms, namespace.id, self.term, self.seq)

    return [
        (Executor, "keep_reply", keep_reply),
        (Replies, "get", lambda self, id_: vars(self).get("kept", {}).get(id_)),
    ]


def _record_in_next_batch() -> list[Patch]:
    """The reply record of a keyed write goes into the batch after its effects'."""
    stock = Executor.keep_reply

    def keep_reply(self: Executor, *fields: Any) -> None:
        self.pipeline._seal()
        stock(self, *fields)

    return [(Executor, "keep_reply", keep_reply)]


def _minted_key_ignored() -> list[Patch]:
    """Nobody looks for the record of a write under a minted key, which is executed as often as it is sent."""
    return [(Sessions, "get", lambda self, id_: None)]


def _sessions_not_undone() -> list[Patch]:
    """A deposed leader keeps the records of the writes that it undoes."""
    return [(Sessions, "undo", lambda self, change: None)]


def _policy_at_view() -> list[Patch]:
    """A leader executes under the policies that its node knows, whatever its log says."""
    stock = PolicyFollower.start

    def start(self: PolicyFollower, group: Any) -> None:
        executor: Any = self._execute
        executor.__self__.known = self._known
        stock(self, group)

    return [(PolicyFollower, "start", start), (Executor, "namespaces", lambda self: self.known())]


def _confirm_at_once() -> list[Patch]:
    """A policy point is confirmed when it is committed, though an older leader may still serve."""
    return [(Group, "alone_from_s", property(lambda self: 0.0))]


def _truncate_on_overlap() -> list[Patch]:
    """An append deletes whatever follows its place in the log, though it matches (hazard 3); after each answer the
    leader sends again what is in flight, so that appends overlap."""

    def delete_from(self: Journal, offset: int) -> None:
        kept = max(offset, self.applied_index() - self[0].index + 1)
        if kept < len(self):
            self._drop_suffix(kept)

    def on_ack(self: Replication, node: Any, term: int, *fields: Any) -> None:
        self.progress(node.member).sent_to = 0
        stock(self, node, term, *fields)

    stock = Replication.on_ack
    return [(Journal, "deleteEntriesFrom", delete_from), (Replication, "on_ack", on_ack)]


def _speculative_snapshot() -> list[Patch]:
    """A leader's snapshot holds what it has executed, committed or not."""

    def blocks(self: ShardReplica) -> Any:
        cuts = self.keyspace.cut(), self.replies.cut()
        dropped, sessions = self.dropped.rows_before(()), self.sessions.rows_before(())
        return snapshot.SnapshotBlocks(self.shard_id, self.history, *cuts, self.policies.applied, dropped, sessions)

    return [(ShardReplica, "snapshot_blocks", blocks)]


def _window_per_batch() -> list[Patch]:
    """A loss window counts the writes of the batch that is open, and not those of the batches in flight."""

    def propose(self: Pipeline, batch: Any) -> None:
        self.windows.release(batch.portions)
        batch.portions = []
        stock(self, batch)

    stock = Pipeline._propose
    return [(Pipeline, "_propose", propose)]


def _stale_receipts() -> list[Patch]:
    """What was once said of a version is said again, whatever has become of it since."""
    stock = receipts.ReceiptDesk._receipt

    def receipt(self: receipts.ReceiptDesk, history: Any, newest_seq: int, version: Any) -> Any:
        said = vars(self).setdefault("said", {})
        return said.setdefault(version, stock(self, history, newest_seq, version))

    return [(receipts.ReceiptDesk, "_receipt", receipt)]


def _ignore_min_version() -> list[Patch]:
    """A replica answers from the state that it has, whether or not that holds the version asked for."""
    return [
        (ReplicaReads, "_holds", lambda self, version: True),
        (ReplicaReads, "_batch_of", lambda self, version: None),
    ]


def _retry_counts_twice() -> list[Patch]:
    """Nobody looks for the record of a keyed write, which is executed as often as it is sent."""
    return [(retries, "_standing", lambda ex, id_: None)]


def _name_unheeded() -> list[Patch]:
    """A shard takes a key for one of `default` where the namespace by which it was addressed is deleted."""
    return [(Executor, "resolve", lambda self, command: self.namespaces().resolve(command.key))]
PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "ack-before-quorum": _ack_before_quorum,
    "lost-joint-write-acknowledged": _lost_joint_write_acknowledged,
    "no-undo": _no_undo,
    "undo-oldest-first": _undo_oldest_first,
    "forget-log": _forget_log,
    "ack-before-log": _ack_before_log,
    "vote-twice": _vote_twice,
    "commit-uncapped": _commit_uncapped,
    "install-anything": _install_anything,
    "read-without-proof": _read_without_proof,
    "apply-twice": _apply_twice,
    "window-off": _window_off,
    "receipt-too-early": _receipt_too_early,
    "no-lost-report": _no_lost_report,
    "committed-reads-live": _committed_reads_live,
    "staleness-from-receipt": _staleness_from_receipt,
    "forget-reply-record": _forget_reply_record,
    "record-in-next-batch": _record_in_next_batch,
    "retry-counts-twice": _retry_counts_twice,
    "minted-key-ignored": _minted_key_ignored,
    "sessions-not-undone": _sessions_not_undone,
    "ignore-min-version": _ignore_min_version,
    "stale-receipts": _stale_receipts,
    "name-unheeded": _name_unheeded,
}

POWER_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "reply-before-sync": _reply_before_sync,
    "report-without-term": _report_without_term,
    "cut-before-sync": _cut_before_sync,
    "vote-unsynced": _vote_unsynced,
    "suspects-vote": _suspects_vote,
}
"""Bugs that only a loss of power brings to light."""

LEASE_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "lease-from-receive-time": _lease_from_receive_time,
    "lease-after-transfer": _lease_after_transfer,
    "lease-without-margin": _lease_without_margin,
    "no-restart-silence": _no_restart_silence,
}
"""Bugs that only faults bring to light that are aimed at leases."""


POLICY_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "policy-at-view": _policy_at_view,
    "confirm-at-once": _confirm_at_once,
}
"""Bugs for which the dice would need many seeds: scripts bring them about (`tests/node/test_policies.py`)."""

AIMED_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "truncate-on-overlap": _truncate_on_overlap,
    "speculative-snapshot": _speculative_snapshot,
    "window-per-batch": _window_per_batch,
}
"""Bugs that need a leader to be struck just then: `jepsen_like` aims its faults so."""

ALL_PLANTS = AIMED_PLANTS | PLANTS | POWER_PLANTS | LEASE_PLANTS | POLICY_PLANTS | MEMORY_PLANTS | SCRIPTED_PLANTS


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Within it the named bug is in the code. Raises KeyError."""
    patches = ALL_PLANTS[name]()
    before = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in patches]
    for owner, attribute, replacement in patches:
        setattr(owner, attribute, replacement)
    try:
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)
