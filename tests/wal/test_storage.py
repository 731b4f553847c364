"""Log, vote and snapshots opened together."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from wal_helpers import GROUP, SEGMENT_BYTES, entry, was_killed

from raftcache.testing.files import FakeFiles
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.files import Files, OsFiles
from raftcache.wal.storage import memory_storage, open_storage
from raftcache.wal.votes import VoteTable


def opened(files: Files, directory: str = "g") -> GroupStorage:
    if isinstance(files, FakeFiles):
        files.restart()
    return open_storage(files, directory, GROUP, segment_bytes=SEGMENT_BYTES)


def fill(storage: GroupStorage, last: int, term: int = 1) -> None:
    storage.votes.save(term, None)
    for index in range(len(storage.log.entries()) + storage.log.base_index + 1, last + 1):
        storage.log.append(entry(index, term))
        storage.log.flush()


def sync_votes(storage: GroupStorage) -> None:
    work = storage.votes.sync_work()
    assert work is not None
    work()


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
    sync_votes(storage)
    files.remove_tree("g/log")
    for _ in range(2):
        with pytest.raises(WalDamaged, match="the log is missing"):
            opened(files)


def test_a_missing_vote_beside_a_log_is_refused() -> None:
    """A replica that forgot its vote could vote twice."""
    files = FakeFiles()
    fill(opened(files), 3)
    files.remove("g/votes")
    with pytest.raises(WalDamaged, match="the file of votes is missing, though groups are kept"):
        opened(files)


def test_a_term_that_was_not_kept_yet_is_raised_to_that_of_the_log_without_a_vote() -> None:
    files = FakeFiles()
    storage = opened(files)
    storage.votes.save(1, "n1.a.0")
    sync_votes(storage)
    storage.log.append(entry(1, 3))
    storage.log.flush()
    assert opened(files).votes.load() == (3, None)


# -- another boot --------------------------------------------------------------------------------


def started(files: FakeFiles, boot_id: str | None = None) -> GroupStorage:
    """A process starts, and knows the machine's boot id unless another is given."""
    files.restart()
    boot_id = files.boot_id if boot_id is None else boot_id
    return open_storage(files, "g", GROUP, segment_bytes=SEGMENT_BYTES, boot_id=boot_id)


def torn(garbage: bytes = b"x" * 50) -> FakeFiles:
    """Three synced entries, and garbage behind them."""
    files = FakeFiles()
    storage = started(files)
    fill(storage, 3)
    work = storage.log.sync_work()
    assert work is not None
    work.run()
    handle = files.open_append("g/log/0000000000000001.log")
    handle.write(garbage)
    handle.sync()
    return files


def test_garbage_at_the_end_is_damage_in_the_same_boot_and_a_suspect_tail_in_another() -> None:
    with pytest.raises(WalDamaged, match="head does not match its checksum at byte 200"):
        started(torn())
    for boot_id in ("another", ""):
        storage = started(torn(), boot_id)
        assert len(storage.log.entries()) == 3
        assert storage.suspicion.active


def test_a_whole_log_after_another_boot_is_not_suspect() -> None:
    assert not started(torn(garbage=b""), "another").suspicion.active


def test_a_replica_stays_suspect_until_that_is_lifted() -> None:
    files = torn()
    started(files, "another")
    assert started(files, "another").suspicion.active
    suspicion = started(files, "another").suspicion
    suspicion.lift()
    suspicion.lift()
    assert not suspicion.active
    assert not started(files, "another").suspicion.active


def test_a_mark_that_cannot_be_removed_stays_for_the_next_start() -> None:
    files = torn()
    suspicion = started(files, "another").suspicion
    files.break_disk(OSError(errno.EROFS, "read-only"), "remove")
    suspicion.lift()
    assert not suspicion.active
    files.heal()
    assert started(files, "another").suspicion.active


def test_killed_or_powerless_anywhere_in_a_lenient_start_the_next_one_is_suspect_too() -> None:
    files = torn()
    operations = files.record()
    started(files, "another")
    assert len(operations) > 8
    for place in range(1, len(operations) + 1):
        for lost in (False, True):
            files = torn()
            files.restart()
            files.kill_at(place)
            assert was_killed(lambda files=files: open_storage(files, "g", GROUP, boot_id="another"))
            if lost:
                files.lose_power(random.Random(place))
            storage = started(files, "yet another" if lost else "another")
            assert len(storage.log.entries()) == 3
            assert storage.suspicion.active


def test_a_group_survives_a_loss_of_power_at_any_moment_of_its_first_start() -> None:
    files = FakeFiles()
    operations = files.record()
    started(files)
    for place in range(1, len(operations) + 1):
        for seed in range(10):
            files = FakeFiles()
            files.kill_at(place, torn_bytes=9)
            assert was_killed(lambda files=files: open_storage(files, "g", GROUP, boot_id=files.boot_id))
            files.lose_power(random.Random(seed))
            assert started(files).log.entries() == []


def test_what_a_group_has_synced_survives_a_loss_of_power() -> None:
    for seed in range(40):
        files = FakeFiles()
        storage = started(files)
        storage.votes.save(1, "n1.a.0")
        sync_votes(storage)
        fill(storage, 6)
        work = storage.log.sync_work()
        assert work is not None
        work.run()
        snapshot(storage, 5)
        files.lose_power(random.Random(seed))
        found = started(files)
        assert [each.index for each in found.log.entries()] == [1, 2, 3, 4, 5, 6]
        assert found.votes.load()[0] == 1
        assert found.snapshots.latest() == SnapshotMeta(GROUP, 5, 1, ("n0.a.0",))


def test_groups_share_a_table_of_votes() -> None:
    files = FakeFiles()
    files.makedirs("d")
    table = VoteTable(files, "d/votes")
    groups = [open_storage(files, f"d/{name}", name, boot_id="b", table=table) for name in ("one", "two")]
    groups[0].votes.save(3, "n1.a.0")
    groups[1].votes.save(4, None)
    sync_votes(groups[1])
    assert groups[0].votes.synced()
    assert not files.exists("d/one/votes")
    table = VoteTable(files, "d/votes", ["one", "two"])
    found = [open_storage(files, f"d/{name}", name, boot_id="b", table=table).votes.load() for name in ("one", "two")]
    assert found == [(3, "n1.a.0"), (4, None)]
