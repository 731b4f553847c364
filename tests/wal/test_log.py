"""The log against a list, and against being killed anywhere."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wal_helpers import GROUP, LOG, entry, filled_log, indexes, open_log, reopened, segment_paths, was_killed

from raftcache.testing.files import FakeFiles, Kind
from raftcache.wal import log as log_module
from raftcache.wal import records
from raftcache.wal.api import Entry
from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.log import FileLog
from raftcache.wal.memory import MemoryLog

STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 150)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("suffix"), st.integers(0, 6)),
    st.tuples(st.just("prefix"), st.integers(0, 6)),
    st.tuples(st.just("oldest"), st.integers(0, 6)),
    st.tuples(st.just("reset"), st.integers(-8, 8)),
    st.tuples(st.just("reopen"), st.just(0)),
)


class Model:
    """The log as a list: what `FileLog` and `MemoryLog` must agree with."""

    def __init__(self) -> None:
        self.base = (0, 0)
        self.entries: list[Entry] = []
        self.term = 1

    @property
    def last_index(self) -> int:
        return self.base[0] + len(self.entries)


def drop(log: FileLog | MemoryLog, name: str, last_dropped: int) -> int:
    """Drop a prefix whole, or its oldest segment; returns the new base index."""
    if name == "prefix":
        return log.truncate_prefix(last_dropped)
    work = log.drop_oldest(last_dropped)
    if work is not None:
        work()
    return log.base_index


def step_both(log: FileLog | MemoryLog, model: Model, name: str, number: int) -> None:
    if name == "append":
        new = entry(model.last_index + 1, model.term, number)
        log.append(new)
        model.entries.append(new)
    elif name == "flush":
        log.flush()
    elif name == "suffix" and number < len(model.entries):
        log.truncate_suffix(model.last_index + 1 - number)
        del model.entries[len(model.entries) - number :]
        model.term += 1
    elif name in ("prefix", "oldest"):
        new_base = drop(log, name, model.base[0] + number)
        dropped = new_base - model.base[0]
        assert 0 <= dropped <= min(number, len(model.entries))
        model.base = (new_base, model.entries[dropped - 1].term if dropped else model.base[1])
        del model.entries[:dropped]
    elif name == "reset":
        model.term += 1
        model.base, model.entries = (max(0, model.last_index + number), model.term), []
        log.reset(*model.base)


def assert_same(log: FileLog | MemoryLog, model: Model) -> None:
    assert log.entries() == model.entries
    assert (log.base_index, log.base_term) == model.base
    assert log.last_index == model.last_index
    assert log.last_term == (model.entries[-1].term if model.entries else model.base[1])


@given(st.lists(STEP, max_size=40))
@settings(max_examples=150, deadline=None)
def test_file_log_is_a_list(steps: list[tuple[str, int]]) -> None:
    files, model = FakeFiles(), Model()
    log = open_log(files)
    for name, number in steps:
        if name == "reopen":
            log.close()
            log = reopened(files)
        else:
            step_both(log, model, name, number)
        assert_same(log, model)
        for each in model.entries if name == "reopen" else ():
            assert log.term_at(each.index) == each.term
    assert log.size_bytes >= sum(len(each.data) for each in model.entries)


@given(st.lists(STEP, max_size=40))
@settings(max_examples=50, deadline=None)
def test_memory_log_is_a_list(steps: list[tuple[str, int]]) -> None:
    log, model = MemoryLog(), Model()
    for name, number in steps:
        step_both(log, model, name, number)
        assert_same(log, model)
    overhead = records.RECORD_OVERHEAD_BYTES
    assert log.size_bytes == sum(overhead + len(each.data) for each in model.entries)


@given(st.lists(STEP, max_size=20), st.integers(1, 60), st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_killed_anywhere_the_log_is_as_before_or_after_the_step(
    steps: list[tuple[str, int]], operation: int, torn: int
) -> None:
    """A kill leaves what was flushed; only the step that it interrupted may be there in part, in Raft's order."""
    files, model = FakeFiles(), Model()
    log = open_log(files)
    files.kill_at(operation, torn)
    before, flushed = list(model.entries), 0
    base = model.base
    for name, number in steps:
        before, base = list(model.entries), model.base
        if name == "reopen":
            continue
        if was_killed(lambda name=name, number=number: step_both(log, model, name, number)):
            break
        flushed = min(flushed, model.last_index) if name != "reset" else model.last_index
        if name == "flush" or (name == "suffix" and 0 < number < len(before)):
            flushed = model.last_index
    else:
        name, number, before, base = "none", 0, list(model.entries), model.base
    found = reopened(files)
    if name == "reset" and (found.base_index, found.base_term) != base:
        assert found.entries() == []
        return
    assert found.base_index >= base[0]
    kept = {each.index: each for each in before}
    assert all(kept[each.index] == each for each in found.entries())
    dropped = number if name == "suffix" else 0
    assert found.last_index >= min(flushed, base[0] + len(before) - dropped)


