"""Bringing a log to the disk, off the loop, while the loop goes on with it.

A work names what it covers when it is made: the segments that changed since they were synced, oldest first, and then
the directory, if names in it changed. It goes by path, since the loop may close its handles meanwhile; a file that
is gone by then was dropped, and needs no sync. Counters of changes, taken when the work is made, tell afterwards how
much of what there is now the work has covered.

The order makes the records' testimony true (see `records`): `synced_index` moves only when all older segments, and
every cut and removal that came before, are on the disk as well.

A failed sync is remembered in the segment itself, at once and on this thread: the operating system may have marked
the pages as clean, so a second sync would succeed and prove nothing. No later work may pass over such a segment.
"""

from __future__ import annotations

import errno

from raftcache.wal.files import Files
from raftcache.wal.segments import Segment


class FileSyncWork:
    """See `wal.api.SyncWork`. `changed` are segments, oldest first, with their counters as of now."""

    def __init__(
        self, files: Files, directory: str, index: int, era: int, changed: list[tuple[Segment, int]], names: int | None
    ) -> None:
        """`names` is the directory's counter, or None where it needs no sync."""
        self.index, self.era, self.names = index, era, names
        self._files, self._directory, self._changed = files, directory, changed

    def run(self) -> None:
        """Sync it all. On any thread; raises OSError."""
        for segment, _ in self._changed:
            self._sync_segment(segment)
        if self.names is not None:
            self._sync_names()

    def _sync_segment(self, segment: Segment) -> None:
        if segment.untrusted:
            raise OSError(errno.EIO, "an earlier sync failed; the file must be rewritten", segment.path)
        try:
            self._files.sync(segment.path)
        except OSError:
            segment.untrusted = True
            raise

    def _sync_names(self) -> None:
        try:
            self._files.sync_dir(self._directory)
        except OSError:
            for segment, _ in self._changed:
                segment.untrusted = segment.untrusted or not segment.named
            raise

    def settle(self) -> bool:
        """Note in the segments that they are synced; False where one is not trusted any more."""
        if any(segment.untrusted for segment, _ in self._changed):
            return False
        for segment, changes in self._changed:
            segment.synced_changes = max(segment.synced_changes, changes)
            segment.named = segment.named or self.names is not None
        return True
