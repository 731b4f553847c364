"""All that a group keeps, opened together and checked against each other.

A group's directory holds `log/` (segments), `snapshots/`, perhaps the mark `suspect`, and `boot`: the boot id under
which the group was last opened whole. Term and vote are in a table that all groups of a node share. Each is sound by
itself after a kill at any point; between them a kill leaves two mismatches, which are mended here:

* a snapshot from the leader is in place and the log has not yet started over behind it;
* the log has an entry of a term that was not yet kept. Votes are written off the loop, and nothing that speaks of the
  term has left before; so the term is raised, with no vote in it.

Everything else that does not fit together is damage. The log is read strictly where `boot` says that the machine has
not rebooted since the group was opened, else leniently (see `recovery`). The mark is written last and not synced: a
start that was killed in the middle of a repair is followed by a lenient one, and so is any power loss.
"""

from __future__ import annotations

import logging
import os

from raftcache.wal.api import GroupStorage, Log, SnapshotMeta, covered_index
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.log import DEFAULT_SEGMENT_BYTES, FileLog
from raftcache.wal.memory import MemoryLog, MemorySnapshots, MemoryVotes
from raftcache.wal.segments import segment_names
from raftcache.wal.snapshots import FileSnapshots
from raftcache.wal.suspicion import FileSuspicion, NoSuspicion
from raftcache.wal.votes import FileVotes, VoteTable

BOOT = "boot"
LOG_DIRECTORY = "log"
SNAPSHOT_DIRECTORY = "snapshots"

_logger = logging.getLogger("raftcache.wal")


def open_storage(
    files: Files,
    directory: str,
    group_id: str,
    *,
    segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    boot_id: str = "",
    table: VoteTable | None = None,
) -> GroupStorage:
    """Open or create what a group keeps. `boot_id` changes whenever the machine may have lost power; "" says that
    nobody knows. Without `table` the group has a file of votes of its own. Raises `WalDamaged`, `SnapshotDamaged`,
    OSError."""
    files.makedirs(directory)
    log_directory = f"{directory}/{LOG_DIRECTORY}"
    has_log = bool(segment_names(files, log_directory))
    table = table or VoteTable(files, f"{directory}/votes", [group_id] if has_log else [])
    votes = table.view(group_id)
    snapshots = FileSnapshots(files, f"{directory}/{SNAPSHOT_DIRECTORY}", group_id)
    snapshot = snapshots.latest()
    if not has_log and (votes.load() != (0, None) or snapshot is not None):
        raise WalDamaged(log_directory, 0, "the log is missing, though there are votes or snapshots")
    same_boot = boot_id != "" and _boot_mark(files, directory) == boot_id.encode()
    suspicion = FileSuspicion(files, directory)
    log = FileLog(
        files,
        log_directory,
        group_id,
        segment_bytes,
        strict=same_boot,
        covered_index=covered_index(snapshot),
        before_cut=suspicion.mark,
    )
    _fit_log_to_snapshot(log, snapshot, log_directory)
    _fit_term_to_log(votes, log.last_term, group_id)
    if not same_boot:
        _settle(files, directory, boot_id)
    return GroupStorage(log, votes, snapshots, suspicion)


def memory_storage(group_id: str) -> GroupStorage:
    """The same for a group that keeps nothing on disk."""
    return GroupStorage(MemoryLog(), MemoryVotes(), MemorySnapshots(group_id), NoSuspicion())


def _boot_mark(files: Files, directory: str) -> bytes | None:
    path = f"{directory}/{BOOT}"
    return files.read(path) if files.exists(path) else None


def _settle(files: Files, directory: str, boot_id: str) -> None:
    """The group is whole: bring the names of its directories to the disk, and mark it for this boot."""
    files.sync_dir(directory)
    files.sync_dir(os.path.dirname(directory))
    files.write_atomic(f"{directory}/{BOOT}", boot_id.encode(), sync=False)


def is_continued(log: Log, snapshot: SnapshotMeta | None) -> bool:
    """Whether no entries are missing between a snapshot and the log."""
    return log.base_index <= covered_index(snapshot)


def require_continued(log: Log, snapshot: SnapshotMeta | None, path: str = "a log in memory") -> None:
    """Raises WalDamaged where some are."""
    if not is_continued(log, snapshot):
        base, index = log.base_index, covered_index(snapshot)
        raise WalDamaged(path, 0, f"the log starts behind entry {base}, the snapshot is of entry {index}")


def _fit_log_to_snapshot(log: FileLog, snapshot: SnapshotMeta | None, path: str) -> None:
    """Start the log over where the snapshot replaces it: it ends before, or holds another term at that index.

    Otherwise the log matches the snapshot up to its index, by Raft's log matching, and continues it.
    """
    require_continued(log, snapshot, path)
    if snapshot is None:
        return
    index = snapshot.index
    if log.last_index < index or log.term_at(index) != snapshot.term:
        _logger.warning("%s: starts over behind the snapshot at entry %d", path, index)
        log.reset(snapshot.index, snapshot.term)


def _fit_term_to_log(votes: FileVotes, last_term: int, group_id: str) -> None:
    term, _ = votes.load()
    if last_term > term:
        _logger.info("%s: the term is raised from %d to that of the log, %d", group_id, term, last_term)
        votes.save(last_term, None)
