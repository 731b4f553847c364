"""The write-ahead log of one group, on files.

Appends gather in memory, and `flush` writes them as one piece to the newest segment; `records` has the format,
`recovery` the start, `syncing` the way to the disk, `mending` the way back after a failure. These rules make it safe
to kill the process at any point:

* A segment gets its name only when its header is whole (`write_atomic`).
* Segments go newest first when a suffix is dropped, oldest first when a prefix is, so what is left is always one
  chain.
* Starting over (`reset`) writes a segment of the next *generation* under its name. That rename is the moment: a
  kill before it leaves the old log whole, and after it the old segments are garbage, whether they are removed
  already or not. The new segment may well take the name of an old one; the rename replaces it then.
* After a failed write the file is cut back to what was flushed before, at once, or, should that fail as well,
  before anything else is written.

And these make it safe to lose power: nothing below `synced_index` is ever cut without syncing the cut before anything
follows it, starting over is synced, and all else that was not synced may be lost in any way (`recovery`).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NoReturn

from raftcache.wal.api import Entry, SyncWork
from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.files import TMP_SUFFIX, AppendFile, Files
from raftcache.wal.mending import content_of, first_foreign, rewrite
from raftcache.wal.records import (
    MAX_ENTRY_BYTES,
    RECORD_OVERHEAD_BYTES,
    SegmentHeader,
    encode_header,
    encode_record,
    read_head,
    scan_records,
)
from raftcache.wal.recovery import repair, survey
from raftcache.wal.segments import Segment, segment_path
from raftcache.wal.syncing import FileSyncWork

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment is closed at the first flush that finds it this large."""

MAX_BUFFERED_BYTES = 32 * 1024 * 1024
"""`append` flushes by itself when this much has gathered."""

UNTRUSTED = "untrusted"
"""The mark in a log's directory from a failed sync until the log is mended."""

_logger = logging.getLogger("raftcache.wal")


