"""Writing a segment anew, where what the disk has of it cannot be trusted.

After a failed sync the page cache may show content that will never reach the disk, or may have dropped it for what
the disk had before; which of the two is up to the file system. So the content is put together again: from the
entries in memory as far back as they go, and from the old file below that, each record checked. It is written to a
new file, synced, and renamed over the old one. A kill or a power loss on the way leaves one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftcache.wal.api import Entry
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.records import encode_header, encode_record
from raftcache.wal.segments import Segment


class Terms(Protocol):
    """What is asked of a log."""

    base_index: int
    last_index: int

    def term_at(self, index: int) -> int:
        """The term of an entry. Raises `WalDamaged` where it cannot be read."""


def first_foreign(log: Terms, tail: Sequence[Entry]) -> int:
    """The first entry of the log that `tail` contradicts, or that lies behind it; the one behind the last where all
    fits, and where there is no tail.

    By Raft's log matching the two agree up to some index and nowhere behind it, so that index is searched by halves.
    """
    if not tail:
        return log.last_index + 1
    first = tail[0].index
    low = max(first - 1, log.base_index)
    high = max(low, min(tail[-1].index, log.last_index))
    while low < high:
        middle = (low + high + 1) // 2
        if _agrees(log, tail[middle - first]):
            low = middle
        else:
            high = middle - 1
    return low + 1


def _agrees(log: Terms, entry: Entry) -> bool:
    """Where the record cannot be read, the log takes the entry from memory again."""
    try:
        return log.term_at(entry.index) == entry.term
    except WalDamaged:
        return False


def content_of(files: Files, segment: Segment, tail: Sequence[Entry]) -> list[Entry]:
    """The entries of a segment, from `tail` where that has them. Raises `WalDamaged`, OSError."""
    first = tail[0].index if tail else segment.last_index + 1
    from_disk = max(0, min(segment.last_index, first - 1) - segment.base_index)
    kept: list[Entry] = []
    if from_disk:
        scan = segment.scan(files.read_range(segment.path, 0, segment.size))
        if len(scan.entries) < from_disk:
            reason = f"entry {segment.base_index + len(scan.entries) + 1} is whole neither on disk nor in memory"
            raise WalDamaged(segment.path, scan.end, reason)
        kept = scan.entries[:from_disk]
    start = max(0, segment.base_index + 1 - first)
    return kept + list(tail[start : max(start, segment.last_index + 1 - first)])


def rewrite(files: Files, segment: Segment, entries: list[Entry], synced_index: int) -> Segment:
    """Put a segment with these entries in the place of an old one, synced. Raises OSError."""
    pieces = [encode_header(segment.header)]
    new = Segment(segment.path, segment.header, len(pieces[0]), len(pieces[0]), synced_changes=1, named=True)
    term = segment.header.base_term
    for entry in entries:
        head = encode_record(entry, max(0, entry.index - synced_index), term, segment.seed)
        pieces += (head, entry.data)
        new.offsets.append(new.size)
        new.size += len(head) + len(entry.data)
        term = entry.term
    files.write_atomic(segment.path, b"".join(pieces), sync=True)
    return new
