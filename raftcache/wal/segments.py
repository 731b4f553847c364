"""The files of a log: how a segment is named, what is known of one, and reading its header."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from raftcache.wal.files import Files
from raftcache.wal.records import MAX_HEADER_BYTES, Scan, SegmentHeader, checksum_seed, decode_header, scan_records

SEGMENT_SUFFIX = ".log"


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the log. `offsets` are the bytes at which its records start; `size` is what is valid of it.

    `changes` counts what was done to the file, `synced_changes` is how many of those a sync has covered; `named` says
    whether a sync of the directory has covered its name. `untrusted` is set where a sync failed: what the page
    cache shows since may never reach the disk, so the file is rewritten before it is relied on (`mending`).
    """

    path: str
    header: SegmentHeader
    header_bytes: int
    size: int
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    changes: int = 1
    synced_changes: int = 0
    named: bool = False
    untrusted: bool = False

    @property
    def base_index(self) -> int:
        """The index of the entry before the first."""
        return self.header.base_index

    @property
    def last_index(self) -> int:
        """The index of the last entry; the base where it holds none."""
        return self.header.base_index + len(self.offsets)

    @property
    def seed(self) -> int:
        """Where the checksums of its records start from."""
        return checksum_seed(self.header.group_id, self.header.generation)

    def scan(self, data: bytes) -> Scan:
        """Read the records of the file's content."""
        return scan_records(data, self.header_bytes, self.seed, self.header.base_index, self.header.base_term)


def segment_path(directory: str, base_index: int) -> str:
    """Where the segment behind `base_index` is: named by its first entry's index in 16 hex digits."""
    return f"{directory}/{base_index + 1:016x}{SEGMENT_SUFFIX}"


def segment_names(files: Files, directory: str) -> list[str]:
    """The names of the segments in a directory, by index; none where there is no directory."""
    if not files.exists(directory):
        return []
    return [name for name in files.listdir(directory) if name.endswith(SEGMENT_SUFFIX)]


def read_segment(files: Files, directory: str, name: str, group_id: str) -> Segment:
    """A segment as its header describes it, its records not yet looked at. Raises ValueError, which says what is
    wrong with the header; OSError."""
    path = f"{directory}/{name}"
    header, size = decode_header(files.read_range(path, 0, MAX_HEADER_BYTES))
    if header.group_id != group_id:
        raise ValueError(f"the segment belongs to group {header.group_id!r}, not {group_id!r}")
    if segment_path(directory, header.base_index) != path:
        raise ValueError(f"the segment starts with entry {header.base_index + 1}, against its name")
    return Segment(path, header, size, size)
