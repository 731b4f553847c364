"""The speculative suffix of a shard's log: what its leader has executed and Raft has not yet committed.

    command -> open batch -> sealed batches -> at most two in flight -> committed
               (fills)       (only when the open one got full)          (undo records popped, waiters released)

**Group commit.** With fewer than two batches in flight, whatever the open batch holds is proposed at the end of the
loop turn; otherwise it fills until one commits. A batch costs the same whatever is in it, so this spends few
batches under load and delays nobody without. Writes that nobody waits for, being acknowledged already, are proposed no
sooner than `pace_s` after the batch before: one client that writes without a pause would get a batch for each write
otherwise, and pay for it in the time of the very process that answers it. Whoever waits for the batch ends the pause.

**Waiters** stand in the batch in which their command was executed and are answered when it commits: quorum writes,
and reads that must not show what can still be lost. A read with nothing to wait for puts itself into an open batch
that may stay empty otherwise; the batch then is the barrier that proves leadership after the read arrived. All
reads of a turn share one.

**What is speculative** about a key is the newest batch that changed it. A read at `committed` is executed against the
live keys, and where there is such a batch it waits in that, which may be in flight already; it needs no batch of its
own. What stands at a key says itself which effect put it there. Where nothing does, a removal may have done it: those
are indexed by key, until their batch commits, unless a newer one removed the key again meanwhile.

**Durable waiters** wait longer: until a quorum has synced their batch. Such a batch is proposed with the wish to be
synced; once it is committed it leaves the pipeline like any other, and its durable waiters stand in a queue of their
own, by index, until `synced` says how far the disks have come. Nobody else waits for a disk.

**No straddling.** A batch is sealed only before a command executes, never during one, so a command's effects and
its waiter share a batch. A command adds little more than one value, which bounds a batch at MAX_BATCH_BYTES
plus that.

**Losing leadership** undoes everything from the newest effect to the oldest: each undo record puts back what stood
there before its effect, which is right only in that order; reply records, sessions and dropped tags are tables of
their own, with undo records of their own. A waiter whose batch was never proposed, or whose command wrote nothing, gets
the definite `not_leader`. A write that was proposed may still commit under the next leader, and one that is committed
may yet become durable: `outcome_unknown`, with its version. So is every waiting write with an idempotency key (`Keyed`,
`retries`), also one that came under a key that a front end minted, be it new or the repeat of another (`minted`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from math import inf
from typing import Final

from raftcache.clock import Handle, Runtime
from raftcache.commands.types import AckLevel, Counted, Failure, Many, Reply, Scripted, Version, Written, failure_of
from raftcache.errors import OutcomeUnknown, Overloaded, RaftcacheError
from raftcache.shard.acked import AckedRun, AckedWrite
from raftcache.shard.group import ShardGroup
from raftcache.shard.joint import Joint, JointWrites
from raftcache.shard.stats import ShardStats
from raftcache.shard.window import NOWHERE, LossWindows, Place, Portion, Usage
from raftcache.store.effects import SESSION, Batch, Effect, encode_batch
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES
from raftcache.store.keyspace import Keyspace, UndoRecord
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.sessions import Change, Sessions
from raftcache.store.tags import DroppedTags, UndoTag

MAX_IN_FLIGHT: Final = 2
MAX_BATCH_EFFECTS = 2048
MAX_BATCH_BYTES: Final = 2 << 20
MAX_UNDIVIDED_BYTES: Final = 5 << 20
"""A batch with a transaction is not sealed before its end; over this size nothing is added to it. One command more may
add a value and the keys that are evicted for it, which the largest entry of the log has room for."""
MAX_SPECULATIVE_BYTES = 64 << 20
"""Effects and undo images together, over all batches of the shard."""
BACKGROUND_SPECULATIVE_BYTES = MAX_SPECULATIVE_BYTES // 2
"""Where the leader's own writes (expiry, reclaiming) leave the rest to clients."""
PACE_S: Final = 0.001
"""How long writes that nobody waits for may stay with their leader, for the sake of fewer batches. The loss window
counts from their acknowledgement, as ever."""
MAX_WAITERS = 1 << 17
NUMBER_BYTES: Final = 16
"""What a record takes in a session's effect beside its reply, at most."""
REMEMBERED_BATCHES: Final = 512
"""Of so many of the newest batches the number of writes is kept, to tell how many a replica is behind."""

