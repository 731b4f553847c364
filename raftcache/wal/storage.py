"""All that a group keeps, opened together and checked against each other.

A group's directory holds `log/` (segments), `snapshots/` and the file `vote`. Each is sound by itself after a kill
at any point; between them a kill leaves exactly one mismatch, which is mended here: a snapshot from the leader is
in place and the log has not yet started over behind it. Everything else that does not fit together is damage.
"""

from __future__ import annotations

import logging

from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files
from raftcache.wal.log import DEFAULT_SEGMENT_BYTES, FileLog
from raftcache.wal.memory import MemoryLog, MemorySnapshots, MemoryVotes
from raftcache.wal.recovery import SEGMENT_SUFFIX
from raftcache.wal.snapshots import FileSnapshots
from raftcache.wal.votes import FileVotes

_logger = logging.getLogger("raftcache.wal")


def open_storage(
    files: Files, directory: str, group_id: str, *, segment_bytes: int = DEFAULT_SEGMENT_BYTES
) -> GroupStorage:
    """Open or create what a group keeps. Raises `WalDamaged`, `SnapshotDamaged`, OSError."""
    files.makedirs(directory)
    snapshots = FileSnapshots(files, f"{directory}/snapshots", group_id)
    votes = FileVotes(files, f"{directory}/vote", group_id)
    term, _ = votes.load()
    snapshot = snapshots.latest()
    log_directory = f"{directory}/log"
    if (term or snapshot) and not _has_segments(files, log_directory):
        raise WalDamaged(log_directory, 0, "the log is missing, though there are votes or snapshots")
    log = FileLog(files, log_directory, group_id, segment_bytes)
    _fit_log_to_snapshot(log, snapshot, log_directory)
    if log.last_term > term:
        reason = f"the log has an entry of term {log.last_term}, the vote kept is of term {term}"
        raise WalDamaged(f"{directory}/vote", 0, reason)
    return GroupStorage(log, votes, snapshots)


def memory_storage(group_id: str) -> GroupStorage:
    """The same for a group that keeps nothing on disk."""
    return GroupStorage(MemoryLog(), MemoryVotes(), MemorySnapshots(group_id))


def _has_segments(files: Files, directory: str) -> bool:
    return files.exists(directory) and any(name.endswith(SEGMENT_SUFFIX) for name in files.listdir(directory))


def _fit_log_to_snapshot(log: FileLog, snapshot: SnapshotMeta | None, path: str) -> None:
    """Start the log over where the snapshot replaces it: it ends before, or holds another term at that index.

    Otherwise the log matches the snapshot up to its index, by Raft's log matching, and continues it.
    """
    index = 0 if snapshot is None else snapshot.index
    if log.base_index > index:
        raise WalDamaged(path, 0, f"the log starts behind entry {log.base_index}, the snapshot is of entry {index}")
    if snapshot is None:
        return
    if log.last_index < index or log.term_at(index) != snapshot.term:
        _logger.warning("%s: starts over behind the snapshot at entry %d", path, index)
        log.reset(snapshot.index, snapshot.term)
