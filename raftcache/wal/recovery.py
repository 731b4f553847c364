"""Finding a group's log again after a start: which segments count, where the tail is torn, what is damaged.

Each segment's header names the entry before its first, so the segments form a chain that is checked link by
link. Only the newest segment may end in a torn record. Of segments of several generations the newest generation
alone counts: the process was killed while it removed the others.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from raftcache.wal.api import Entry
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files, remove_leftovers
from raftcache.wal.records import (
    MAX_HEADER_BYTES,
    Ending,
    Scan,
    SegmentHeader,
    checksum_seed,
    decode_header,
    scan_records,
)

SEGMENT_SUFFIX = ".log"

_logger = logging.getLogger("raftcache.wal")


@dataclass(slots=True)
class Segment:
    """One file of the log. `offsets` are the bytes at which its records start; `size` is what is valid of it."""

    path: str
    header: SegmentHeader
    header_bytes: int
    size: int
    offsets: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def base_index(self) -> int:
        """The index of the entry before the first."""
        return self.header.base_index

    @property
    def last_index(self) -> int:
        """The index of the last entry; the base where it holds none."""
        return self.header.base_index + len(self.offsets)


def segment_path(directory: str, base_index: int) -> str:
    """Where the segment behind `base_index` is: named by its first entry's index in 16 hex digits."""
    return f"{directory}/{base_index + 1:016x}{SEGMENT_SUFFIX}"


def load_segments(files: Files, directory: str, group_id: str) -> tuple[list[Segment], int]:
    """The segments of a log, oldest first, and the term of its last entry; none where there are no files.

    A torn tail is cut, with a log line. Raises `WalDamaged`.
    """
    remove_leftovers(files, directory)
    segments = _newest_generation(files, _headers(files, directory, group_id))
    if not segments:
        return [], 0
    index, term = segments[0].base_index, segments[0].header.base_term
    for segment in segments:
        if (segment.header.base_index, segment.header.base_term) != (index, term):
            reason = (
                f"the segment continues from entry {segment.header.base_index} of term {segment.header.base_term}, "
                f"the one before ends with entry {index} of term {term}"
            )
            raise WalDamaged(segment.path, 0, reason)
        scan = _load(files, segment, newest=segment is segments[-1])
        index = segment.last_index
        term = scan.entries[-1].term if scan.entries else term
    return segments, term


def read_entries(files: Files, segments: list[Segment]) -> Iterator[Entry]:
    """All entries of segments that were loaded, oldest first. Raises `WalDamaged` where that changed since."""
    for segment in segments:
        scan = scan_segment(segment, files.read_range(segment.path, 0, segment.size))
        if scan.ending is not Ending.CLEAN:
            raise WalDamaged(segment.path, scan.end, scan.reason)
        yield from scan.entries


def scan_segment(segment: Segment, data: bytes) -> Scan:
    """Scan the content of a segment behind its header."""
    header = segment.header
    seed = checksum_seed(header.group_id, header.generation)
    return scan_records(data, segment.header_bytes, seed, header.base_index, header.base_term)


def _headers(files: Files, directory: str, group_id: str) -> list[Segment]:
    segments = []
    for name in files.listdir(directory):
        if name.endswith(SEGMENT_SUFFIX):
            segments.append(_read_header(files, directory, name, group_id))
    return segments


def _read_header(files: Files, directory: str, name: str, group_id: str) -> Segment:
    path = f"{directory}/{name}"
    try:
        header, size = decode_header(files.read_range(path, 0, MAX_HEADER_BYTES))
    except ValueError as error:
        raise WalDamaged(path, 0, str(error)) from None
    if header.group_id != group_id:
        raise WalDamaged(path, 0, f"the segment belongs to group {header.group_id!r}, not {group_id!r}")
    if segment_path(directory, header.base_index) != path:
        raise WalDamaged(path, 0, f"the segment starts with entry {header.base_index + 1}, against its name")
    return Segment(path, header, size, size)


def _newest_generation(files: Files, segments: list[Segment]) -> list[Segment]:
    newest = max((segment.header.generation for segment in segments), default=0)
    for segment in segments:
        if segment.header.generation != newest:
            _logger.info("%s: left over from before the log started over; removed", segment.path)
            files.remove(segment.path)
    return [segment for segment in segments if segment.header.generation == newest]


def _load(files: Files, segment: Segment, *, newest: bool) -> Scan:
    """Fill in a segment's size and offsets; cut its tail where it is torn."""
    data = files.read(segment.path)
    scan = scan_segment(segment, data)
    if scan.ending is Ending.DAMAGED or (scan.ending is Ending.TORN and not newest):
        raise WalDamaged(segment.path, scan.end, scan.reason)
    segment.size = scan.end
    segment.offsets.extend(scan.offsets)
    if scan.ending is Ending.TORN:
        _logger.warning("%s: torn tail of %d bytes cut at byte %d", segment.path, len(data) - scan.end, scan.end)
        handle = files.open_append(segment.path)
        try:
            handle.truncate(scan.end)
        finally:
            handle.close()
    return scan
