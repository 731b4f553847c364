"""Receipts: what a shard says of a version that it once gave out.

**Fate.** A version `(term, seq)` is committed if `seq` is no larger than the last committed one of its term, and lost
if it is larger and the term is closed (`History`); else it is pending. The table of terms is committed state, so both
are final, and any replica that has come so far may say them. A replica that does not lead says only what nobody
could add to: that a version is lost. All else is the leader's, which knows besides what is durable.

**What nobody gave out.** Of its own term the leader knows the newest `seq` that it executed: a larger one is an error,
and so is a version without a term or a `seq`. A term above the leader's own is pending, for it may be that of a
successor that this leader has not heard of. In a closed term, a `seq` that nobody gave out is lost, like any other
behind the last committed one.

**Durable.** When a leader serves, its `leader_started` is synced on a quorum, and so is everything before: all that is
committed of earlier terms. Of its own term it keeps a mark `(seq, index)` a batch, until the log is durable up to that
index. Nothing is synced on purpose unless somebody wants it (`consensus.syncing`), so the question itself wants it: who
asks for a committed version that is not durable yet gets `durable` false, and soon afterwards true. Where a majority
keeps nothing on disk nothing is ever durable.

**Waiting.** Who asks to wait stands in a heap, by the newest of the versions still pending, and is answered when that
commits, when the time is up, or with `not_leader` when the leadership ends: then the next leader is asked.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from raftcache.clock import Handle, Runtime
from raftcache.commands.types import Failure, Fate, Receipt, ReceiptList, Receipts, Reply, Version, failure_of
from raftcache.errors import Overloaded, UnknownVersion
from raftcache.shard.group import ShardGroup
from raftcache.shard.history import History
from raftcache.shard.pipeline import ReplyTo, deliver
from raftcache.shard.stats import ShardStats

MAX_RECEIPT_WAITERS = 10_000
"""Questions held back at one shard."""
MAX_HELD_VERSIONS = 1 << 15
"""What they ask about together: one question may name a thousand versions, and one commit may answer all questions."""
MAX_DURABLE_MARKS = 1_024
"""Batches not known to be durable whose index is kept. Beyond that the newest mark moves along, which only makes the
versions of the batches that it then stands for durable later."""
NEVER = 1 << 62
"""Stands for the versions of a later term: they are settled only under another leader."""


class Waiting:
    """A question held back. One that is `done` may stand in the heap for long, and keeps nothing alive there."""

    __slots__ = ("asked", "done", "reply_to", "timer")

    def __init__(self, asked: Receipts, reply_to: ReplyTo) -> None:
        self.asked, self.reply_to = asked, reply_to
        self.timer: Handle | None = None
        self.done = False


class ReceiptDesk:
    """Answers for one replica. `serve` and `leave` begin and end a leadership, `committed` and `synced` advance it."""

    def __init__(
        self,
        shard_id: str,
        runtime: Runtime,
        stats: ShardStats,
        history: Callable[[], History],
        newest_seq: Callable[[], int],
    ) -> None:
        """`history` is the replica's, `newest_seq` that of the newest effect which its leadership has executed."""
        self._shard_id, self._runtime, self._stats = shard_id, runtime, stats
        self._history, self._newest_seq = history, newest_seq
        self._group: ShardGroup | None = None
        self._closed_durable = False
        self._durable_seq = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._heap: list[tuple[int, int, Waiting]] = []
        self._number = 0
        self.waiting = self.held_versions = 0

    def serve(self, group: ShardGroup) -> None:
        """A leadership begins: everything committed is synced on a quorum, if there are disks."""
        self._group = group
        self._closed_durable = group.on_disk
        self._durable_seq = self._history().seq if group.on_disk else 0
        self._marks.clear()

    def committed(self, seq: int, index: int) -> None:
        """The batch that ends with `seq` is committed at `index`: answer who waited for it."""
        if len(self._marks) >= MAX_DURABLE_MARKS:
            self._marks.pop()
        self._marks.append((seq, index))
        heap = self._heap
        while heap and heap[0][0] <= seq:
            self._answer(heapq.heappop(heap)[2])

    def synced(self, index: int) -> None:
        """Everything up to `index` is committed and synced on a quorum."""
        if self._group is None or not self._group.on_disk:
            return
        marks = self._marks
        while marks and marks[0][1] <= index:
            self._durable_seq = marks.popleft()[0]

    def ask(self, asked: Receipts, reply_to: ReplyTo) -> None:
        """At the leader: answer now or, where something is pending, later."""
        answer = self._receipts(asked)
        self._want_durable(answer)
        awaited = [item.version for item in answer.items if isinstance(item, Receipt) and item.fate == Fate.PENDING]
        if not awaited or asked.wait_ms <= 0:
            deliver(reply_to, answer)
        elif self.waiting >= MAX_RECEIPT_WAITERS:
            deliver(reply_to, self._overloaded("receipt waiters", self.waiting, MAX_RECEIPT_WAITERS))
        elif self.held_versions + len(asked.versions) > MAX_HELD_VERSIONS:
            deliver(reply_to, self._overloaded("receipt versions", self.held_versions, MAX_HELD_VERSIONS))
        else:
            self._hold(Waiting(asked, reply_to), awaited)

    def lost_only(self, asked: Receipts) -> ReceiptList | None:
        """At any replica: the answer, if it is that all these versions are lost."""
        history, shard_id = self._history(), self._shard_id
        for version in asked.versions:
            if version.shard != shard_id or not _could_be(version) or fate_of(history, version) != Fate.LOST:
                return None
        return ReceiptList(tuple(Receipt(version, Fate.LOST) for version in asked.versions))

    def leave(self, not_leader: Failure) -> None:
        """The leadership is over."""
        self._group = None
        self._marks.clear()
        heap, self._heap = self._heap, []
        for _, _, waiting in heap:
            self._finish(waiting, not_leader)

    def _receipts(self, asked: Receipts) -> ReceiptList:
        history, newest_seq = self._history(), self._newest_seq()
        return ReceiptList(tuple(self._receipt(history, newest_seq, version) for version in asked.versions))

    def _receipt(self, history: History, newest_seq: int, version: Version) -> Receipt | Failure:
        if version.shard != self._shard_id:
            return failure_of(UnknownVersion(f"version {version} is not of shard {self._shard_id}"))
        if not _could_be(version) or (version.term == history.term and version.seq > newest_seq):
            return failure_of(UnknownVersion(f"version {version} was never given out"))
        fate = fate_of(history, version)
        return Receipt(version, fate, fate == Fate.COMMITTED and self._is_durable(history, version))

    def _is_durable(self, history: History, version: Version) -> bool:
        return version.seq <= self._durable_seq if version.term == history.term else self._closed_durable

    def _want_durable(self, answer: ReceiptList) -> None:
        """Have what was asked for synced on every member, if it is committed and not durable yet."""
        group, term = self._group, self._history().term
        assert group is not None, "asked of a replica that does not lead"
        newest = max((_unsynced_seq(each, term) for each in answer.items), default=0)
        if newest and group.on_disk:
            index = next((index for seq, index in self._marks if newest <= seq), 0)
            if index:
                group.want_synced(index)

    def _hold(self, waiting: Waiting, awaited: list[Version]) -> None:
        term = self._history().term
        until = max(version.seq if version.term == term else NEVER for version in awaited)
        self._number += 1
        if len(self._heap) >= 2 * MAX_RECEIPT_WAITERS:
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (until, self._number, waiting))
        self.waiting += 1
        self.held_versions += len(waiting.asked.versions)
        waiting.timer = self._runtime.call_later(waiting.asked.wait_ms / 1000, lambda: self._answer(waiting))

    def _answer(self, waiting: Waiting) -> None:
        if not waiting.done:
            self._finish(waiting, self._receipts(waiting.asked))

    def _finish(self, waiting: Waiting, answer: Reply) -> None:
        if waiting.done:
            return
        waiting.done = True
        self.waiting -= 1
        self.held_versions -= len(waiting.asked.versions)
        if waiting.timer is not None:
            waiting.timer.cancel()
        reply_to = waiting.reply_to
        waiting.asked, waiting.reply_to, waiting.timer = _NOTHING, _nobody, None
        deliver(reply_to, answer)

    def _overloaded(self, what: str, value: int, limit: int) -> Failure:
        self._stats.overloaded[what] += 1
        said = f"{what} held back at this shard: {value} come to the limit of {limit}"
        return failure_of(Overloaded(f"{said}; ask without waiting, or later"))


_NOTHING = Receipts(())


def _nobody(_answer: Reply) -> None:
    """Whoever has had an answer gets no other."""


def fate_of(history: History, version: Version) -> Fate:
    """What a replica that has come as far as `history` knows of a version of its shard."""
    if version.seq <= history.last_committed_seq(version.term):
        return Fate.COMMITTED
    return Fate.LOST if version.term < history.term else Fate.PENDING


def _could_be(version: Version) -> bool:
    """Terms and sequence numbers start at 1."""
    return version.term >= 1 and version.seq >= 1


def _unsynced_seq(item: Receipt | Failure, term: int) -> int:
    """The `seq` of a version of `term` that is committed and not durable; 0 for any other."""
    if isinstance(item, Failure) or item.version.term != term or item.durable or item.fate != Fate.COMMITTED:
        return 0
    return item.version.seq
