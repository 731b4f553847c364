"""Every byte of what a group keeps, flipped in turn: refused, or cut where it was never synced; never served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from wal_helpers import GROUP, LOG, SEGMENT_BYTES, entry, filled_log, segment_paths, sync

from raftcache.testing.files import FakeFiles
from raftcache.wal import log as log_module
from raftcache.wal import recovery
from raftcache.wal.api import GroupStorage, SnapshotMeta
from raftcache.wal.errors import Damaged, WalDamaged
from raftcache.wal.log import FileLog
from raftcache.wal.records import MAX_LAG
from raftcache.wal.storage import open_storage

LAST, SYNCED = 12, 9


def flips(make: Callable[[], FakeFiles], path: str) -> list[tuple[FakeFiles, int]]:
    """The same files again and again, each time with another byte of one of them wrong."""
    found = []
    for place in range(make().size(path)):
        for mask in (1, 0x80):
            files = make()
            files.corrupt(path, place, mask)
            files.restart()
            found.append((files, place))
    return found


def told_by(damage: Damaged, path: str, place: int) -> None:
    """The message names the file, a place at or before the flipped byte, and the way out."""
    assert damage.path == path
    assert damage.offset <= place
    for part in (f"{path}: ", f"at byte {damage.offset}. ", "the node sets this replica aside"):
        assert part in str(damage)


# -- the log -------------------------------------------------------------------------------------


def half_synced() -> FakeFiles:
    """Three segments with 12 entries, of which 9 were synced before the rest was written."""
    files = FakeFiles()
    log = filled_log(files, SYNCED)
    sync(log)
    for index in range(SYNCED + 1, LAST + 1):
        log.append(entry(index))
        log.flush()
    assert len(segment_paths(files)) == 3
    return files


def test_without_a_loss_of_power_every_flip_in_the_log_is_refused() -> None:
    for path in segment_paths(half_synced()):
        for files, place in flips(half_synced, path):
            with pytest.raises(WalDamaged) as caught:
                FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=True)
            told_by(caught.value, path, place)


def test_after_a_loss_of_power_a_flip_is_refused_in_what_was_synced_and_cuts_what_was_not() -> None:
    refused, cut = 0, set()
    for path in segment_paths(half_synced()):
        for files, place in flips(half_synced, path):
            marks: list[str] = []
            try:
                mark = partial(marks.append, "suspect")
                log = FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=False, before_cut=mark)
            except WalDamaged as damage:
                told_by(damage, path, place)
                refused += 1
                continue
            assert marks == ["suspect"]
            assert log.entries() == [entry(index) for index in range(1, log.last_index + 1)]
            assert log.last_index < LAST
            cut.add(log.last_index)
    assert cut == {9, 10, 11}, "an unsynced entry that was damaged, or one before, is missing"
    assert refused > 2 * (SYNCED * 52)


@pytest.mark.parametrize("defect", ["no testimony", "testimony not asked"])
def test_a_log_that_cuts_what_was_synced_is_caught(monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    """Planted: records that do not say what was synced, and a start that does not look for it."""
    if defect == "no testimony":
        real = log_module.encode_record
        monkeypatch.setattr(log_module, "encode_record", lambda each, lag, term, seed: real(each, MAX_LAG, term, seed))
    else:
        monkeypatch.setattr(recovery, "testifies", lambda *_: False)
    with pytest.raises(AssertionError):
        test_after_a_loss_of_power_a_flip_is_refused_in_what_was_synced_and_cuts_what_was_not()


@pytest.mark.parametrize("gone", [1, 2])
def test_after_a_loss_of_power_a_missing_segment_is_refused_where_later_records_tell(gone: int) -> None:
    files = half_synced()
    path = segment_paths(files)[gone]
    files.remove(path)
    files.restart()
    if gone == 1:
        with pytest.raises(WalDamaged, match="though a later record says that entry 5 was synced, at byte 0"):
            FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=False)
    else:
        assert FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=False).last_index == 8, "nobody is left to tell"


# -- all that a group keeps ----------------------------------------------------------------------


def opened(files: FakeFiles) -> GroupStorage:
    return open_storage(files, "g", GROUP, segment_bytes=SEGMENT_BYTES, boot_id="boot")


def a_group() -> FakeFiles:
    files = FakeFiles()
    storage = opened(files)
    storage.votes.save(1, "n1.a.0")
    work = storage.votes.sync_work()
    assert work is not None
    work()
    for index in range(1, 7):
        storage.log.append(entry(index))
        storage.log.flush()
    writer = storage.snapshots.writer(SnapshotMeta(GROUP, 5, 1, ("n0.a.0", "n1.a.0")))
    writer.add_block(b"state" * 10)
    writer.add_block(b"more")
    writer.commit()
    return files


def test_every_flipped_byte_of_a_group_is_found_before_anything_of_it_is_served() -> None:
    paths = ["g/votes", *segment_paths(a_group()), "g/snapshots/0000000000000005.snap"]
    for path in paths:
        for files, place in flips(a_group, path):
            with pytest.raises(Damaged) as caught:
                storage = opened(files)
                meta = storage.snapshots.latest()
                assert meta is not None
                list(storage.snapshots.blocks(meta))
            damage = caught.value
            assert damage.path == path
            for part in (f"{path}: ", f"at byte {damage.offset}. ", "the node sets this replica aside"):
                assert part in str(damage), place


def test_a_flip_in_the_boot_mark_makes_the_start_lenient_and_loses_nothing() -> None:
    for files, _ in flips(a_group, "g/boot"):
        assert [each.index for each in opened(files).log.entries()] == [1, 2, 3, 4, 5, 6]