def kill_everywhere(
    prepare: Callable[[FakeFiles], FileLog], act: Callable[[FileLog], None], check: Callable[[FileLog], None]
) -> int:
    """Do `act` and be killed at each of its changes, each write torn at each byte; `check` what a start finds."""
    files = FakeFiles()
    log = prepare(files)
    operations = files.record()
    act(log)
    points = [(place + 1, torn) for place, each in enumerate(operations) for torn in range(each.size + 1)]
    for place, torn in points:
        files = FakeFiles()
        log = prepare(files)
        files.kill_at(place, torn)
        assert was_killed(lambda log=log: act(log))
        check(reopened(files))
    return len(points)


def test_killed_at_every_byte_of_a_flush_what_was_flushed_before_is_there() -> None:
    def act(log: FileLog) -> None:
        log.append(entry(6, size=150))
        log.append(entry(7))
        log.flush()

    def check(log: FileLog) -> None:
        assert log.entries()[:5] == [entry(index) for index in range(1, 6)]
        assert log.entries()[5:] in ([], [entry(6, size=150)], [entry(6, size=150), entry(7)])
        log.append(entry(log.last_index + 1, 2))
        log.flush()

    assert kill_everywhere(lambda files: filled_log(files, 5), act, check) > 200


def test_killed_while_a_suffix_is_dropped_over_segments_a_prefix_of_the_old_log_is_left() -> None:
    def check(log: FileLog) -> None:
        assert 3 <= log.last_index <= 20
        assert log.entries() == [entry(index) for index in range(1, log.last_index + 1)]

    points = kill_everywhere(lambda files: filled_log(files, 20), lambda log: log.truncate_suffix(4), check)
    assert points > 5


def test_killed_while_a_prefix_is_dropped_what_is_above_it_is_left() -> None:
    def check(log: FileLog) -> None:
        assert log.base_index <= 15
        assert indexes(log) == list(range(log.base_index + 1, 21))
        assert log.base_term == min(1, log.base_index)

    assert kill_everywhere(lambda files: filled_log(files, 20), lambda log: void(log.truncate_prefix(15)), check) > 4


def drop_one_by_one(log: FileLog) -> None:
    while (work := log.drop_oldest(15)) is not None:
        work()


def test_killed_while_segments_are_dropped_one_by_one_what_is_above_them_is_left() -> None:
    def check(log: FileLog) -> None:
        assert log.base_index <= 15
        assert indexes(log) == list(range(log.base_index + 1, 21))

    assert kill_everywhere(lambda files: filled_log(files, 20), drop_one_by_one, check) > 8


def test_a_dropped_segment_is_out_of_the_log_before_its_file_is_removed() -> None:
    files = FakeFiles()
    log = filled_log(files, 20)
    held = len(files.listdir(LOG))
    works = []
    while (work := log.drop_oldest(15)) is not None:
        works.append(work)
    assert len(works) == 3
    assert indexes(log) == list(range(log.base_index + 1, 21))
    assert log.truncate_prefix(15) == log.base_index, "as much as is dropped in one go"
    assert len(files.listdir(LOG)) == held, "removing them is what takes time, and is left to others"
    files.fail_next("remove", OSError(errno.EIO, "I/O error"))
    for work in works:
        work()
    assert len(files.listdir(LOG)) == held - len(works) + 1
    log.close()
    assert indexes(reopened(files)) == indexes(log)
    assert len(files.listdir(LOG)) == held - len(works), "a start removes what was left"


def void(_: object) -> None:
    """For a callable that returns something."""


