"""Log, vote and snapshots opened together."""

from __future__ import annotations

from pathlib import Path

import pytest
from wal_helpers import GROUP, SEGMENT_BYTES, entry, was_killed

from raftcache.testing.files import FakeFiles
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files, OsFiles
from raftcache.wal.storage import memory_storage, open_storage


def opened(files: Files, directory: str = "g") -> GroupStorage:
    if isinstance(files, FakeFiles):
        files.restart()
    return open_storage(files, directory, GROUP, segment_bytes=SEGMENT_BYTES)


def fill(storage: GroupStorage, last: int, term: int = 1) -> None:
    storage.votes.save(term, None)
    for index in range(len(storage.log.entries()) + storage.log.base_index + 1, last + 1):
        storage.log.append(entry(index, term))
        storage.log.flush()


def snapshot(storage: GroupStorage, index: int, term: int = 1) -> None:
    writer = storage.snapshots.writer(SnapshotMeta(GROUP, index, term, ("n0.a.0",)))
    writer.add_block(b"state")
    writer.commit()


def test_an_empty_directory_is_an_empty_group() -> None:
    storage = opened(FakeFiles())
    assert storage.log.entries() == []
    assert (storage.log.base_index, storage.votes.load(), storage.snapshots.latest()) == (0, (0, None), None)


@pytest.mark.parametrize("kind", ["fake", "os"])
def test_what_was_kept_is_found(kind: str, tmp_path: Path) -> None:
    files: Files = OsFiles() if kind == "os" else FakeFiles()
    directory = str(tmp_path / "deep" / "g")
    storage = opened(files, directory)
    fill(storage, 20)
    snapshot(storage, 15)
    base = storage.log.truncate_prefix(15)
    storage.log.close()
    again = opened(files, directory)
    assert [each.index for each in again.log.entries()] == list(range(base + 1, 21))
    assert (again.log.base_index, again.log.base_term) == (base, 1)
    assert again.votes.load() == (1, None)
    meta = again.snapshots.latest()
    assert meta is not None
    assert list(again.snapshots.blocks(meta)) == [b"state"]


def test_memory_storage_is_empty() -> None:
    storage = memory_storage(GROUP)
    fill(storage, 3)
    snapshot(storage, 2)
    assert storage.log.truncate_prefix(2) == 2
    assert memory_storage(GROUP).log.entries() == []


@pytest.mark.parametrize(
    ("index", "term", "starts_over"),
    [(12, 1, False), (20, 1, False), (21, 1, True), (50, 1, True), (12, 2, True), (20, 2, True)],
)
def test_a_log_that_a_snapshot_replaces_starts_over(index: int, term: int, starts_over: bool) -> None:
    files = FakeFiles()
    storage = opened(files)
    fill(storage, 20)
    storage.votes.save(2, None)
    snapshot(storage, index, term)
    log = opened(files).log
    if starts_over:
        assert (log.base_index, log.base_term, log.entries()) == (index, term, [])
    else:
        assert (log.base_index, len(log.entries())) == (0, 20)
    assert opened(files).log.entries() == log.entries()


def test_killed_anywhere_in_an_install_the_group_has_the_old_state_or_the_new() -> None:
    """A leader's snapshot at entry 30 replaces a log that ends at 20."""

    def install(storage: GroupStorage) -> None:
        snapshot(storage, 30)
        storage.log.reset(30, 1)

    files = FakeFiles()
    storage = opened(files)
    fill(storage, 20)
    operations = files.record()
    install(storage)
    seen = set()
    for place in range(len(operations)):
        files = FakeFiles()
        storage = opened(files)
        fill(storage, 20)
        files.kill_at(place + 1, torn_bytes=5)
        assert was_killed(lambda storage=storage: install(storage))
        found = opened(files)
        meta = found.snapshots.latest()
        assert (found.log.base_index, len(found.log.entries())) == ((30, 0) if meta else (0, 20))
        seen.add(meta is None)
    assert seen == {False, True}


def test_killed_anywhere_at_the_first_start_the_next_one_works() -> None:
    count = FakeFiles()
    operations = count.record()
    opened(count)
    for place in range(len(operations)):
        files = FakeFiles()
        files.kill_at(place + 1, torn_bytes=9)
        assert was_killed(lambda files=files: open_storage(files, "g", GROUP))
        assert opened(files).log.entries() == []


def test_a_log_that_starts_above_the_snapshot_is_refused() -> None:
    files = FakeFiles()
    storage = opened(files)
    fill(storage, 20)
    snapshot(storage, 15)
    storage.log.truncate_prefix(15)
    for name in files.listdir("g/snapshots"):
        files.remove(f"g/snapshots/{name}")
    with pytest.raises(WalDamaged, match="the snapshot is of entry 0"):
        opened(files)


def test_a_missing_log_beside_a_vote_or_a_snapshot_is_refused_at_every_start() -> None:
    files = FakeFiles()
    storage = opened(files)
    storage.votes.save(1, None)
    files.remove_tree("g/log")
    for _ in range(2):
        with pytest.raises(WalDamaged, match="the log is missing"):
            opened(files)


def test_a_missing_vote_beside_a_log_is_refused() -> None:
    """A replica that forgot its vote could vote twice."""
    files = FakeFiles()
    fill(opened(files), 3)
    files.remove("g/vote")
    with pytest.raises(WalDamaged, match="entry of term 1, the vote kept is of term 0"):
        opened(files)
