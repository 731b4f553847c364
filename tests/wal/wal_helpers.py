"""What the tests of `wal` share."""

from __future__ import annotations

from raftcache.testing.files import FakeFiles, Killed
from raftcache.wal.api import Entry
from raftcache.wal.log import FileLog

GROUP = "7c1f"
LOG = "g/log"
SEGMENT_BYTES = 220
"""So small that a few entries fill a segment."""


def entry(index: int, term: int = 1, size: int = 20) -> Entry:
    """An entry whose data tells its index and term."""
    return Entry(f"{index}/{term}/".encode().ljust(size, b"."), index, term)


def open_log(
    files: FakeFiles, log_type: type[FileLog] = FileLog, *, strict: bool = True, covered_index: int = 0
) -> FileLog:
    """The test group's log."""
    return log_type(files, LOG, GROUP, SEGMENT_BYTES, strict=strict, covered_index=covered_index)


def filled_log(files: FakeFiles, count: int, log_type: type[FileLog] = FileLog) -> FileLog:
    """A log with entries 1 to `count` of term 1, each flushed by itself."""
    log = open_log(files, log_type)
    files.sync_dir("g")  # As opening the group does.
    for index in range(1, count + 1):
        log.append(entry(index))
        log.flush()
    return log


def reopened(files: FakeFiles) -> FileLog:
    """What a new process finds."""
    files.restart()
    return open_log(files)


def segment_paths(files: FakeFiles) -> list[str]:
    """The segment files, oldest first."""
    return [f"{LOG}/{name}" for name in files.listdir(LOG) if name.endswith(".log")]


def sync(log: FileLog) -> None:
    """Sync what was flushed, as the engine does."""
    work = log.sync_work()
    assert work is not None, "nothing is unsynced"
    work.run()
    log.synced(work)


def indexes(log: FileLog) -> list[int]:
    """The indexes of all entries kept."""
    return [each.index for each in log.entries()]


def was_killed(action: object) -> bool:
    """Run a callable; whether it was killed on the way."""
    assert callable(action)
    try:
        action()
    except Killed:
        return True
    return False
