"""The write-ahead log of one group, on files.

Appends gather in memory, and `flush` writes them as one piece to the newest segment; `records` has the format,
`recovery` the start. Four rules make it safe to kill the process at any point:

* A segment gets its name only when its header is whole and synced (`write_atomic`).
* Segments go newest first when a suffix is dropped, oldest first when a prefix is, and the directory is synced
  after each, so what is left is always one chain.
* Starting over (`reset`) writes a segment of the next *generation* under its name. That rename is the moment: a
  kill before it leaves the old log whole, and after it the old segments are garbage, whether they are removed
  already or not. The new segment may well take the name of an old one; the rename replaces it then.
* After a failed write the file is cut back to what was flushed before, at once, or, should that fail as well,
  before anything else is written.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from raftcache.wal.api import Entry
from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.files import AppendFile, Files
from raftcache.wal.records import (
    MAX_ENTRY_BYTES,
    RECORD_OVERHEAD_BYTES,
    SegmentHeader,
    checksum_seed,
    encode_header,
    encode_record,
    read_record,
)
from raftcache.wal.recovery import Segment, load_segments, read_entries, segment_path

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment is closed at the first flush that finds it this large."""

MAX_BUFFERED_BYTES = 32 * 1024 * 1024
"""`append` flushes by itself when this much has gathered."""

_logger = logging.getLogger("raftcache.wal")