logger = logging.getLogger(__name__)

ReplyTo = Callable[[Reply], None]


class Keyed:
    """Who waits for the answer of a write with an idempotency key: never to be told that nothing was done."""

    __slots__ = ("_reply_to",)

    def __init__(self, reply_to: ReplyTo) -> None:
        self._reply_to = reply_to

    def __call__(self, answer: Reply) -> None:
        self._reply_to(answer)


Waiter = tuple[ReplyTo, Reply]
"""Who is to be answered, and with what."""


Acknowledged = tuple[int, bytes, int, int]
"""Namespace id, key, seq and size of a write that is answered before it commits."""


class PendingBatch:
    """A batch from its first effect to its commit. `index` is 0 until it is known."""

    __slots__ = (
        "acked",
        "durable_waiters",
        "effect_bytes",
        "effects",
        "first_seq",
        "held_bytes",
        "index",
        "portions",
        "proposed",
        "proposed_s",
        "removes",
        "sessions",
        "time_ms",
        "undo",
        "undo_replies",
        "undo_sessions",
        "undo_tags",
        "waiters",
    )

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.effects: list[Effect] = []
        self.undo: list[UndoRecord] = []
        self.undo_replies: list[UndoRecord] = []
        self.undo_sessions: list[Change] = []
        self.undo_tags: list[UndoTag] = []
        self.sessions: dict[bytes, Change] = {}
        self.acked: list[AckedRun] = []
        self.portions: list[Portion] = []
        self.waiters: list[Waiter] = []
        self.durable_waiters: list[Waiter] = []
        self.effect_bytes = 0
        self.held_bytes = 0
        self.time_ms = 0
        self.removes = False
        self.proposed = False
        self.proposed_s = 0.0
        self.index = 0

    @property
    def last_seq(self) -> int:
        """The `seq` of its newest effect so far; that of the one before it where it has none."""
        return self.first_seq + len(self.effects) - 1

    def acked_writes(self) -> list[AckedWrite]:
        """The writes of it that are answered before it commits, oldest first."""
        return [
            AckedWrite(run.namespace_id, self.effects[seq - self.first_seq][1], seq, run.at_s)
            for run in self.acked
            for seq in range(run.first_seq, run.end_seq)
        ]

    def note_acked(self, namespace_id: int, seq: int, at_s: float) -> None:
        """Its effect `seq` is a write that is answered before it commits."""
        acked = self.acked
        if not acked or not acked[-1].takes(namespace_id, seq, at_s):
            acked.append(AckedRun(namespace_id, seq, at_s))

    def is_full(self) -> bool:
        """Whether the next command belongs into another batch."""
        return self.effect_bytes >= MAX_BATCH_BYTES or len(self.effects) >= MAX_BATCH_EFFECTS

    def is_wanted(self) -> bool:
        """Whether there is anything to propose."""
        return bool(self.effects or self.waiters or self.durable_waiters)