@pytest.mark.parametrize("base", [0, 4, 8, 19, 20, 99])
def test_killed_while_starting_over_the_log_is_the_old_one_or_the_new_one(base: int) -> None:
    seen = set()

    def check(log: FileLog) -> None:
        old = log.entries() == [entry(index) for index in range(1, 21)] and log.base_term == 0
        new = log.entries() == [] and (log.base_index, log.base_term) == (base, 9)
        assert old != new
        seen.add(new)

    kill_everywhere(lambda files: filled_log(files, 20), lambda log: log.reset(base, 9), check)
    assert seen == {False, True}


def test_killed_at_the_first_start_the_next_start_works() -> None:
    for operation in range(1, 8):
        files = FakeFiles()
        files.kill_at(operation)
        was_killed(lambda files=files: open_log(files))
        assert reopened(files).entries() == []


def test_a_cut_tail_leaves_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    files = FakeFiles()
    log = filled_log(files, 2)
    log.append(entry(3))
    files.kill_at(1, torn_bytes=7)
    assert was_killed(log.flush)
    with caplog.at_level(logging.WARNING, "raftcache.wal"):
        assert indexes(reopened(files)) == [1, 2]
    assert "torn tail of 7 bytes cut" in caplog.text


def test_segments_are_named_by_their_first_index() -> None:
    files = FakeFiles()
    filled_log(files, 20)
    assert segment_paths(files)[0] == f"{LOG}/0000000000000001.log"
    assert len(segment_paths(files)) > 3


def test_a_flush_is_one_write_whatever_it_holds() -> None:
    files = FakeFiles()
    log = filled_log(files, 1)
    operations = files.record()
    for index in range(2, 50):
        log.append(entry(index))
    log.flush()
    log.flush()
    assert [each.kind for each in operations] == ["write"]


def test_appends_flush_themselves_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_BUFFERED_BYTES", 150)
    files = FakeFiles()
    log = open_log(files)
    for index in (1, 2, 3):
        log.append(entry(index))
    assert indexes(reopened(files)) == [1, 2, 3]


def damage_refused(files: FakeFiles, path: str, offset: int) -> None:
    files.restart()
    with pytest.raises(WalDamaged, match="the node sets this replica aside") as caught:
        open_log(files)
    assert caught.value.path == path
    assert caught.value.offset == offset


def test_every_flipped_byte_before_the_last_record_is_refused() -> None:
    clean = FakeFiles()
    filled_log(clean, 12)
    for path in segment_paths(clean):
        newest = path == segment_paths(clean)[-1]
        for place in range(clean.size(path) - (records.RECORD_OVERHEAD_BYTES + 20 if newest else 0)):
            files = FakeFiles()
            filled_log(files, 12)
            files.corrupt(path, place)
            files.restart()
            with pytest.raises(WalDamaged):
                open_log(files)


def test_a_torn_tail_of_an_older_segment_is_refused() -> None:
    files = FakeFiles()
    filled_log(files, 12)
    path = segment_paths(files)[0]
    handle = files.open_append(path)
    size = handle.size()
    handle.truncate(size - 1)
    damage_refused(files, path, size - records.RECORD_OVERHEAD_BYTES - 20)


def test_a_missing_segment_is_refused() -> None:
    files = FakeFiles()
    filled_log(files, 20)
    _, second, third, *_ = segment_paths(files)
    files.remove(second)
    damage_refused(files, third, 0)


def test_a_segment_of_another_group_or_under_another_name_is_refused() -> None:
    files = FakeFiles()
    filled_log(files, 2)
    path = segment_paths(files)[0]
    files.restart()
    with pytest.raises(WalDamaged, match="belongs to group '7c1f', not 'beef'"):
        FileLog(files, LOG, "beef")
    files.rename(path, f"{LOG}/{9:016x}.log")
    with pytest.raises(WalDamaged, match="against its name"):
        open_log(files)


def test_a_log_without_checksums_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted defect: with every checksum equal, flipped bytes pass."""
    monkeypatch.setattr(records, "crc32", lambda data, start=0: 0)
    with pytest.raises(pytest.fail.Exception):
        test_every_flipped_byte_before_the_last_record_is_refused()


class InPlace(FileLog):
    """A planted defect: starts over by clearing the old log first, as the engine's own journal does."""

    def reset(self, base_index: int, base_term: int) -> None:
        self.truncate_suffix(self.base_index + 1)
        super().reset(base_index, base_term)


def test_a_log_that_clears_itself_before_it_starts_over_is_caught() -> None:
    def check(log: FileLog) -> None:
        assert log.last_index in (20, 99)

    with pytest.raises(AssertionError):
        kill_everywhere(lambda files: filled_log(files, 20, InPlace), lambda log: log.reset(99, 9), check)