class FileLog:
    """See `wal.api.Log`. Belongs to the loop. `last_index` and `last_term` count what is buffered, too."""

    def __init__(self, files: Files, directory: str, group_id: str, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> None:
        """Open the log, or start an empty one with base (0, 0). Raises `WalDamaged`, OSError."""
        self._files = files
        self._directory = directory
        self._group_id = group_id
        self._segment_bytes = segment_bytes
        self._pending: list[bytes] = []
        self._pending_offsets: list[int] = []
        self._pending_bytes = 0
        self._handle: AppendFile | None = None
        self._partial_write = False
        files.makedirs(directory)
        self._segments, self._flushed_term = load_segments(files, directory, group_id)
        if not self._segments:
            self._segments = [self._create_segment(0, 0, 0)]
        self._adopt()

    def _adopt(self) -> None:
        """Take the public figures from the segments, with nothing buffered."""
        first, newest = self._segments[0].header, self._segments[-1]
        self._seed = checksum_seed(self._group_id, first.generation)
        self.base_index, self.base_term = first.base_index, first.base_term
        self.last_index, self.last_term = newest.last_index, self._flushed_term
        self.size_bytes = sum(segment.size for segment in self._segments)
        self._pending.clear()
        self._pending_offsets.clear()
        self._pending_bytes = 0

    # -- reading ---------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All entries kept, oldest first, the buffered ones included. Reads the files: for start-up."""
        records = b"".join(self._pending)
        pending = [read_record(records, offset, self._seed) for offset in self._pending_offsets]
        return [
            *read_entries(self._files, self._segments),
            *(entry for entry in pending if entry is not None),
        ]

    def term_at(self, index: int) -> int:
        """The term of a flushed entry, or of the base. Raises `WalDamaged` where the record cannot be read."""
        segment = next((each for each in reversed(self._segments) if each.base_index < index), self._segments[0])
        if index == segment.base_index:
            return segment.header.base_term
        place = index - segment.base_index - 1
        end = segment.offsets[place + 1] if place + 1 < len(segment.offsets) else segment.size
        start = segment.offsets[place]
        record = read_record(self._files.read_range(segment.path, start, end - start), 0, self._seed)
        if record is None or record.index != index:
            raise WalDamaged(segment.path, start, "a record that is not whole")
        return record.term

    # -- appending -------------------------------------------------------------------------------

    def append(self, entry: Entry) -> None:
        """Buffer the next entry. Raises `LogWriteFailed` as `flush` does, or for an entry that is too large."""
        assert entry.index == self.last_index + 1, "a hole in the log"
        size = RECORD_OVERHEAD_BYTES + len(entry.data)
        if len(entry.data) > MAX_ENTRY_BYTES:
            self._adopt()
            raise LogWriteFailed(errno.EFBIG, f"entry of {len(entry.data)} bytes, at most {MAX_ENTRY_BYTES}")
        self._pending += (encode_record(entry, self._seed), entry.data)
        self._pending_offsets.append(self._pending_bytes)
        self._pending_bytes += size
        self.size_bytes += size
        self.last_index, self.last_term = entry.index, entry.term
        if self._pending_bytes >= MAX_BUFFERED_BYTES:
            self.flush()

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
        self._flushed_term = self.last_term
        self._pending.clear()
        self._pending_offsets.clear()
        self._pending_bytes = 0

    def _writable(self) -> tuple[Segment, AppendFile]:
        """The newest segment, with room in it, and its open file."""
        if self._partial_write:
            self._cut_partial_write()
        if self._segments[-1].size >= self._segment_bytes:
            self._rotate()
        if self._handle is None:
            self._handle = self._files.open_append(self._segments[-1].path)
        return self._segments[-1], self._handle

    def _rotate(self) -> None:
        full = self._segments[-1]
        segment = self._create_segment(full.header.generation, full.last_index, self._flushed_term)
        self._segments.append(segment)
        self.size_bytes += segment.size
        self._close_handle()

    def _create_segment(self, generation: int, base_index: int, base_term: int) -> Segment:
        header = SegmentHeader(self._group_id, generation, base_index, base_term)
        data = encode_header(header)
        path = segment_path(self._directory, base_index)
        self._files.write_atomic(path, data, sync=True)
        return Segment(path, header, len(data), len(data))

    def _drop_pending(self) -> None:
        """A write failed: forget what was buffered, and take back what reached the file."""
        self._adopt()
        self._partial_write = True
        try:
            self._cut_partial_write()
        except OSError as error:
            _logger.warning("%s: a partial write cannot be cut yet: %s", self._segments[-1].path, error)

    def _cut_partial_write(self) -> None:
        if self._handle is None:
            self._handle = self._files.open_append(self._segments[-1].path)
        self._handle.truncate(self._segments[-1].size)
        self._partial_write = False

    # -- dropping --------------------------------------------------------------------------------

    def truncate_suffix(self, first_dropped: int) -> None:
        """Flush, then drop the entries from `first_dropped` on, newest segments first. Raises `LogWriteFailed`.

        After a failure part of the suffix may be gone, always its newest part.
        """
        assert first_dropped > self.base_index, "the base would be dropped"
        self.flush()
        if first_dropped > self.last_index:
            return
        with self._write_errors():
            while len(self._segments) > 1 and self._segments[-1].base_index >= first_dropped - 1:
                self._drop_newest_segment()
            self._cut_newest_segment(first_dropped)

    def _drop_newest_segment(self) -> None:
        self._close_handle()
        self._files.remove(self._segments[-1].path)
        dropped = self._segments.pop()
        self._partial_write = False
        self._flushed_term = dropped.header.base_term
        self._adopt()
        self._files.sync_dir(self._directory)

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
        del newest.offsets[place:]
        newest.size, self._flushed_term, self._partial_write = size, term, False
        self._adopt()

    def truncate_prefix(self, last_dropped: int) -> int:
        """Drop whole segments that hold nothing over `last_dropped`; returns the new base index.

        The newest segment stays. Raises `LogWriteFailed`, after which some of them may be gone.
        """
        with self._write_errors():
            while len(self._segments) > 1 and self._segments[0].last_index <= last_dropped:
                self._files.remove(self._segments[0].path)
                self.size_bytes -= self._segments.pop(0).size
                self.base_index = self._segments[0].header.base_index
                self.base_term = self._segments[0].header.base_term
                self._files.sync_dir(self._directory)
        return self.base_index

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop everything and start over behind a base. Raises `LogWriteFailed`, with the old log untouched."""
        old = self._segments
        with self._write_errors():
            segment = self._create_segment(old[-1].header.generation + 1, base_index, base_term)
        self._segments, self._flushed_term, self._partial_write = [segment], base_term, False
        self._adopt()
        try:
            self._close_handle()
            for each in reversed(old):
                if each.path != segment.path:
                    self._files.remove(each.path)
        except OSError as error:
            _logger.warning("%s: old segments stay until the next start: %s", self._directory, error)

    def _close_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LogWriteFailed.wrap(self._segments[-1].path, error) from error

    def close(self) -> None:
        """Flush and let go of the files. Raises `LogWriteFailed`; the files are let go then, too."""
        try:
            self.flush()
        finally:
            self._close_handle()