class FileLog:
    """See `wal.api.Log`. Belongs to the loop. `last_index` and `last_term` count what is buffered, too.

    `cut_at_start` says that opening it has cut a tail which may have held entries that were acknowledged.
    """

    on_disk = True

    def __init__(
        self,
        files: Files,
        directory: str,
        group_id: str,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        *,
        strict: bool = True,
        covered_index: int = 0,
        before_cut: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the log, or start an empty one with base (0, 0). For `strict` and `covered_index` see `recovery`.

        `before_cut` is called before a cut that may take what was acknowledged. Raises `WalDamaged`, OSError.
        """
        self._files, self._directory, self._group_id = files, directory, group_id
        self._mark = f"{directory}/{UNTRUSTED}"
        self._segment_bytes = segment_bytes
        self._pending: list[bytes] = []
        self._pending_offsets: list[int] = []
        self._pending_bytes = 0
        self._handle: AppendFile | None = None
        self._partial_write = self._failed = self._broken = False
        self._cut_pending: int | None = None
        self._era = 0
        self._names, self._synced_names = 1, 0  # Counters of changes in the directory, as in `Segment`.
        self._load(strict, covered_index, before_cut)

    def _load(self, strict: bool, covered_index: int, before_cut: Callable[[], None]) -> None:
        found = survey(self._files, self._directory, self._group_id, strict=strict, covered_index=covered_index)
        self.cut_at_start = found.lost
        if found.lost:
            before_cut()
        self._files.makedirs(self._directory)
        repair(self._files, self._directory, found)
        self._segments, self._flushed_term = found.segments, found.term
        self._loaded: list[Entry] | None = found.entries
        if not self._segments:
            self._segments = [self._create_segment(0, 0, 0, sync=True)]
        self._adopt()
        self.synced_index = min(max(self.base_index, found.synced_index), self.last_index)
        self._settle_loaded()

    def _settle_loaded(self) -> None:
        """Sync what was found: cuts and removals of an earlier process, above all, whose testimony would come back."""
        if self._files.exists(self._mark):
            self._distrust(self.synced_index)
            return
        try:
            self._sync_now()
        except OSError as error:
            _logger.error("%s: cannot be synced, so the log must be mended first: %s", self._directory, error)

    def _adopt(self) -> None:
        """Take the public figures from the segments, with nothing buffered."""
        first, newest = self._segments[0].header, self._segments[-1]
        self._seed = newest.seed
        self.base_index, self.base_term = first.base_index, first.base_term
        self.last_index, self.last_term = newest.last_index, self._flushed_term
        self.size_bytes = sum(segment.size for segment in self._segments)
        self._pending.clear()
        self._pending_offsets.clear()
        self._pending_bytes = 0

    # -- reading ---------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All entries kept, oldest first, the buffered ones included. What opening the log has read is handed over
        by the first call; later ones read the files. Raises `WalDamaged`, OSError."""
        flushed, self._loaded = self._loaded, None
        if flushed is None:
            flushed = [entry for segment in self._segments for entry in content_of(self._files, segment, ())]
        index = self._segments[-1].last_index
        records = b"".join(self._pending)
        return flushed + scan_records(records, 0, self._seed, index, self._flushed_term).entries

    def term_at(self, index: int) -> int:
        """The term of a flushed entry, or of the base. Raises `WalDamaged` where the record cannot be read."""
        segment = next((each for each in reversed(self._segments) if each.base_index < index), self._segments[0])
        if index == segment.base_index:
            return segment.header.base_term
        start = segment.offsets[index - segment.base_index - 1]
        head = read_head(self._files.read_range(segment.path, start, RECORD_OVERHEAD_BYTES), 0, self._seed)
        if head is None or head.index != index:
            raise WalDamaged(segment.path, start, "a record that is not whole")
        return head.term

    # -- appending -------------------------------------------------------------------------------

    def append(self, entry: Entry) -> None:
        """Buffer the next entry. Raises `LogWriteFailed` as `flush` does, or for an entry that is too large."""
        data, index, term = entry
        if index != self.last_index + 1:
            self._refuse_hole(index)
        if len(data) > MAX_ENTRY_BYTES:
            self._adopt()
            raise LogWriteFailed(errno.EFBIG, f"entry of {len(data)} bytes, at most {MAX_ENTRY_BYTES}")
        size = RECORD_OVERHEAD_BYTES + len(data)
        self._pending += (encode_record(entry, index - self.synced_index, self.last_term, self._seed), data)
        self._pending_offsets.append(self._pending_bytes)
        self._pending_bytes += size
        self.size_bytes += size
        self.last_index, self.last_term = index, term
        if self._pending_bytes >= MAX_BUFFERED_BYTES:
            self.flush()

    def _refuse_hole(self, index: int) -> NoReturn:
        """After a failure the caller may be ahead of the log; at any other time a hole is a defect."""
        assert self._failed, "a hole in the log"
        raise LogWriteFailed(errno.EIO, f"entry {index} behind entry {self.last_index}: the log must be mended first")

    def flush(self) -> None:
        """Write what is buffered in one piece. Raises `LogWriteFailed`; the log is as flushed before then."""
        if not self._pending:
            return
        try:
            segment, handle = self._writable()
            handle.write(b"".join(self._pending))
        except OSError as error:
            self._drop_pending()
            raise LogWriteFailed.wrap(self._segments[-1].path, error) from error
        size = segment.size
        segment.offsets.extend([size + offset for offset in self._pending_offsets])
        segment.size = size + self._pending_bytes
        segment.changes += 1
        self._flushed_term = self.last_term
        self._pending.clear()
        self._pending_offsets.clear()
        self._pending_bytes = 0

    def _writable(self) -> tuple[Segment, AppendFile]:
        """The newest segment, with room in it, and its open file."""
        if self._failed:
            self._require_sound()
            self._cut_partial_write()
            self._failed = False
        if self._segments[-1].size >= self._segment_bytes:
            self._rotate()
        if self._handle is None:
            self._handle = self._files.open_append(self._segments[-1].path)
            self._loaded = None
        return self._segments[-1], self._handle

    def _rotate(self) -> None:
        full = self._segments[-1]
        segment = self._create_segment(full.header.generation, full.last_index, self._flushed_term, sync=False)
        self._segments.append(segment)
        self.size_bytes += segment.size
        self._close_handle()

    def _create_segment(
        self, generation: int, base_index: int, base_term: int, *, sync: bool, name: bool = True
    ) -> Segment:
        """An empty segment under its name. What is not synced now is a part of what the next sync work covers: all of
        it without `sync`, its name without `name`."""
        header = SegmentHeader(self._group_id, generation, base_index, base_term)
        data = encode_header(header)
        path = segment_path(self._directory, base_index)
        self._names += 1
        self._files.write_atomic(path, data, sync=sync, sync_name=name)
        return Segment(path, header, len(data), len(data), synced_changes=int(sync and name), named=sync and name)

    def _drop_pending(self) -> None:
        """A write failed: forget what was buffered, and take back what reached the file."""
        self._adopt()
        self._partial_write = self._failed = True
        try:
            if not self._broken:
                self._cut_partial_write()
        except OSError as error:
            _logger.warning("%s: a partial write cannot be cut yet: %s", self._segments[-1].path, error)

    def _cut_partial_write(self) -> None:
        if not self._partial_write:
            return
        newest = self._segments[-1]
        if self._handle is None:
            self._handle = self._files.open_append(newest.path)
        self._handle.truncate(newest.size)
        newest.changes += 1
        self._partial_write = False

    def _require_sound(self) -> None:
        if self._broken or self._cut_pending is not None:
            what = "a sync" if self._broken else "dropping a suffix"
            raise LogWriteFailed(errno.EIO, f"{what} failed: the log must be mended first", self._segments[-1].path)

    # -- dropping --------------------------------------------------------------------------------

    def truncate_suffix(self, first_dropped: int) -> None:
        """Flush, then drop the entries from `first_dropped` on, newest segments first. Raises `LogWriteFailed`.

        After a failure part of the suffix may be gone, always its newest part. A cut below `synced_index` is synced.
        """
        assert first_dropped > self.base_index, "the base would be dropped"
        if first_dropped > self.last_index:
            return
        self._loaded = None
        self._era += 1
        with self._write_errors():
            self._cut(first_dropped)

    def _cut(self, first_dropped: int) -> None:
        pending, self._cut_pending = self._cut_pending, None
        first_dropped = min(first_dropped, pending or first_dropped)
        try:
            self.flush()
            self._drop_suffix(first_dropped)
        except OSError:
            self._failed = True
            self._cut_pending = first_dropped
            raise

    def _drop_suffix(self, first_dropped: int) -> None:
        self._require_sound()
        below_synced = first_dropped <= self.synced_index
        self._drop_segments(first_dropped)
        self.synced_index = min(self.synced_index, first_dropped - 1)
        self._cut_newest_segment(first_dropped)
        if below_synced:
            self._sync_now()

    def _sync_now(self) -> None:
        work = self.sync_work() or FileSyncWork(self._files, self._directory, 0, self._era, [], self._names)
        try:
            work.run()
        except OSError:
            self.sync_failed()
            raise
        self.synced(work)

    def _drop_segments(self, first_dropped: int) -> None:
        """Drop the segments that hold nothing below `first_dropped`, newest first; the oldest stays.

        Before synced entries go, the removals behind them are synced: a segment that a power loss brings back would
        testify that what was before it had been synced, and that would look like damage.
        """
        while len(self._segments) > 1 and self._segments[-1].base_index >= first_dropped - 1:
            if self._segments[-1].base_index < self.synced_index:
                self._sync_names()
            self._drop_newest_segment()
            self.synced_index = min(self.synced_index, self.last_index)
        if first_dropped <= self.synced_index:
            self._sync_names()

    def _sync_names(self) -> None:
        if self._names != self._synced_names:
            self._files.sync_dir(self._directory)

    def _drop_newest_segment(self) -> None:
        self._close_handle()
        self._names += 1
        self._files.remove(self._segments[-1].path)
        dropped = self._segments.pop()
        self._partial_write = False
        self._flushed_term = dropped.header.base_term
        self._adopt()

    def _cut_newest_segment(self, first_dropped: int) -> None:
        newest = self._segments[-1]
        if newest.last_index < first_dropped:
            return
        term = self.term_at(first_dropped - 1)
        place = first_dropped - newest.base_index - 1
        size = newest.offsets[place]
        if self._handle is None:
            self._handle = self._files.open_append(newest.path)
        self._handle.truncate(size)
        newest.changes += 1
        del newest.offsets[place:]
        newest.size, self._flushed_term, self._partial_write = size, term, False
        self._adopt()

    def truncate_prefix(self, last_dropped: int) -> int:
        """Drop whole segments that hold nothing over `last_dropped`; returns the new base index.

        The newest segment stays. Raises `LogWriteFailed`, after which some of them may be gone. A snapshot covers
        what is dropped, so the removal need not be synced; the segment that is then the oldest must have been, and is
        synced now in the rare case that it was not.
        """
        while self._may_drop_oldest(last_dropped):
            with self._write_errors():
                self._name_second()
                self._files.remove(self._segments[0].path)
                self._forget_oldest()
        return self.base_index

    def drop_oldest(self, last_dropped: int) -> Callable[[], None] | None:
        """Drop one segment that holds nothing over `last_dropped`, without the wait that removing a large file is.

        Its file takes a name that a start removes, which is as good as gone, and what is returned removes it, off the
        loop. None where none is left to drop. Raises as `truncate_prefix` does.
        """
        if not self._may_drop_oldest(last_dropped):
            return None
        path = self._segments[0].path
        aside = f"{path}.dropped{TMP_SUFFIX}"
        with self._write_errors():
            self._name_second()
            self._files.rename(path, aside)
            self._forget_oldest()
        return partial(self._remove_dropped, aside)

    def _may_drop_oldest(self, last_dropped: int) -> bool:
        return len(self._segments) > 1 and self._segments[0].last_index <= last_dropped

    def _name_second(self) -> None:
        if not self._segments[1].named:
            self._sync_now()

    def _forget_oldest(self) -> None:
        self._loaded = None
        self._names += 1
        self.size_bytes -= self._segments.pop(0).size
        self.base_index = self._segments[0].header.base_index
        self.base_term = self._segments[0].header.base_term
        self.synced_index = max(self.synced_index, self.base_index)

    def _remove_dropped(self, path: str) -> None:
        try:
            self._files.remove(path)
        except OSError as error:
            _logger.warning("%s: stays until the next start: %s", path, error)

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop everything and start over behind a base, synced. Raises `LogWriteFailed`, with the old log untouched.

        Where only the last step fails, the sync of the directory, the log has started over and must be mended. A power
        loss may then bring the old one back, beside the snapshot that made the log start over; the next start does
        that again.
        """
        old = self._segments
        with self._write_errors():
            segment = self._create_segment(old[-1].header.generation + 1, base_index, base_term, sync=True, name=False)
        self._segments, self._flushed_term = [segment], base_term
        self._partial_write = self._failed = self._broken = False
        self._cut_pending = None
        self._era += 1
        self._loaded = []
        self._adopt()
        self.synced_index = base_index
        with suppress(OSError):
            self._close_handle()
        try:
            self._sync_now()
            self._remove_old(old, segment.path)
        except OSError as error:
            _logger.warning("%s: old segments stay until the next start: %s", self._directory, error)

    def _remove_old(self, old: list[Segment], new_path: str) -> None:
        for each in reversed(old):
            if each.path != new_path:
                self._names += 1
                self._files.remove(each.path)
        self._remove_mark()

    # -- syncing, mending ------------------------------------------------------------------------

    def sync_work(self) -> FileSyncWork | None:
        """What would sync all that was flushed; None where nothing is unsynced."""
        changed = [(each, each.changes) for each in self._segments if each.changes != each.synced_changes]
        if not changed:
            return None
        names = self._names if self._names != self._synced_names else None
        return FileSyncWork(self._files, self._directory, self._segments[-1].last_index, self._era, changed, names)

    def synced(self, work: SyncWork) -> None:
        """`work.run()` has returned: advance `synced_index`, unless the log was cut or started over since."""
        assert isinstance(work, FileSyncWork)
        if work.era == self._era and work.settle():
            self._synced_names = max(self._synced_names, work.names or 0)
            self.synced_index = max(self.synced_index, work.index)

    def sync_failed(self) -> None:
        """`work.run()` has raised: nothing is written before the log is mended.

        The mark tells that to the next process, should this one be killed before: to that one a sync would succeed. It
        need not be synced, for a power loss ends the page cache as well; where it cannot be made at all, so be it.
        """
        self._distrust()
        with suppress(OSError):
            self._files.create(self._mark).close()

    def _distrust(self, from_index: int = 0) -> None:
        """Trust no segment with anything unsynced in it, of those that reach to `from_index`.

        That may be more than the work covered; but it went by path, and where it ended late it may have met a file that
        had taken the place of its own.
        """
        self._broken = self._failed = True
        for segment in self._segments:
            if segment.changes != segment.synced_changes and segment.last_index >= from_index:
                segment.untrusted = True

    def _remove_mark(self) -> None:
        if self._files.exists(self._mark):
            self._files.remove(self._mark)

    def mend_work(self, tail: Sequence[Entry]) -> Callable[[], None]:
        """See `wal.api.Log`."""
        return partial(self._mend, tail)

    def _mend(self, tail: Sequence[Entry]) -> None:
        with suppress(OSError):
            self._close_handle()
        self._broken = self._failed = True
        self._loaded = None
        self._era += 1
        self._adopt()
        self._drop_foreign(tail)
        self._rewrite_untrusted(tail)
        self._adopt()
        self._cut_partial_write()
        self._continue_behind(tail)
        self._remove_mark()
        self._broken = self._failed = False

    def _drop_foreign(self, tail: Sequence[Entry]) -> None:
        """Drop what is not in memory any more, because a cut has failed: whole segments go at once, and what is left of
        it in the newest one goes when that is rewritten."""
        first_dropped = min(first_foreign(self, tail), self._cut_pending or self.last_index + 1)
        if first_dropped > self.last_index:
            return
        self._cut_pending = first_dropped
        self._drop_segments(first_dropped)
        newest = self._segments[-1]
        if newest.last_index >= first_dropped:
            place = first_dropped - newest.base_index - 1
            newest.size = newest.offsets[place]
            del newest.offsets[place:]
            newest.untrusted = True
        self.synced_index = min(self.synced_index, first_dropped - 1)

    def _rewrite_untrusted(self, tail: Sequence[Entry]) -> None:
        for place, segment in enumerate(self._segments):
            if not segment.untrusted:
                continue
            entries = content_of(self._files, segment, tail)
            self._segments[place] = rewrite(self._files, segment, entries, self.synced_index)
            if place == len(self._segments) - 1:
                self._flushed_term = entries[-1].term if entries else segment.header.base_term
                self._partial_write = False
        self._cut_pending = None

    def _continue_behind(self, tail: Sequence[Entry]) -> None:
        """Go on in a new segment with what the log lacks of `tail`, and sync it all. The segment takes the place of
        one without entries, which may be the only one to tell base and generation: so it is whole before that."""
        newest = self._segments[-1]
        if tail and tail[0].index > newest.last_index + 1:
            reason = f"entries {newest.last_index + 1} to {tail[0].index - 1} are neither on disk nor in memory"
            raise WalDamaged(newest.path, newest.size, reason)
        self._close_handle()
        segment = self._create_segment(
            newest.header.generation, newest.last_index, self._flushed_term, sync=True, name=False
        )
        if not newest.offsets:
            self._segments.pop()
        self._segments.append(segment)
        self._adopt()
        self._failed = False
        for entry in tail:
            if entry.index > self.last_index:
                self.append(entry)
        self.flush()
        self._sync_now()

    # -- closing ---------------------------------------------------------------------------------

    def _close_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except LogWriteFailed:
            raise
        except OSError as error:
            raise LogWriteFailed.wrap(self._segments[-1].path, error) from error

    def close(self) -> None:
        """Flush and let go of the files. Raises `LogWriteFailed`; the files are let go then, too."""
        try:
            self.flush()
        finally:
            self._close_handle()
