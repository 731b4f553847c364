"""Looking at a node's files without touching them: what is there, and what the logs hold. `verification` says whether
it is whole.

Nothing here writes, takes a lock or keeps a file open, so it may look at a directory that a node works on. What is
read one after the other is then not of one moment, so a file that is gone when its turn comes is passed over. Of a log
one segment at a time is held in memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from raftcache.wal.api import Entry, SnapshotMeta
from raftcache.wal.errors import SnapshotDamaged, WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.log import UNTRUSTED
from raftcache.wal.node_files import DAMAGED, NUMBERS, VOTES, Replica, group_names, read_numbers
from raftcache.wal.records import MAX_HEADER_BYTES, Scan, decode_header
from raftcache.wal.segments import SEGMENT_SUFFIX, Segment, read_segment, segment_names
from raftcache.wal.snapshot_format import MAX_HEADER_BYTES as MAX_SNAPSHOT_HEADER_BYTES
from raftcache.wal.snapshot_format import decode_meta
from raftcache.wal.snapshots import SNAPSHOT_SUFFIX
from raftcache.wal.storage import BOOT, LOG_DIRECTORY, SNAPSHOT_DIRECTORY
from raftcache.wal.suspicion import SUSPECT
from raftcache.wal.votes import read_votes

GROUPS_DIRECTORY = "groups"

_SEGMENT_NAME = re.compile(r"[0-9a-f]{16}" + re.escape(SEGMENT_SUFFIX))

T = TypeVar("T")


class GroupFiles(NamedTuple):
    """Where a group's files are. `folder` is "" where only a log was asked for."""

    group_id: str
    folder: str
    log: str


class Place(NamedTuple):
    """What a directory turned out to be: `root` is the one that all groups of a node share, "" where that is not to be
    seen from here; `whole` says that all of it was asked for."""

    root: str
    groups: list[GroupFiles]
    whole: bool


class SegmentReport(NamedTuple):
    """A segment, as far as it is whole; `problem` says why not all of it is. `synced_index` is the highest that its
    records testify to have been synced. Without entries `last_index` is below `first_index`, and the terms are 0;
    without a whole header `first_index` is 0."""

    path: str
    size_bytes: int
    generation: int
    first_index: int
    last_index: int
    first_term: int
    last_term: int
    synced_index: int
    problem: str


class SnapshotReport(NamedTuple):
    """A snapshot, by its header; `meta` is None where that is not whole, and `problem` says why."""

    path: str
    size_bytes: int
    meta: SnapshotMeta | None
    problem: str


class GroupReport(NamedTuple):
    """What is kept of a group. `vote` and `replica` are None where they cannot be read, or not be seen from here."""

    files: GroupFiles
    segments: list[SegmentReport]
    snapshots: list[SnapshotReport]
    vote: tuple[int, str | None] | None
    replica: Replica | None
    marks: list[str]


class Unreadable(NamedTuple):
    """Where a log cannot be read on. `torn` says that this is what an unfinished write leaves at the end of a log."""

    path: str
    offset: int
    reason: str
    torn: bool


# -- finding -----------------------------------------------------------------------------------------


def locate(files: Files, directory: str) -> Place:
    """What `directory` is: a node's data directory, its `groups`, a group's folder or a log's. Raises ValueError."""
    if not files.exists(directory):
        raise ValueError(f"{directory}: there is no such directory")
    for root in (f"{directory}/{GROUPS_DIRECTORY}", directory):
        if any(files.exists(f"{root}/{name}") for name in (VOTES, NUMBERS)):
            return Place(root, [_group_in(files, f"{root}/{name}") for name in group_names(files, root)], True)
    if files.exists(f"{directory}/{LOG_DIRECTORY}") or files.exists(f"{directory}/{SNAPSHOT_DIRECTORY}"):
        return Place(_root_over(files, directory), [_group_in(files, directory)], False)
    if any(_SEGMENT_NAME.fullmatch(name) for name in segment_names(files, directory)):
        return Place("", [GroupFiles(_group_of_log(files, directory), "", directory)], False)
    raise ValueError(
        f"{directory}: neither a node's data directory (with {GROUPS_DIRECTORY}/), nor a group's folder (with "
        f"{LOG_DIRECTORY}/), nor a log's (with *{SEGMENT_SUFFIX})"
    )


def _root_over(files: Files, folder: str) -> str:
    above = os.path.dirname(folder)
    return above if files.exists(f"{above}/{VOTES}") and os.path.basename(folder) != DAMAGED else ""


def _group_in(files: Files, folder: str) -> GroupFiles:
    """Under a root a group goes by its folder's name; anywhere else by what its log says."""
    log, name = f"{folder}/{LOG_DIRECTORY}", os.path.basename(folder)
    return GroupFiles(name if _root_over(files, folder) else _group_of_log(files, log) or name, folder, log)