# -- failures that the process survives ----------------------------------------------------------


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("partial", [0, 1, 30, 60, 88])
def test_a_failed_write_leaves_the_log_as_flushed_last(partial: int) -> None:
    files = FakeFiles()
    log = filled_log(files, 2)
    log.append(entry(3))
    log.append(entry(4))
    files.fail_next("write", no_space(), partial=partial)
    with pytest.raises(LogWriteFailed, match="No space left on device") as caught:
        log.flush()
    assert caught.value.errno == errno.ENOSPC
    assert indexes(log) == [1, 2]
    log.append(entry(3, 2))
    log.flush()
    assert reopened(files).entries() == [entry(1), entry(2), entry(3, 2)]


def test_a_partial_write_that_cannot_be_cut_at_once_is_cut_before_the_next_write() -> None:
    files = FakeFiles()
    log = filled_log(files, 2)
    log.append(entry(3))
    files.fail_next("write", no_space(), partial=44)
    files.fail_next("truncate", OSError(errno.EIO, "I/O error"))
    with pytest.raises(LogWriteFailed):
        log.flush()
    log.append(entry(3, 2))
    log.flush()
    assert reopened(files).entries() == [entry(1), entry(2), entry(3, 2)]


@pytest.mark.parametrize("kind", ["create", "write", "rename"])
def test_a_rotation_that_fails_leaves_the_log_as_flushed_last(kind: Kind) -> None:
    files = FakeFiles()
    log = filled_log(files, 4)
    log.append(entry(5))
    names = segment_paths(files)
    files.fail_next(kind, no_space())
    with pytest.raises(LogWriteFailed):
        log.flush()
    assert len(names) == 1, "the test means to meet a rotation"
    assert indexes(log) == [1, 2, 3, 4]
    log.append(entry(5, 2))
    log.flush()
    assert reopened(files).entries()[-1] == entry(5, 2)


@pytest.mark.parametrize("kind", ["remove", "open", "truncate"])
def test_a_suffix_that_cannot_be_dropped_can_be_dropped_later(kind: Kind) -> None:
    files = FakeFiles()
    log = filled_log(files, 20)
    files.fail_next(kind, OSError(errno.EIO, "I/O error"))
    with pytest.raises(LogWriteFailed):
        log.truncate_suffix(4)
    assert log.entries() == [entry(index) for index in range(1, log.last_index + 1)]
    log.truncate_suffix(4)
    log.append(entry(4, 2))
    log.close()
    assert reopened(files).entries() == [*(entry(index) for index in (1, 2, 3)), entry(4, 2)]


@pytest.mark.parametrize("kind", ["remove", "sync", "sync_dir"])
def test_a_prefix_that_cannot_be_dropped_can_be_dropped_later(kind: Kind) -> None:
    files = FakeFiles()
    log = filled_log(files, 20)
    files.fail_next(kind, OSError(errno.EIO, "I/O error"))
    with pytest.raises(LogWriteFailed):
        log.truncate_prefix(15)
    if kind != "remove":
        log.mend_work([])()
    base = log.truncate_prefix(15)
    assert indexes(log) == indexes(reopened(files)) == list(range(base + 1, 21))


def test_a_reset_that_fails_leaves_the_old_log_and_one_that_cannot_clean_up_the_new() -> None:
    files = FakeFiles()
    log = filled_log(files, 20)
    files.fail_next("rename", no_space())
    with pytest.raises(LogWriteFailed):
        log.reset(50, 2)
    assert log.last_index == 20
    files.fail_next("remove", OSError(errno.EIO, "I/O error"))
    log.reset(50, 2)
    log.append(entry(51, 2))
    log.flush()
    assert reopened(files).entries() == [entry(51, 2)]


def test_an_entry_over_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_ENTRY_BYTES", 30)
    log = filled_log(FakeFiles(), 2)
    with pytest.raises(LogWriteFailed, match="entry of 31 bytes, at most 30"):
        log.append(entry(3, size=31))
    assert log.last_index == 2


def test_another_group_id_gives_other_checksums() -> None:
    assert records.checksum_seed(GROUP, 0) != records.checksum_seed("beef", 0)
    assert records.checksum_seed(GROUP, 0) != records.checksum_seed(GROUP, 1)