class Pipeline:
    """The batches of one leadership. `start` opens it, `abandon` ends it; in between `term` is not 0."""

    def __init__(
        self,
        runtime: Runtime,
        keyspace: Keyspace,
        replies: Replies,
        sessions: Sessions,
        dropped: DroppedTags,
        budget: MemoryBudget,
        stats: ShardStats,
        now_ms: Callable[[], int],
        on_broken: Callable[[int, str], None],
        place: Callable[[], Place] = lambda: NOWHERE,
        pace_s: float = 0.0,
    ) -> None:
        """`on_broken(term, reason)` ends a leadership that cannot go on: a batch of it could not be proposed. `place`
        tells which shard of how many this is."""
        self.windows = LossWindows(place, runtime.now)
        self._runtime = runtime
        self._on_broken = on_broken
        self._keyspace = keyspace
        self._replies = replies
        self._sessions = sessions
        self._dropped = dropped
        self._budget = budget
        self._stats = stats
        self._now_ms = now_ms
        self._group: ShardGroup | None = None
        self._in_flight: deque[PendingBatch] = deque()
        self._sealed: deque[PendingBatch] = deque()
        self.undivided: list[Acknowledged] | None = None
        """While a transaction is executed, all of which goes into the open batch: what is `acknowledged` of it in the
        end, if all of it may be."""
        self._open = PendingBatch(1)
        self._unsynced: deque[tuple[int, list[Waiter]]] = deque()
        self._removed: dict[bytes, PendingBatch] = {}
        self._scheduled = False
        self._pace_s, self._proposed_s = pace_s, -inf
        self._pause: Handle | None = None
        self._proposed: deque[tuple[int, int]] = deque(maxlen=REMEMBERED_BATCHES)
        self.term = 0
        self.writes = 0
        self.held_bytes = 0
        self.waiting = 0

    def start(self, group: ShardGroup, term: int, first_seq: int) -> None:
        """Begin a leadership, of which effects before `first_seq` are committed."""
        assert not self.term, f"term {term} began within term {self.term}"
        self._group, self.term = group, term
        self._open = PendingBatch(first_seq)
        self._proposed.clear()

    def writes_behind(self, index: int) -> int:
        """How many proposed effects a replica lacks that has the log up to `index`. Of a replica further behind than
        `REMEMBERED_BATCHES`, those that are remembered: a lower bound."""
        return sum(effects for at, effects in self._proposed if at > index)

    def admit(self) -> None:
        """Make ready for a command that may write or wait. Raises Overloaded, before anything was executed."""
        if self.undivided is not None:
            if self._open.effect_bytes >= MAX_UNDIVIDED_BYTES:
                raise self._overloaded("bytes of a transaction", MAX_UNDIVIDED_BYTES, self._open.effect_bytes)
            return
        if self.held_bytes >= MAX_SPECULATIVE_BYTES:
            raise self._overloaded("speculative bytes", MAX_SPECULATIVE_BYTES, self.held_bytes)
        self.admit_waiter()
        if self._open.is_full():
            self._seal()

    def admit_waiter(self) -> None:
        """Make ready for a command that may wait and writes nothing. Raises Overloaded."""
        if self.undivided is None and self.waiting >= MAX_WAITERS:
            raise self._overloaded("waiting commands", MAX_WAITERS, self.waiting)

    def admit_now(self) -> bool:
        """`admit` for a command that is no part of a transaction: False where it would raise."""
        if not self.can_admit():
            return False
        if self._open.is_full():
            self._seal()
        return True

    def can_admit(self) -> bool:
        """Whether `admit` would let a command in that is no part of a transaction."""
        return self.held_bytes < MAX_SPECULATIVE_BYTES and self.waiting < MAX_WAITERS

    def admit_background(self) -> bool:
        """Make ready for one write of the leader's own. False where clients need the room: come back later. What makes
        room for a write of a transaction goes into the batch of that."""
        if self.undivided is None and self._open.is_full():
            self._seal()
        return self.held_bytes < BACKGROUND_SPECULATIVE_BYTES

    def record(self, effect: Effect, undo: UndoRecord, effect_bytes: int, old_bytes: int) -> None:
        """Add an executed effect and how to undo it, with the size of both: `old_bytes` is the undo image's."""
        batch = self._open
        batch.undo.append(undo)
        self._add(batch, effect, effect_bytes, effect_bytes + old_bytes)

    def record_removal(self, effect: Effect, undo: UndoRecord, effect_bytes: int, old_bytes: int) -> None:
        """The same of an effect with which nothing stands at its key any more."""
        self._removed[undo[0]] = self._open
        self._open.removes = True
        self.record(effect, undo, effect_bytes, old_bytes)

    def record_reply(self, effect: Effect, undo: UndoRecord, effect_bytes: int) -> None:
        """Add an executed change of the reply records and how to undo it."""
        batch = self._open
        batch.undo_replies.append(undo)
        old = undo[1]
        old_bytes = 0 if old is None else len(old.value) + ENTRY_OVERHEAD_BYTES
        self._add(batch, effect, effect_bytes, effect_bytes + old_bytes)

    def record_session(self, change: Change, effect_bytes: int, dropped_bytes: int) -> None:
        """Add what the open batch begins to do to a session, or that it forgets it; `dropped_bytes` are those of the
        records that the change holds to undo it."""
        effect = change.effect
        self._open.undo_sessions.append(change)
        if effect[0] == SESSION:
            self._open.sessions[effect[1]] = change
        else:
            self._open.sessions.pop(effect[1], None)
        self._add(self._open, effect, effect_bytes, effect_bytes + dropped_bytes)

    def keep_reply(self, session: bytes, number: int, reply: bytes) -> int | None:
        """Keep a reply of a session which the open batch has begun to change, and let that effect grow. Returns the
        bytes of records dropped for want of room, None where the batch has not begun."""
        batch, budget = self._open, self._budget
        change = batch.sessions.get(session)
        if change is None:
            return None
        dropped_bytes = self._sessions.keep(change, number, reply)
        effect_bytes = len(reply) + NUMBER_BYTES
        held_bytes = effect_bytes + dropped_bytes
        batch.effect_bytes += effect_bytes
        batch.held_bytes += held_bytes
        self.held_bytes += held_bytes
        budget.used_bytes += held_bytes
        budget.speculative_bytes += held_bytes
        return dropped_bytes

    def is_speculative(self, session: bytes, number: int) -> bool:
        """Whether the record of a session's write that stands in the table is in a batch of ours."""
        changes = [batch.sessions[session] for batch in self._batches() if session in batch.sessions]
        return any(number in change.kept[::2] for change in changes)

    def record_tag(self, effect: Effect, undo: UndoTag, effect_bytes: int) -> None:
        """Add an executed change of the dropped tags and how to undo it."""
        self._open.undo_tags.append(undo)
        self._add(self._open, effect, effect_bytes, effect_bytes)

    def _add(self, batch: PendingBatch, effect: Effect, effect_bytes: int, held_bytes: int) -> None:
        batch.effects.append(effect)
        batch.effect_bytes += effect_bytes
        batch.held_bytes += held_bytes
        self.held_bytes += held_bytes
        self._budget.used_bytes += held_bytes
        self._budget.speculative_bytes += held_bytes
        self.writes += 1
        if not self._scheduled and self._pause is None:
            self._schedule()


    def record_reads(self, effect: Effect, effect_bytes: int) -> None:
        """Add a digest of reads. It changes no key, so there is nothing to undo."""
        self._add(self._open, effect, effect_bytes, effect_bytes)

    def record_point(self, effect: Effect, effect_bytes: int) -> None:
        """Add a policy point, as the first effect of a batch. It changes no key, so there is nothing to undo here."""
        if self._open.effects:
            self._seal()
        self._add(self._open, effect, effect_bytes, effect_bytes)

    def acknowledged(self, namespace_id: int, key: bytes, seq: int, size_bytes: int) -> None:
        """The effect `seq`, of the open batch, is a write that is answered before that commits."""
        if self.undivided is not None:
            self.undivided.append((namespace_id, key, seq, size_bytes))
            return
        usage = self.windows.account(namespace_id)
        self.acknowledged_at(usage, namespace_id, seq, size_bytes, self._runtime.now())

    def acknowledged_at(self, usage: Usage, namespace_id: int, seq: int, size_bytes: int, at_s: float) -> None:
        """The same outside of transactions, for one who has found the namespace's account."""
        batch = self._open
        batch.note_acked(namespace_id, seq, at_s)
        self.windows.count(usage, batch.portions, size_bytes, at_s)

    def wait(self, reply_to: ReplyTo, answer: Reply, durable: bool = False) -> None:
        """Answer the command just executed when the open batch commits, or, `durable`, when a quorum has synced it."""
        (self._open.durable_waiters if durable else self._open.waiters).append((reply_to, answer))
        self.waiting += 1
        if not self._scheduled:
            self._schedule()

    def join(self, joint: Joint, key: bytes, value: bytes, version: Version, now_s: float) -> JointWrites:
        """`wait` for a plain write, at `quorum`, whose answer comes with those of its client's others in the batch."""
        writes = joint.newest
        if writes is None or not writes.takes(self._open, now_s):
            writes = joint.newest = JointWrites(self._open, now_s)
            self.wait(writes, Written(True, version, None, AckLevel.QUORUM))
        writes.items.append((key, value, version))
        return writes

    def wait_for(self, batch: PendingBatch, reply_to: ReplyTo, answer: Reply) -> None:
        """Answer a command that wrote nothing when `batch` commits, one that is still in the pipeline."""
        batch.waiters.append((reply_to, answer))
        self.waiting += 1
        if batch is self._open and not self._scheduled:
            self._schedule()

    def newest_change(self, key: bytes) -> PendingBatch | None:
        """The newest batch that changed `key`; None where all that is known of it is committed."""
        entry = self._keyspace.get(key)
        if entry is None:
            return self._removed.get(key)
        return None if self.is_committed(entry.term, entry.seq) else self.batch_of(entry.seq)

    def newest_batch(self) -> PendingBatch | None:
        """The newest batch with effects that is not committed; None where all are."""
        return next((batch for batch in reversed(self._batches()) if batch.effects), None)

    def batch_of(self, seq: int) -> PendingBatch | None:
        """The batch that holds the effect `seq` of this term; None where that is committed."""
        return next((batch for batch in self._batches() if batch.first_seq <= seq <= batch.last_seq), None)

    @property
    def settled_seq(self) -> int:
        """The `seq` of this term's newest committed effect."""
        oldest = self._in_flight or self._sealed or (self._open,)
        return oldest[0].first_seq - 1

    def committed(self, index: int) -> PendingBatch:
        """The oldest batch in flight is committed: forget how to undo it. Its waiters are for `release_waiters`."""
        batch = self._in_flight.popleft()
        assert batch.index in (0, index), f"index {index} committed, proposed at {batch.index}"
        self._let_go(batch)
        self.windows.release(batch.portions)
        self._forget_changes(batch)
        if batch.durable_waiters:
            self._unsynced.append((index, batch.durable_waiters))
        if self._sealed or self._open.is_wanted():
            self._schedule()
        return batch

    def synced(self, index: int) -> None:
        """Everything up to `index` is committed and synced on a quorum: answer who waited for that."""
        while self._unsynced and self._unsynced[0][0] <= index:
            _, waiters = self._unsynced.popleft()
            self.waiting -= len(waiters)
            for reply_to, answer in waiters:
                deliver(reply_to, answer)

    def undo_records(self) -> Iterator[UndoRecord]:
        """How to get from the live keys to the committed ones: oldest first, the first of a key is what counts."""
        return chain.from_iterable(batch.undo for batch in self._batches())

    def undo_reply_records(self) -> Iterator[UndoRecord]:
        """The same for the reply records."""
        return chain.from_iterable(batch.undo_replies for batch in self._batches())

    def undo_session_records(self) -> Iterator[Change]:
        """The same for the sessions; these are to be taken back one by one, the newest first."""
        return chain.from_iterable(batch.undo_sessions for batch in self._batches())

    def undo_tag_records(self) -> Iterator[UndoTag]:
        """The same for the dropped tags."""
        return chain.from_iterable(batch.undo_tags for batch in self._batches())

    def is_committed(self, term: int, seq: int) -> bool:
        """Whether an effect that stands in a table here is committed: it is, unless it is in a batch of ours."""
        return term != self.term or seq <= self.settled_seq

    def abandon(self) -> list[PendingBatch]:
        """End the leadership: undo all, newest first. Returns the batches, whose waiters `dismiss` answers."""
        batches = self._batches()
        for batch in reversed(batches):
            self._undo(batch)
            self._let_go(batch)
            self.waiting -= len(batch.durable_waiters)
            self._stats.undone_writes += len(batch.effects)
        self.windows.clear()
        batches = [*self._committed_unsynced(), *batches]
        self._removed.clear()
        self._in_flight.clear()
        self._sealed.clear()
        self._open = PendingBatch(1)
        self._group, self.term = None, 0
        self._end_pause()
        return batches

    def _committed_unsynced(self) -> list[PendingBatch]:
        """What is committed and has durable waiters, as batches of which nothing can be undone any more."""
        left = []
        for index, waiters in self._unsynced:
            batch = PendingBatch(0)
            batch.durable_waiters, batch.index, batch.proposed = waiters, index, True
            left.append(batch)
            self.waiting -= len(waiters)
        self._unsynced.clear()
        return left

    def dismiss(self, batches: list[PendingBatch], not_leader: Failure) -> None:
        """Answer the waiters of abandoned batches."""
        for batch in batches:
            for reply_to, answer in chain(batch.waiters, batch.durable_waiters):
                keyed = type(reply_to) is Keyed
                version = written_version(answer) if batch.proposed or keyed else None
                if version is None and not keyed:
                    deliver(reply_to, not_leader)
                else:
                    self._stats.outcomes_unknown += len(reply_to.items) if type(reply_to) is JointWrites else 1
                    deliver(reply_to, outcome_unknown(version))

    def _undo(self, batch: PendingBatch) -> None:
        restore = self._keyspace.restore
        for key, old in reversed(batch.undo):
            restore(key, old)
        for id_, old in reversed(batch.undo_replies):
            self._replies.restore(id_, old)
        for change in reversed(batch.undo_sessions):
            self._sessions.undo(change)
        for family, mark in reversed(batch.undo_tags):
            self._dropped.put(family, mark)

    def _forget_changes(self, batch: PendingBatch) -> None:
        removed = self._removed
        for key, _ in batch.undo if batch.removes else ():
            if removed.get(key) is batch:
                del removed[key]

    def _batches(self) -> list[PendingBatch]:
        return [*self._in_flight, *self._sealed, self._open]

    def _let_go(self, batch: PendingBatch) -> None:
        self.held_bytes -= batch.held_bytes
        self._budget.used_bytes -= batch.held_bytes
        self._budget.speculative_bytes -= batch.held_bytes
        self.writes -= len(batch.effects)
        self.waiting -= len(batch.waiters)

    def _overloaded(self, what: str, limit: int, value: int) -> Overloaded:
        self._stats.overloaded[what] += 1
        return Overloaded(f"{what} of this shard: {value} reach the limit of {limit}; try again later")

    def _seal(self) -> None:
        full = self._open
        self._sealed.append(full)
        self._open = PendingBatch(full.first_seq + len(full.effects))

    def _schedule(self) -> None:
        """Propose at the end of the turn, or later what may wait. Told of everything that comes into a batch."""
        if self._scheduled or len(self._in_flight) >= MAX_IN_FLIGHT:
            return
        left_s = self._pace_s and self._proposed_s + self._pace_s - self._runtime.now()
        if left_s > 0 and not (self._sealed or self._open.waiters or self._open.durable_waiters):
            if self._pause is None:
                self._pause = self._runtime.call_later(left_s, self._flush)
            return
        self._scheduled = True
        self._runtime.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        self._end_pause()
        while self.term and len(self._in_flight) < MAX_IN_FLIGHT:
            if not self._sealed:
                if not self._open.is_wanted():
                    return
                self._seal()
            self._propose(self._sealed.popleft())

    def propose_rest(self) -> None:
        """Propose all that is executed, however much is in flight: this leadership is about to end, and what is not in
        the log by then is lost."""
        while self.term and (self._sealed or self._open.effects):
            if not self._sealed:
                self._seal()
            self._propose(self._sealed.popleft())

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _propose(self, batch: PendingBatch) -> None:
        """Send one batch to Raft.

        It counts as in flight before Raft sees it, for a group of one commits within the call. Where it cannot be
        encoded or proposed, nothing after it may be either: the leadership ends here.
        """
        group, term = self._group, self.term
        assert group is not None
        self._in_flight.append(batch)
        try:
            batch.time_ms = self._now_ms()
            payload = encode_batch(Batch(term, batch.first_seq, batch.time_ms, batch.effects))
            self._proposed_s = self._runtime.now()
            batch.proposed, batch.proposed_s = True, self._proposed_s
            batch.index = group.propose(payload, bool(batch.durable_waiters))
            self._proposed.append((batch.index, len(batch.effects)))
        except Exception as error:
            if isinstance(error, RaftcacheError) and error.definite:
                batch.proposed = False
            self._on_broken(term, f"a batch of term {term} could not be proposed: {error!r}")


