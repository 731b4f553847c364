"""Whether a node's files are whole: everything is read, nothing is changed.

Logs and snapshots are judged by the very code that a start asks (`recovery.survey`, `snapshot_format.verify`), and as a
start now would: strictly where the group was last opened under the present boot. A log is held in memory as a whole.

In a directory that a node works on, files are not of one moment: a log may be cut, and its segments dropped, while it
is read. So what looks like damage there is told only if it looks the same several times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from raftcache.wal.api import SnapshotMeta, covered_index
from raftcache.wal.errors import Damaged, SnapshotDamaged, WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.inspection import GroupFiles, Place, snapshot_paths
from raftcache.wal.node_files import NUMBERS, RUN, VOTES, read_numbers, read_run
from raftcache.wal.recovery import survey
from raftcache.wal.segments import segment_names
from raftcache.wal.snapshot_format import READ_CHUNK_BYTES, verify
from raftcache.wal.snapshots import SNAPSHOT_SUFFIX
from raftcache.wal.storage import BOOT
from raftcache.wal.votes import read_votes

LOOKS = 3
"""So often must damage be seen in a directory that is in use before it is told."""

GROUP_WAY_OUT = (
    "A node that is started on it does not serve this replica: it sets the folder aside, takes the next replica number "
    "and refills from the leader. By hand: stop the node and move the folder away; the same happens."
)
OLDER_WAY_OUT = "It is not the newest snapshot, so nothing needs it: the next start removes it."
VOTES_WAY_OUT = (
    "A node that is started on it renews every replica that the file speaks for, one by one: each is emptied, takes "
    "the next number and refills from its leader."
)
RUN_WAY_OUT = "A node that is started on it takes the worst for granted: no replica votes until it has caught up."


class Finding(NamedTuple):
    """Something about a file that is worth a line. Where it is `damage`, `way_out` says what to do."""

    path: str
    offset: int
    reason: str
    way_out: str = ""
    damage: bool = False


def verify_place(files: Files, place: Place, boot_id: str, *, in_use: bool) -> Iterator[tuple[str, list[Finding]]]:
    """`(what, findings)` for the files that all groups share, "" if they were asked for, and for each group. Raises
    OSError."""
    if place.root and place.whole:
        yield "", _seen_again(lambda: _shared(files, place.root), in_use)
    for group in place.groups:
        yield group.group_id, _seen_again(lambda: _group(files, place, group, boot_id), in_use)  # noqa: B023


def _seen_again(look: Callable[[], Iterable[Finding]], in_use: bool) -> list[Finding]:
    """What one look finds; in a directory in use, of the damage only what each of several finds."""
    found = list(look())
    for _ in range(LOOKS - 1):
        if not in_use or not any(each.damage for each in found):
            break
        again = set(look())
        found = [each for each in found if not each.damage or each in again]
    return found


def _shared(files: Files, root: str) -> Iterator[Finding]:
    checks: list[tuple[Callable[[], object], str]] = [
        (lambda: read_votes(files, f"{root}/{VOTES}"), VOTES_WAY_OUT),
        (lambda: read_numbers(files, root), ""),
        (lambda: read_run(files, root), RUN_WAY_OUT),
    ]
    for name, (read, way_out) in zip((VOTES, NUMBERS, RUN), checks, strict=True):
        try:
            read()
        except WalDamaged as damage:
            yield Finding(damage.path, damage.offset, damage.reason, way_out or damage.way_out, True)
        except FileNotFoundError:
            yield Finding(f"{root}/{name}", 0, "the file is missing", way_out, True)


def _group(files: Files, place: Place, group: GroupFiles, boot_id: str) -> Iterator[Finding]:
    newest: SnapshotMeta | None = None
    paths = snapshot_paths(files, group)
    for path in paths:
        try:
            newest = _whole_snapshot(files, path, group.group_id)
        except SnapshotDamaged as damage:
            way_out = GROUP_WAY_OUT if path == paths[-1] else OLDER_WAY_OUT
            yield Finding(damage.path, damage.offset, damage.reason, way_out, True)
            newest = None
        except FileNotFoundError:
            continue
    yield from _log(files, place, group, boot_id, newest)


def _whole_snapshot(files: Files, path: str, group_id: str) -> SnapshotMeta:
    meta = verify(_pieces(files, path), path, group_id)
    if os.path.basename(path) != f"{meta.index:016x}{SNAPSHOT_SUFFIX}":
        raise SnapshotDamaged(path, 0, f"the snapshot is of entry {meta.index}, against its name")
    return meta


def _log(files: Files, place: Place, group: GroupFiles, boot_id: str, newest: SnapshotMeta | None) -> Iterator[Finding]:
    strict = boot_id != "" and _boot_mark(files, group) == boot_id
    covered = covered_index(newest)
    if not segment_names(files, group.log):
        if newest is not None or _has_voted(files, place, group):
            yield Finding(group.log, 0, "the log is missing, though there are votes or snapshots", GROUP_WAY_OUT, True)
        return
    try:
        found = survey(files, group.log, group.group_id, strict=strict, covered_index=covered)
    except FileNotFoundError as error:
        yield Finding(str(error.filename), 0, "the file went while the log was read", "Look again.", True)
        return
    except Damaged as damage:
        yield Finding(damage.path, damage.offset, damage.reason, GROUP_WAY_OUT, True)
        return
    if found.cut is not None:
        reason = f"torn tail of {found.cut.cut_bytes} bytes, which the next start cuts: {found.cut.reason}"
        yield Finding(found.cut.path, found.cut.offset, reason)
    for path, reason in found.removals:
        yield Finding(path, 0, f"the next start removes it: {reason}")
    base = found.segments[0].base_index if found.segments else 0
    if group.folder and base > covered:
        reason = f"the log starts behind entry {base}, the snapshot is of entry {covered}"
        yield Finding(group.log, 0, reason, GROUP_WAY_OUT, True)


def _boot_mark(files: Files, group: GroupFiles) -> str:
    path = f"{group.folder}/{BOOT}"
    return files.read(path).decode("ascii", "replace") if group.folder and files.exists(path) else ""


def _has_voted(files: Files, place: Place, group: GroupFiles) -> bool:
    try:
        return bool(place.root) and group.group_id in read_votes(files, f"{place.root}/{VOTES}")[0]
    except (WalDamaged, FileNotFoundError):
        return False


def _pieces(files: Files, path: str) -> Iterator[bytes]:
    offset = 0
    while piece := files.read_range(path, offset, READ_CHUNK_BYTES):
        yield piece
        offset += len(piece)
