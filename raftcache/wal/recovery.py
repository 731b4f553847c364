"""Finding a group's log again after a start: what counts, where the tail is cut, what is damaged.

Each segment's header names the entry before its first, so the segments form a chain that is checked link by link,
record by record. Of segments of several generations the newest generation alone counts: the process was killed
while it removed the others. The walk stops at the first thing that is not whole, or not what comes next. What that
means depends on what happened since the log was written:

* *Strict*: the machine has not rebooted, so at most a process was killed. That leaves the files as they were
  written, but for a last write that may be a prefix of itself. So the newest segment may end in the beginning of a
  record (see `records.Scan.unfinished`), which was never acknowledged and is cut. Everything else is damage.
* *Lenient*: the machine may have lost power. Whatever was not synced may be missing, short, zeros or garbage, at
  any place: whole segments, their headers, the tail of one and the beginning of the next. So the walk asks what
  lies behind the place where it stopped, in that segment and in all later ones, whether any record testifies that
  the entry expected here had been synced (`records.testifies`). If one does, something that the disk was told to
  keep is gone: damage. If none does, nothing that was promised to survive is missing, and the log is cut there.

What a snapshot covers is needed no more, which makes both ends of the covered part soft in lenient mode. Dropping a
prefix does not sync the directory, so removed segments may reappear without their neighbours: the segments before
such a gap are removed where the next one still starts within the snapshot. And an entry that the snapshot covers
needs no testimony: the expected index is never less than the one behind the snapshot. Dropped segments that a power
loss brings back without a whole header, among those that count, are told by their names: the walk is past them.

The header of the oldest segment is always synced, with its name: the first one when it is made, one behind a dropped
prefix at the latest before that is dropped (`FileLog.truncate_prefix`). So a log always begins with a whole header.

`survey` only reads; it says what is to be removed and cut. `repair` does it.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from raftcache.wal.api import Entry
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files, remove_leftovers
from raftcache.wal.records import testifies
from raftcache.wal.segments import Segment, read_segment, segment_names

_logger = logging.getLogger("raftcache.wal")


class Removal(NamedTuple):
    """A file that does not belong to the log, and why."""

    path: str
    reason: str


class Cut(NamedTuple):
    """Where a segment ends, and how many bytes lie behind that."""

    path: str
    offset: int
    cut_bytes: int
    reason: str


class Survey(NamedTuple):
    """What is there of a log. `segments` form one chain from `segments[0]`'s base, with `entries`, the last of them
    of `term`; none where there is no log. `synced_index` is the highest that the records testify. `lost` says that the
    cut took what the operating system had taken, so that entries may be missing that this replica acknowledged."""

    segments: list[Segment]
    entries: list[Entry]
    term: int
    synced_index: int
    removals: list[Removal]
    cut: Cut | None
    lost: bool


class _Part(NamedTuple):
    """A segment file on the walk: `segment` is None, and `reason` says why, where its header is not whole."""

    path: str
    first_index: int
    segment: Segment | None
    reason: str


class _Break(NamedTuple):
    """Where the walk stopped: at `offset` of part number `place`; `unfinished` as in `records.Scan`."""

    place: int
    offset: int
    reason: str
    unfinished: bool


class _Walk:
    """One walk along the chain, from part number `start` on."""

    def __init__(self, files: Files, parts: list[_Part], start: int) -> None:
        self.segments: list[Segment] = []
        self.entries: list[Entry] = []
        self.synced_index = 0
        self.stale: list[Removal] = []
        first = parts[start].segment if start < len(parts) else None
        self.index = parts[start].first_index - 1 if start < len(parts) else 0
        self.term = first.header.base_term if first is not None else 0
        self.broken = self._go(files, parts, start)

    def _go(self, files: Files, parts: list[_Part], start: int) -> _Break | None:
        for place in range(start, len(parts)):
            segment = parts[place].segment
            if segment is None and self._is_stale(files, parts[place]):
                self.stale.append(Removal(parts[place].path, "a leftover, for the log has what it should begin with"))
                continue
            if segment is None:
                return _Break(place, 0, parts[place].reason, False)
            base = (segment.header.base_index, segment.header.base_term)
            if base != (self.index, self.term):
                reason = (
                    f"the segment continues from entry {base[0]} of term {base[1]}, "
                    f"the one before ends with entry {self.index} of term {self.term}"
                )
                return _Break(place, 0, reason, False)
            broken = self._read(files, segment, place)
            if broken is not None:
                return broken
        return None

    def _is_stale(self, files: Files, part: _Part) -> bool:
        """Whether a part without a whole header is of no use, since the walk already has its first entry; it was
        dropped, or is of an older generation."""
        if not self.segments or part.first_index > self.index:
            return False
        return not testifies(files.read(part.path), 0, self.segments[0].seed, self.index + 1)

    def _read(self, files: Files, segment: Segment, place: int) -> _Break | None:
        scan = segment.scan(files.read(segment.path))
        segment.size = scan.end
        segment.offsets.extend(scan.offsets)
        self.segments.append(segment)
        self.entries += scan.entries
        self.synced_index = max(self.synced_index, scan.synced_index)
        self.index = segment.last_index
        self.term = scan.entries[-1].term if scan.entries else self.term
        return _Break(place, scan.end, scan.reason, scan.unfinished) if scan.reason else None


def survey(files: Files, directory: str, group_id: str, *, strict: bool, covered_index: int = 0) -> Survey:
    """Read a log that a snapshot covers up to `covered_index`. Raises `WalDamaged`, OSError."""
    parts, removals = _newest_generation(_parts(files, directory, group_id), strict)
    start = 0
    while True:
        walk = _Walk(files, parts, start)
        if walk.broken is None:
            gone = removals + walk.stale
            return Survey(walk.segments, walk.entries, walk.term, walk.synced_index, gone, None, False)
        again = None if strict else _start_within(parts, start, walk, covered_index)
        if again is None:
            break
        removals += [Removal(part.path, "the snapshot covers it") for part in parts[start:again]]
        start = again
    if strict:
        return _strict_end(files, parts, walk, walk.broken, removals)
    return _lenient_end(files, parts, walk, walk.broken, removals + walk.stale, max(walk.index, covered_index) + 1)


def repair(files: Files, directory: str, found: Survey) -> None:
    """Remove and cut what `found` says, with a log line for each, and sync that. Raises OSError."""
    if files.exists(directory):
        remove_leftovers(files, directory)
    for path, reason in reversed(found.removals):
        _logger.warning("%s: removed: %s", path, reason)
        files.remove(path)
    if found.removals:
        files.sync_dir(directory)
    if found.cut is not None:
        _logger.warning("%s: torn tail of %d bytes cut at byte %d: %s", *_words(found.cut))
        handle = files.open_append(found.cut.path)
        try:
            handle.truncate(found.cut.offset)
            handle.sync()
        finally:
            handle.close()


def _words(cut: Cut) -> tuple[str, int, int, str]:
    return cut.path, cut.cut_bytes, cut.offset, cut.reason


def _parts(files: Files, directory: str, group_id: str) -> list[_Part]:
    parts = []
    for name in segment_names(files, directory):
        path = f"{directory}/{name}"
        try:
            first_index = int(name.partition(".")[0], 16)
        except ValueError:
            raise WalDamaged(path, 0, "the name of a segment that does not say its first entry") from None
        try:
            parts.append(_Part(path, first_index, read_segment(files, directory, name, group_id), ""))
        except ValueError as error:
            parts.append(_Part(path, first_index, None, str(error)))
    return parts


def _newest_generation(parts: list[_Part], strict: bool) -> tuple[list[_Part], list[Removal]]:
    """The parts of the newest generation, and in lenient mode those of which it cannot be told; and the others."""
    if strict:
        for part in parts:
            if part.segment is None:
                raise WalDamaged(part.path, 0, part.reason)
    newest = max((part.segment.header.generation for part in parts if part.segment is not None), default=0)
    kept, removals = [], []
    for part in parts:
        if part.segment is not None and part.segment.header.generation != newest:
            removals.append(Removal(part.path, "left over from before the log started over"))
        else:
            kept.append(part)
    return kept, removals


def _start_within(parts: list[_Part], start: int, walk: _Walk, covered_index: int) -> int | None:
    """The first part behind the break from which the log can go on within the snapshot, but not where it started.

    One that begins before the walk's end is none: it is what a power loss brought back of a suffix that was dropped.
    """
    broken = walk.broken
    assert broken is not None
    first = broken.place if broken.offset == 0 and broken.place > start else broken.place + 1
    for place in range(first, len(parts)):
        segment = parts[place].segment
        if segment is None or segment.base_index > covered_index:
            continue
        if segment.base_index > walk.index or (segment.base_index, segment.header.base_term) == (walk.index, walk.term):
            return place
    return None


def _strict_end(files: Files, parts: list[_Part], walk: _Walk, broken: _Break, removals: list[Removal]) -> Survey:
    path = parts[broken.place].path
    if not broken.unfinished or broken.place != len(parts) - 1:
        raise WalDamaged(path, broken.offset, broken.reason)
    cut = Cut(path, broken.offset, files.size(path) - broken.offset, broken.reason)
    return Survey(walk.segments, walk.entries, walk.term, walk.synced_index, removals, cut, False)


def _lenient_end(
    files: Files,
    parts: list[_Part],
    walk: _Walk,
    broken: _Break,
    removals: list[Removal],
    expected: int,
) -> Survey:
    path = parts[broken.place].path
    if not walk.segments:
        raise WalDamaged(path, 0, broken.reason)
    seed = walk.segments[0].seed
    for place in range(broken.place, len(parts)):
        start = broken.offset if place == broken.place else 0
        if testifies(files.read(parts[place].path), start, seed, expected):
            reason = f"{broken.reason}, though a later record says that entry {expected} was synced,"
            raise WalDamaged(path, broken.offset, reason)
    cut = None
    gone = parts[broken.place :]
    if broken.offset > 0:
        cut = Cut(path, broken.offset, files.size(path) - broken.offset, broken.reason)
        gone = gone[1:]
    reason = f"nothing in it was synced, and the log before it ends at entry {walk.index} ({broken.reason})"
    removals += [Removal(part.path, reason) for part in gone]
    return Survey(walk.segments, walk.entries, walk.term, walk.synced_index, removals, cut, True)