def release_waiters(batch: PendingBatch) -> None:
    """Answer all who waited for a batch that is now committed."""
    for reply_to, answer in batch.waiters:
        deliver(reply_to, answer)


def deliver(reply_to: ReplyTo, answer: Reply) -> None:
    """Hand an answer over. A receiver that raises is a defect of its own and must not become the shard's."""
    try:
        reply_to(answer)
    except Exception:
        logger.exception("the receiver of a reply raised")


def written_version(answer: Reply) -> Version | None:
    """The version of the write that `answer` acknowledges, the last one of several; None where nothing was written."""
    if isinstance(answer, Many):
        return next(filter(None, map(written_version, reversed(answer.items))), None)
    if isinstance(answer, Scripted):
        return answer.wrote
    if isinstance(answer, Counted):
        return answer.version
    return answer.version if isinstance(answer, Written) and answer.written else None


def outcome_unknown(version: Version | None) -> Failure:
    """What a write gets whose leader is none any more. `version` None: a keyed write that wrote nothing, whose reply
    record may yet commit, or the repeat of another."""
    what = "the reply" if version is None else str(version)
    details = {} if version is None else {"version": str(version)}
    error = OutcomeUnknown(f"leadership was lost before {what} reached the level asked for; it may still", **details)
    return failure_of(error)
