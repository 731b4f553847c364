"""The log on a disk that fails, under a process that is killed, on a machine that loses power."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from power_rig import Rig
from wal_helpers import GROUP, LOG, SEGMENT_BYTES, entry, filled_log, sync, was_killed

from raftcache.testing.files import FakeFiles
from raftcache.wal.log import FileLog
from raftcache.wal.records import SegmentHeader, encode_header

STEPS = ("append", "append", "append", "sync", "sync_begin", "sync_end", "cut", "snapshot", "reset", "kill")


def run(seed: int, *, failures: bool) -> Rig:
    """Steps at random, some of them interrupted by a loss of power at one of their changes."""
    rng = random.Random(seed)
    rig = Rig(seed)
    names = (*STEPS, "fail") if failures else STEPS
    for _ in range(rng.randrange(5, 40)):
        name, number = rng.choice(names), rng.randrange(60)
        if rng.random() < 0.8:
            rig.step(name, number)
        elif name == "kill" or rig.killed_in(name, number, rng.randrange(1, 12)) or rng.random() < 0.3:
            rig.lose_power()
    rig.lose_power()
    return rig


def test_no_loss_of_power_takes_what_was_synced_or_brings_back_what_was_cut() -> None:
    rigs = [run(seed, failures=False) for seed in range(600)]
    assert sum(rig.losses for rig in rigs) > 1000
    assert sum(rig.cut_tails for rig in rigs) > 200


def test_nor_where_the_disk_fails_as_well_and_the_log_is_mended() -> None:
    rigs = [run(seed, failures=True) for seed in range(600)]
    assert sum(rig.losses for rig in rigs) > 1000


# -- a loss of power at each change of one step --------------------------------------------------


def half_synced(files: FakeFiles) -> FileLog:
    """Entries 1 to 16 in four segments, synced up to 10; those behind testify that."""
    log = filled_log(files, 10)
    sync(log)
    for index in range(11, 17):
        log.append(entry(index))
        log.flush()
    return log


def power_lost_everywhere(act: Callable[[FileLog], object], check: Callable[[FileLog], None], covered: int = 0) -> int:
    """Do `act`, and lose power at each of its changes and behind it, in many ways; `check` what a start finds."""
    files = FakeFiles()
    log = half_synced(files)
    recorded = files.record()
    act(log)
    operations = len(recorded)
    for place in range(1, operations + 2):
        for seed in range(40):
            files = FakeFiles()
            log = half_synced(files)
            files.kill_at(place, torn_bytes=seed)
            assert was_killed(lambda log=log: act(log)) is (place <= operations)
            files.lose_power(random.Random(seed))
            check(FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=False, covered_index=covered))
    return operations


@pytest.mark.parametrize("first", [2, 4, 6, 9, 10, 11, 13, 14])
def test_power_lost_in_a_cut_leaves_a_first_part_of_the_old_log_and_is_no_damage(first: int) -> None:
    """Also where segments come back that testify of what went with them."""

    def check(log: FileLog) -> None:
        assert log.entries() == [entry(index) for index in range(1, log.last_index + 1)]
        assert log.last_index >= min(10, first - 1)

    power_lost_everywhere(lambda log: log.truncate_suffix(first), check)


def test_power_lost_behind_a_cut_below_what_was_synced_brings_nothing_of_it_back() -> None:
    def act(log: FileLog) -> None:
        log.truncate_suffix(6)
        for index in range(6, 12):
            log.append(entry(index, 2))
            log.flush()

    def check(log: FileLog) -> None:
        found, old = log.entries(), [entry(index) for index in range(1, 17)]
        new = old[:5] + [entry(index, 2) for index in range(6, 12)]
        assert found in (old[: len(found)], new[: len(found)])
        assert len(found) >= 5

    power_lost_everywhere(act, check)


@pytest.mark.parametrize("base", [3, 8, 12, 16, 30])
def test_power_lost_while_starting_over_leaves_the_old_log_or_the_new_one(base: int) -> None:
    seen = set()

    def check(log: FileLog) -> None:
        new = (log.base_index, log.base_term, log.last_index) == (base, 2, base)
        old = log.entries() == [entry(index) for index in range(log.base_index + 1, log.last_index + 1)]
        assert new or (old and log.base_index <= base and log.last_index >= min(10, base))
        seen.add(new)

    power_lost_everywhere(lambda log: log.reset(base, 2), check, covered=base)
    assert seen == {False, True}


def test_power_lost_while_a_prefix_is_dropped_leaves_all_that_was_synced_behind_it() -> None:
    def check(log: FileLog) -> None:
        assert log.base_index <= 9
        assert log.last_index >= 10
        assert log.entries() == [entry(index) for index in range(log.base_index + 1, log.last_index + 1)]

    assert power_lost_everywhere(lambda log: log.truncate_prefix(9), check, covered=9) > 1


def test_leftovers_that_a_power_loss_brings_back_in_the_middle_of_the_log_do_not_count() -> None:
    """One without a whole header hides nothing behind it; one of a dropped suffix is no place to go on from."""
    stale = encode_header(SegmentHeader(GROUP, 1, 4, 1))
    for content, left in ((b"garbage", 8), (stale, 6)):
        files = FakeFiles()
        log = filled_log(files, 2)
        log.reset(2, 2)
        for index in range(3, 9):
            log.append(entry(index, 2))
            log.flush()
        files.write_atomic(f"{LOG}/{5:016x}.log", content, sync=True)
        files.restart()
        found = FileLog(files, LOG, GROUP, SEGMENT_BYTES, strict=False, covered_index=5)
        assert found.base_index == 2
        assert found.entries() == [entry(index, 2) for index in range(3, left + 1)]
        assert not files.exists(f"{LOG}/{5:016x}.log")
