"""Syncing and mending: what a work covers, works that end late, and the way back after a failure."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence

import pytest
from wal_helpers import LOG, entry, filled_log, indexes, open_log, reopened, segment_paths, sync, was_killed

from raftcache.testing.files import CHANGES, FakeFiles, Kind
from raftcache.wal import log as log_module
from raftcache.wal.api import Entry
from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.log import UNTRUSTED, FileLog
from raftcache.wal.segments import Segment


def io_error() -> OSError:
    return OSError(errno.EIO, "I/O error")


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(first, last + 1)]


def add(log: FileLog, new: Sequence[Entry]) -> None:
    for each in new:
        log.append(each)
        log.flush()


def after_power_loss(files: FakeFiles, seed: int = 0) -> FileLog:
    files.lose_power(random.Random(seed))
    return open_log(files, strict=False)


def sync_fails(log: FileLog, files: FakeFiles, kind: Kind = "sync") -> None:
    work = log.sync_work()
    assert work is not None
    files.fail_next(kind, io_error())
    with pytest.raises(OSError, match="I/O error"):
        work.run()
    log.sync_failed()


# -- syncing -------------------------------------------------------------------------------------


def test_one_work_covers_all_segments_and_nothing_that_comes_later() -> None:
    files = FakeFiles()
    log = filled_log(files, 10)
    work = log.sync_work()
    assert work is not None
    add(log, entries(11, 14))
    operations = files.record()
    work.run()
    log.synced(work)
    assert [each.path for each in operations if each.kind == "sync"] == segment_paths(files)[:3]
    assert (work.index, log.synced_index) == (10, 10)
    sync(log)
    assert (log.synced_index, log.sync_work()) == (14, None)


def test_what_is_buffered_is_not_covered() -> None:
    log = filled_log(FakeFiles(), 2)
    log.append(entry(3))
    sync(log)
    assert log.synced_index == 2


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_a_loss_of_power(seed: int) -> None:
    files = FakeFiles()
    log = filled_log(files, 10)
    sync(log)
    add(log, entries(11, 14))
    found = after_power_loss(files, seed)
    assert found.entries() == entries(1, found.last_index)
    assert found.last_index >= 10


def test_a_work_that_ends_after_a_rotation_counts() -> None:
    log = filled_log(FakeFiles(), 4)
    work = log.sync_work()
    assert work is not None
    add(log, entries(5, 9))
    work.run()
    log.synced(work)
    assert log.synced_index == 4


@pytest.mark.parametrize("first", [2, 5, 9])
def test_a_work_that_ends_after_a_cut_counts_for_nothing(first: int) -> None:
    """Entries of those indexes are there again, but they are others. The next work covers them, also where the cut left
    only segments that the first work has synced."""
    files = FakeFiles()
    log = filled_log(files, 10)
    work = log.sync_work()
    assert work is not None
    log.truncate_suffix(first)
    work.run()
    log.synced(work)
    assert log.synced_index == 0
    sync(log)
    assert log.synced_index == first - 1
    add(log, entries(first, 12, 2))
    log.synced(work)
    assert log.synced_index == first - 1


def test_a_work_that_ends_after_a_reset_or_after_mending_counts_for_nothing() -> None:
    log = filled_log(FakeFiles(), 10)
    work = log.sync_work()
    assert work is not None
    log.reset(5, 2)
    add(log, entries(6, 12, 2))
    work.run()
    log.synced(work)
    assert log.synced_index == 5
    late = log.sync_work()
    assert late is not None
    log.mend_work([])()
    add(log, entries(13, 14, 2))
    late.run()
    log.synced(late)
    assert log.synced_index == 12


def test_a_work_whose_file_was_replaced_and_then_fails_leaves_no_segment_trusted() -> None:
    """It goes by path: the pages that its failed sync lost are those of the new file."""
    files = FakeFiles()
    log = filled_log(files, 4)
    add(log, entries(5, 6))
    work = log.sync_work()
    assert work is not None
    log.truncate_suffix(5)
    new = entries(5, 6, 2)
    add(log, new)
    files.drops_pages = True
    files.break_disk(io_error(), "sync")
    with pytest.raises(OSError, match="I/O error"):
        work.run()
    log.sync_failed()
    files.heal()
    log.mend_work([*entries(1, 4), *new])()
    assert after_power_loss(files).entries() == [*entries(1, 4), *new]


# -- mending -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("partial", [0, 1, 40, 60])
def test_a_disk_that_refuses_everything_can_be_mended_when_it_works_again(code: int, partial: int) -> None:
    files = FakeFiles()
    log = filled_log(files, 6)
    tail = [*entries(3, 6), *entries(7, 20, 2)]
    files.fail_next("write", OSError(code, "no"), partial=partial)
    files.break_disk(OSError(code, "no"), *CHANGES)
    with pytest.raises(LogWriteFailed, match="no"):
        add(log, entries(7, 8, 2))
    with pytest.raises(LogWriteFailed, match="entry 9 behind entry 6: the log must be mended first"):
        log.append(entry(9, 2))
    for _ in range(3):
        with pytest.raises(OSError, match="no"):
            log.mend_work(tail)()
    files.heal()
    before = segment_paths(files)
    log.mend_work(tail)()
    assert segment_paths(files)[len(before)] == f"{LOG}/{7:016x}.log", "it goes on in a new segment"
    assert (log.last_index, log.last_term, log.synced_index) == (20, 2, 20)
    assert log.entries() == [*entries(1, 2), *tail]
    add(log, [entry(21, 2)])
    assert reopened(files).entries() == [*entries(1, 2), *tail, entry(21, 2)]


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_dir", "truncate"])
@pytest.mark.parametrize("place", range(4))
def test_mending_that_fails_anywhere_can_be_repeated_and_survives_a_loss_of_power(kind: Kind, place: int) -> None:
    for seed in range(5):
        files = FakeFiles()
        log = filled_log(files, 6)
        sync(log)
        add(log, entries(7, 10))
        files.drops_pages = bool(seed % 2)
        sync_fails(log, files)
        tail = [*entries(5, 10), *entries(11, 13, 2)]
        count = [0]

        def fail(path: str, count: list[int] = count) -> None:
            count[0] += 1
            if count[0] == place + 1:
                raise io_error()

        fail_at(files, kind, fail)
        first = failing(lambda log=log, tail=tail: log.mend_work(tail)())
        if seed < 3 and first:
            found = after_power_loss(files, seed)
            assert found.last_index >= 6
            assert found.entries() == [*entries(1, 4), *tail][: found.last_index]
            continue
        count[0] = -100
        log.mend_work(tail)()
        assert log.entries() == [*entries(1, 4), *tail]
        assert log.synced_index == 13
        assert after_power_loss(files, seed).entries() == [*entries(1, 4), *tail]


def fail_at(files: FakeFiles, kind: Kind, hook: object) -> None:
    """Call a hook at every change of a kind."""
    real = files.count

    def count(what: Kind, path: str, *rest: object) -> None:
        assert callable(hook)
        if what == kind:
            hook(path)
        real(what, path, *rest)  # type: ignore[arg-type]

    files.count = count  # type: ignore[method-assign]


def failing(action: object) -> bool:
    assert callable(action)
    try:
        action()
    except OSError:
        return True
    return False


def with_a_failed_sync(drops_pages: bool) -> tuple[FakeFiles, FileLog]:
    """A log that has synced 6 entries, and failed to sync 4 more."""
    files = FakeFiles()
    log = filled_log(files, 6)
    sync(log)
    add(log, entries(7, 10))
    files.drops_pages = drops_pages
    sync_fails(log, files)
    return files, log


@pytest.mark.parametrize("drops_pages", [False, True])
@pytest.mark.parametrize("first", [1, 4, 7, 11])
def test_after_a_failed_sync_the_content_is_rewritten_from_memory_as_far_as_it_goes(
    drops_pages: bool, first: int
) -> None:
    for seed in range(10):
        files, log = with_a_failed_sync(drops_pages)
        if first == 11 and drops_pages:
            with pytest.raises(WalDamaged, match="entry 7 is whole neither on disk nor in memory"):
                log.mend_work(entries(11, 12))()
            continue
        log.mend_work(entries(first, 12))()
        assert log.entries() == entries(1, 12)
        assert after_power_loss(files, seed).entries() == entries(1, 12)


def test_after_a_failed_sync_nothing_is_written_or_synced_before_the_log_is_mended() -> None:
    _, log = with_a_failed_sync(drops_pages=False)
    with pytest.raises(LogWriteFailed, match="a sync failed: the log must be mended first"):
        add(log, [entry(11)])
    work = log.sync_work()
    assert work is not None
    with pytest.raises(OSError, match="an earlier sync failed; the file must be rewritten"):
        work.run()


@pytest.mark.parametrize("drops_pages", [False, True])
def test_a_log_that_syncs_again_instead_of_rewriting_is_caught(
    monkeypatch: pytest.MonkeyPatch, drops_pages: bool
) -> None:
    """A planted defect: the second sync succeeds, and proves nothing."""

    def trust(_files: FakeFiles, segment: Segment, *_rest: object) -> Segment:
        segment.untrusted = False
        return segment

    monkeypatch.setattr(log_module, "rewrite", trust)
    with pytest.raises((AssertionError, WalDamaged)):
        test_after_a_failed_sync_the_content_is_rewritten_from_memory_as_far_as_it_goes(drops_pages, 1)


def test_a_gap_between_disk_and_memory_is_damage() -> None:
    log = filled_log(FakeFiles(), 6)
    with pytest.raises(WalDamaged, match="entries 7 to 8 are neither on disk nor in memory"):
        log.mend_work(entries(9, 10))()


def test_a_process_killed_before_it_could_mend_leaves_a_mark_and_the_next_one_mends() -> None:
    for seed in range(10):
        files, _ = with_a_failed_sync(drops_pages=False)
        assert files.exists(f"{LOG}/{UNTRUSTED}")
        log = reopened(files)
        assert log.entries() == entries(1, 10)
        with pytest.raises(LogWriteFailed, match="the log must be mended first"):
            add(log, [entry(11)])
        log.mend_work(entries(1, 11))()
        assert not files.exists(f"{LOG}/{UNTRUSTED}")
        assert after_power_loss(files, seed).entries() == entries(1, 11)


def test_a_log_that_cannot_be_synced_when_it_is_opened_is_mended() -> None:
    files = FakeFiles()
    filled_log(files, 6)
    files.restart()
    files.fail_next("sync", io_error())
    log = open_log(files)
    assert log.entries() == entries(1, 6)
    with pytest.raises(LogWriteFailed, match="the log must be mended first"):
        add(log, [entry(7)])
    log.mend_work(entries(1, 7))()
    assert log.synced_index == 7


# -- mending after a cut that failed -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["remove", "open", "truncate", "sync", "sync_dir"])
@pytest.mark.parametrize("first", [2, 4, 5, 12])
@pytest.mark.parametrize("synced", [False, True])
def test_a_cut_that_failed_is_finished_and_the_log_ends_as_memory_does(kind: Kind, first: int, synced: bool) -> None:
    files = FakeFiles()
    log = filled_log(files, 14)
    if synced:
        sync(log)
    files.fail_next(kind, io_error())
    failing(lambda: log.truncate_suffix(first))
    files.heal()
    tail = [*entries(1, first - 1), *entries(first, first + 1, 2)]
    log.mend_work(tail[max(0, first - 3) :])()
    assert log.entries() == tail
    assert (log.last_index, log.last_term, log.synced_index) == (first + 1, 2, first + 1)
    for seed in range(5):
        assert after_power_loss(files, seed).entries() == tail


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(
    ("tail", "left"),
    [
        (entries(4, 9), entries(1, 9)),
        ([*entries(4, 8), *entries(9, 16, 2)], [*entries(1, 8), *entries(9, 16, 2)]),
        (entries(4, 9, 2), [*entries(1, 3), *entries(4, 9, 2)]),
        (entries(1, 1), entries(1, 1)),
        (entries(1, 14), entries(1, 14)),
        ([], entries(1, 14)),
    ],
)
def test_the_log_ends_as_memory_does_whatever_longer_or_other_suffix_it_has(
    tail: list[Entry], left: list[Entry], synced: bool
) -> None:
    files = FakeFiles()
    log = filled_log(files, 14)
    if synced:
        sync(log)
    log.mend_work(tail)()
    assert log.entries() == left
    assert (log.last_index, log.synced_index) == (len(left), len(left))
    add(log, [entry(len(left) + 1, 3)])
    assert reopened(files).entries() == [*left, entry(len(left) + 1, 3)]
    assert after_power_loss(files).entries()[: len(left)] == left


def test_a_cut_that_failed_is_finished_where_nothing_is_left_in_memory() -> None:
    files = FakeFiles()
    log = filled_log(files, 14)
    files.fail_next("truncate", io_error())
    with pytest.raises(LogWriteFailed):
        log.truncate_suffix(2)
    log.mend_work([])()
    assert log.entries() == entries(1, 1)


def test_a_log_that_a_snapshot_replaced_keeps_what_it_has() -> None:
    """The directory's sync failed behind the reset: nothing is in memory yet."""
    files = FakeFiles()
    log = filled_log(files, 10)
    files.fail_next("sync_dir", io_error())
    log.reset(20, 3)
    with pytest.raises(LogWriteFailed, match="the log must be mended first"):
        add(log, [entry(21, 3)])
    log.mend_work([])()
    assert (log.base_index, log.base_term, log.entries()) == (20, 3, [])
    add(log, [entry(21, 3)])
    assert indexes(reopened(files)) == [21]
    found = after_power_loss(files)
    assert (found.base_index, found.base_term) == (20, 3)


def test_power_lost_while_a_log_without_entries_is_mended_leaves_it_its_base() -> None:
    """The one segment, which alone tells base and generation, is replaced by another without entries."""

    def prepared() -> tuple[FakeFiles, FileLog]:
        files = FakeFiles()
        log = filled_log(files, 10)
        log.reset(20, 3)
        files.fail_next("write", io_error())
        with pytest.raises(LogWriteFailed):
            add(log, [entry(21, 3)])
        return files, log

    files, log = prepared()
    operations = files.record()
    log.mend_work(entries(21, 23, 3))()
    for place in range(1, len(operations) + 1):
        for seed in range(40):
            files, log = prepared()
            files.kill_at(place, torn_bytes=seed)
            assert was_killed(log.mend_work(entries(21, 23, 3)))
            files.lose_power(random.Random(seed))
            found = open_log(files, strict=False, covered_index=20)
            assert (found.base_index, found.base_term) == (20, 3)
            assert found.entries() == entries(21, found.last_index, 3)