def _group_of_log(files: Files, log: str) -> str:
    """Whose log it is, by the first header that can be read; "" where there is none."""
    for name in segment_names(files, log):
        try:
            return decode_header(files.read_range(f"{log}/{name}", 0, MAX_HEADER_BYTES))[0].group_id
        except (ValueError, FileNotFoundError):
            continue
    return ""


def snapshot_paths(files: Files, group: GroupFiles) -> list[str]:
    """A group's snapshots, the newest last."""
    directory = f"{group.folder}/{SNAPSHOT_DIRECTORY}"
    there = files.listdir(directory) if group.folder and files.exists(directory) else []
    return [f"{directory}/{name}" for name in there if name.endswith(SNAPSHOT_SUFFIX)]


# -- telling -----------------------------------------------------------------------------------------


def inspect_group(files: Files, place: Place, group: GroupFiles) -> GroupReport:
    """What is kept of a group. Raises OSError."""
    vote: tuple[int, str | None] | None = None
    replica: Replica | None = None
    if place.root:
        votes = _or_none(lambda: read_votes(files, f"{place.root}/{VOTES}")[0])
        numbers = _or_none(lambda: read_numbers(files, place.root))
        vote = votes.get(group.group_id, (0, None)) if votes is not None else None
        replica = numbers.get(group.group_id, Replica()) if numbers is not None else None
    segments = [_segment(files, group, name) for name in segment_names(files, group.log)]
    snapshots = [_snapshot(files, path) for path in snapshot_paths(files, group)]
    marks = [name for name, path in _mark_paths(group) if files.exists(path)]
    there = [each for each in segments if each is not None]
    return GroupReport(group, there, [each for each in snapshots if each is not None], vote, replica, marks)


def _mark_paths(group: GroupFiles) -> list[tuple[str, str]]:
    marks = [(name, f"{group.folder}/{name}") for name in (BOOT, SUSPECT) if group.folder]
    return [*marks, (UNTRUSTED, f"{group.log}/{UNTRUSTED}")]


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (WalDamaged, FileNotFoundError):
        return None


def _segment(files: Files, group: GroupFiles, name: str) -> SegmentReport | None:
    path = f"{group.log}/{name}"
    try:
        size = files.size(path)
        segment, scan = _scanned(files, group, name)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return SegmentReport(path, size, 0, 0, 0, 0, 0, 0, str(error))
    problem = f"{scan.reason} at byte {scan.end}" if scan.reason else ""
    terms = (scan.entries[0].term, scan.entries[-1].term) if scan.entries else (0, 0)
    first, last = segment.base_index + 1, segment.base_index + len(scan.entries)
    return SegmentReport(path, size, segment.header.generation, first, last, *terms, scan.synced_index, problem)


def _scanned(files: Files, group: GroupFiles, name: str) -> tuple[Segment, Scan]:
    """Raises ValueError, which says what is wrong with the header; OSError."""
    segment = read_segment(files, group.log, name, group.group_id)
    return segment, segment.scan(files.read(segment.path))


def _snapshot(files: Files, path: str) -> SnapshotReport | None:
    try:
        size = files.size(path)
        meta = decode_meta(files.read_range(path, 0, MAX_SNAPSHOT_HEADER_BYTES), path)
    except FileNotFoundError:
        return None
    except SnapshotDamaged as damage:
        return SnapshotReport(path, size, None, damage.reason)
    return SnapshotReport(path, size, meta, "")


# -- entries -----------------------------------------------------------------------------------------


def entries_of(files: Files, group: GroupFiles) -> Iterator[Entry | Unreadable]:
    """The entries of a log, oldest first, and what of it cannot be read; reading goes on with the segment behind.

    Segments of an older generation are passed over: the log has started over since. Raises OSError.
    """
    names = segment_names(files, group.log)
    newest = max((_generation(files, group, name) for name in names), default=0)
    end: tuple[int, int] | None = None
    for name in names:
        path = f"{group.log}/{name}"
        try:
            segment, scan = _scanned(files, group, name)
        except FileNotFoundError:
            continue
        except ValueError as error:
            yield Unreadable(path, 0, str(error), False)
            continue
        if segment.header.generation != newest:
            continue
        base = (segment.header.base_index, segment.header.base_term)
        if end is not None and end != base:
            reason = "it continues from entry {} of term {}, but entry {} of term {} is before it".format(*base, *end)
            yield Unreadable(path, 0, reason, False)
        yield from scan.entries
        end = (scan.entries[-1].index, scan.entries[-1].term) if scan.entries else base
        if scan.reason:
            yield Unreadable(path, scan.end, scan.reason, scan.unfinished and name == names[-1])


def _generation(files: Files, group: GroupFiles, name: str) -> int:
    try:
        return read_segment(files, group.log, name, group.group_id).header.generation
    except (ValueError, FileNotFoundError):
        return 0
