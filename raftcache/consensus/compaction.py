"""Taking snapshots of a group, and cutting its log behind them.

The state machine cuts its state at one index and hands it out in blocks, one a loop turn; a thread compresses and
writes each; the rename puts the whole in place. Between two blocks the loop has a pause for everybody else: a snapshot
is in no hurry, and readers wait for no more than one step of it. Then the log is cut behind it, a file at a time,
keeping a tail, so that a replica that lags a little is not sent everything (hazard 21).

A snapshot is due when the log has grown by the size of the state, and by `snapshot_log_bytes`; or when somebody asks.

Where there is no disk, no start will ever read one, and none is due: what is applied goes from the log as it is, with
the same tail kept, and a snapshot is taken when a replica needs it (`snapshots`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from raftcache.wal.api import SnapshotMeta, SnapshotWriter, covered_index

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

log = logging.getLogger("raftcache.consensus")

SENDING_PATIENCE = 8
"""While a snapshot is being sent, the log may grow this many times further before the next one is taken: only the
last two are kept, and a transfer must not lose its file."""

STEP_PAUSE_S = 0.001
"""The shortest pause between two blocks. A block costs the loop about half a millisecond, a thread about as much."""

PAUSE_SHARE = 2
"""The pause is so many times what the block took, so a snapshot gives way where processors or disk are busy."""

STEP_PAUSE_LIMIT_S = 0.05
"""The longest pause, so that a snapshot of thousands of blocks ends within minutes whatever else goes on."""


class SnapshotTaken(NamedTuple):
    """What taking one came to. `keys` is None where the machine counts none; `bytes` are those on disk."""

    index: int  # type: ignore[assignment]
    keys: int | None
    bytes: int
    seconds: float


TakenDone = Callable[[SnapshotTaken | str], None]
"""Gets the snapshot, or why there is none."""


class Compaction:
    """Takes snapshots and cuts the log."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._counted_from = 0
        self._blocks: Iterator[bytes] | None = None
        self._writer: SnapshotWriter | None = None
        self._meta: SnapshotMeta | None = None
        self._written_bytes = 0
        self._keys: int | None = None
        self._started_at = self._step_began = 0.0
        self._waiting: list[TakenDone] = []
        self._drop_to, self._dropping = 0, False
        self.state_bytes = 0
        """What the newest snapshot holds, before compression."""
        self.taken = self.failed = 0

    @property
    def running(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._blocks is not None

    @property
    def awaited(self) -> bool:
        """Whether somebody asked for the one under way."""
        return bool(self._waiting)

    @property
    def index(self) -> int | None:
        """The entry that it is of; None where none is."""
        return None if self._meta is None else self._meta.index

    def poll(self) -> None:
        """Start one where the log has grown enough: in proportion to the state, or a large state would be written
        again for every few megabytes of log."""
        settings = self._g.settings
        if not self._g.storage.log.on_disk:
            return self._forget_applied()
        due_bytes = max(settings.snapshot_log_bytes, self.state_bytes * settings.snapshot_growth_percent // 100)
        grown_bytes = self._g.journal.appended_bytes - self._counted_from
        if grown_bytes > due_bytes * (SENDING_PATIENCE if self._g.sends.active else 1):
            self.start()
        self._drop_some()
        self._g.journal.trim(self._g.sends.lowest_index(self._g.applied_index), settings.log_tail_bytes)

    def _forget_applied(self) -> None:
        """Cut a log that is in memory alone."""
        journal, tail_bytes = self._g.journal, self._g.settings.log_tail_bytes
        if journal.held_bytes <= 2 * tail_bytes:
            return
        last = min(self._g.sends.lowest_index(self._g.applied_index), journal.tail_start(tail_bytes))
        if last > journal.start_index:
            journal.covered_by(self._meta_at(last))
        journal.drop_oldest(last)
        if not self._g.sends.active and not self.running:
            self._g.storage.snapshots.forget_below(journal.start_index)

    def take(self, done: TakenDone) -> None:
        """Take a snapshot now, or await the one under way; `done` is told, once. Where nothing was applied since the
        newest one, that one is the answer."""
        if self.running or self.start():
            self._waiting.append(done)
            return
        meta = self._g.storage.snapshots.latest()
        if meta is not None and meta.index == self._g.applied_index and not self._g.stopped:
            done(SnapshotTaken(meta.index, None, self._g.storage.snapshots.size(meta), 0.0))
        else:
            done(self._g.halted or self._g.disk_error or "nothing is applied yet, or no snapshot can be written")

    def start(self, again: bool = False) -> bool:
        """Begin a snapshot; False where one is under way or nothing is new. `again`: also where nothing is new, for
        the newest one is found damaged."""
        index, newest = self._g.applied_index, covered_index(self._g.storage.snapshots.latest())
        if self.running or self._g.stopped or index < newest or (index == newest and not again):
            return False
        self._counted_from = self._g.journal.appended_bytes
        meta = self._meta_at(index)
        try:
            self._writer = self._g.storage.snapshots.writer(meta)
        except OSError as error:
            log.error("%s: no snapshot can be written: %s", self._g.group_id, error)
            return False
        self._meta, self._written_bytes, self._started_at = meta, 0, self._g.runtime.now()
        self._blocks = self._g.machine.snapshot_blocks()
        self._keys = getattr(self._blocks, "keys", None)
        self._step(self._writer)
        return True

    def _meta_at(self, index: int) -> SnapshotMeta:
        members = tuple(str(member) for member in self._g.journal.members_at(index))
        return SnapshotMeta(self._g.group_id, index, self._g.journal.term_at(index), members)

    def _step(self, writer: SnapshotWriter) -> None:
        blocks = self._blocks
        if blocks is None or writer is not self._writer:
            return
        self._step_began = self._g.runtime.now()
        try:
            block = next(blocks, None)
        except Exception as error:
            log.exception("%s: the snapshot is given up", self._g.group_id)
            self.abandon(f"a defect: {error!r}")
            return
        if block is not None:
            self._written_bytes += len(block)
            self._g.runtime.offload(lambda: writer.add_block(block), self._stepped(writer, self._pause))
        else:
            self._g.runtime.offload(writer.commit, self._stepped(writer, lambda _writer: self._g.run(self._finish)))

    def _pause(self, writer: SnapshotWriter) -> None:
        took_s = self._g.runtime.now() - self._step_began
        pause_s = min(max(STEP_PAUSE_S, PAUSE_SHARE * took_s), STEP_PAUSE_LIMIT_S)
        self._g.runtime.call_later(pause_s, lambda: self._step(writer))

    def _stepped(self, writer: SnapshotWriter, then: Callable[[SnapshotWriter], object]) -> Callable[[Any], None]:
        def done(result: object) -> None:
            if writer is not self._writer:
                writer.abort()
            elif isinstance(result, BaseException):
                log.error("%s: the snapshot failed: %s", self._g.group_id, result)
                self.failed += 1
                self.abandon(f"the snapshot failed: {result}")
            else:
                then(writer)

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
            tail_start = journal.tail_start(self._g.settings.log_tail_bytes)
            self._drop_to = min(self._g.sends.lowest_index(meta.index), tail_start)
            self._drop_some()
        self._tell(self._outcome(meta))  # Before the next one may begin, which is not what they asked for.
        self._g.sends.taken()

    def _drop_some(self) -> None:
        """Drop the next segment of the log, once the file of the one before is gone."""
        if not self._drop_to or self._dropping:
            return
        work = self._g.journal.drop_oldest(self._drop_to)
        if work is None:
            self._drop_to = 0
            return
        self._dropping = True
        self._g.runtime.offload(work, self._dropped)

    def _dropped(self, _result: object) -> None:
        self._dropping = False

    def _outcome(self, meta: SnapshotMeta) -> SnapshotTaken | str:
        took_s = self._g.runtime.now() - self._started_at
        try:
            return SnapshotTaken(meta.index, self._keys, self._g.storage.snapshots.size(meta), took_s)
        except OSError as error:
            return f"the snapshot of entry {meta.index} cannot be read: {error}"

    def _tell(self, outcome: SnapshotTaken | str) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(outcome)

    def abandon(self, reason: str = "the snapshot was given up") -> None:
        """Give up the snapshot under way."""
        if self._blocks is not None:
            close = getattr(self._blocks, "close", None)
            if close is not None:
                close()
        if self._writer is not None:
            self._writer.abort()
        self._blocks = self._writer = self._meta = None
        self._g.sends.none_taken()
        self._tell(reason)
