"""Terms and votes: the file that all groups of a node share."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wal_helpers import GROUP, was_killed

from raftcache.testing.files import FakeFiles, Kind
from raftcache.wal.api import VoteStore
from raftcache.wal.errors import WalDamaged
from raftcache.wal.memory import MemoryVotes
from raftcache.wal.votes import VoteTable

PATH = "n/votes"
OTHER = "beef"
MINE = (3, "n1.a.0")
CHECKSUM_PLACE = 10


def opened(files: FakeFiles, *groups: str) -> VoteTable:
    files.restart()
    files.makedirs("n")
    return VoteTable(files, PATH, groups)


def sync(votes: VoteStore | VoteTable) -> None:
    work = votes.sync_work()
    assert work is not None
    work()


def saved() -> FakeFiles:
    """A file with the votes of two groups."""
    files = FakeFiles()
    table = opened(files)
    table.save(GROUP, *MINE)
    table.save(OTHER, 7, None)
    sync(table)
    return files


@pytest.mark.parametrize("votes", [opened(FakeFiles()).view(GROUP), MemoryVotes()])
def test_what_was_saved_last_is_loaded(votes: VoteStore) -> None:
    assert votes.load() == (0, None)
    votes.save(3, "n1.a.0")
    assert votes.load() == (3, "n1.a.0")
    votes.save(4, None)
    assert votes.load() == (4, None)


def test_one_work_syncs_all_groups_and_what_it_has_not_covered_is_not_synced() -> None:
    files = FakeFiles()
    table = opened(files)
    mine, other = table.view(GROUP), table.view(OTHER)
    assert table.sync_work() is None
    mine.save(*MINE)
    other.save(7, None)
    assert (mine.synced(), other.synced()) == (False, False)
    sync(mine)
    assert (mine.synced(), other.synced(), other.sync_work()) == (True, True, None)
    other.save(8, None)
    assert (mine.synced(), other.synced()) == (True, False)
    files.lose_power(random.Random(1))
    found = opened(files, GROUP, OTHER)
    assert (found.view(GROUP).load(), found.view(OTHER).load()) == (MINE, (7, None))


def test_a_work_that_runs_late_writes_the_newest_and_a_second_one_nothing() -> None:
    files = FakeFiles()
    table = opened(files)
    table.save(GROUP, 1, None)
    early = table.sync_work()
    table.save(GROUP, 2, "n2.a.0")
    late = table.sync_work()
    assert early is not None
    assert late is not None
    late()
    operations = files.record()
    early()
    assert operations == []
    assert opened(files, GROUP).load(GROUP) == (2, "n2.a.0")


def test_what_is_saved_while_a_work_writes_is_not_taken_for_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FakeFiles()
    table = opened(files)
    table.save(GROUP, 1, None)
    real = files.write_atomic

    def write_atomic(path: str, data: bytes, *, sync: bool, sync_name: bool = True) -> None:
        real(path, data, sync=sync, sync_name=sync_name)
        table.save(GROUP, 2, "n2.a.0")

    monkeypatch.setattr(files, "write_atomic", write_atomic)
    sync(table)
    monkeypatch.undo()
    assert not table.synced(GROUP)
    sync(table)
    assert table.synced(GROUP)
    assert opened(files, GROUP).load(GROUP) == (2, "n2.a.0")


# -- damage --------------------------------------------------------------------------------------


def test_every_flipped_byte_is_refused_for_every_group() -> None:
    for place in range(saved().size(PATH)):
        for mask in (1, 0x80):
            files = saved()
            files.corrupt(PATH, place, mask)
            table = opened(files, GROUP, OTHER)
            for group_id in (GROUP, OTHER):
                with pytest.raises(WalDamaged, match=r"n/votes: .* at byte \d+\. .*the node sets this replica aside"):
                    table.view(group_id)
            assert table.damage is not None
            assert table.damage.offset in (0, CHECKSUM_PLACE)


def test_every_cut_is_refused() -> None:
    for size in range(saved().size(PATH)):
        files = saved()
        files.open_append(PATH).truncate(size)
        with pytest.raises(WalDamaged, match="n/votes"):
            opened(files, GROUP).view(GROUP)


def test_a_missing_file_is_refused_where_groups_are_kept_and_made_where_none_are() -> None:
    files = saved()
    files.remove(PATH)
    with pytest.raises(WalDamaged, match="the file of votes is missing, though groups are kept at byte 0"):
        opened(files, GROUP).view(GROUP)
    assert not files.exists(PATH)
    assert opened(files).view(GROUP).load() == (0, None)
    assert files.exists(PATH)


def test_damage_is_got_over_group_by_group_also_by_later_processes() -> None:
    files = saved()
    files.corrupt(PATH, 30)
    table = opened(files, GROUP, OTHER)
    aside: list[str] = []
    table.forget(GROUP, aside.append)
    assert aside == [PATH]
    for each in (table, opened(files, GROUP, OTHER)):
        assert each.view(GROUP).load() == (0, None)
        with pytest.raises(WalDamaged, match="the vote of group 'beef' was lost with an earlier, damaged file"):
            each.view(OTHER)
    table = opened(files, GROUP, OTHER)
    table.save(GROUP, *MINE)
    table.forget(OTHER, aside.append)
    assert aside == [PATH]
    found = opened(files, GROUP, OTHER)
    assert (found.view(GROUP).load(), found.view(OTHER).load()) == (MINE, (0, None))


def test_a_group_that_is_forgotten_has_no_vote_and_the_others_keep_theirs() -> None:
    files = saved()
    opened(files, GROUP, OTHER).forget(GROUP, lambda _path: pytest.fail("nothing is damaged"))
    files.lose_power(random.Random(3))
    found = opened(files, GROUP, OTHER)
    assert (found.view(GROUP).load(), found.view(OTHER).load()) == ((0, None), (7, None))


# -- kills, failures, losses of power ------------------------------------------------------------


def test_killed_at_every_byte_the_old_votes_or_the_new_ones_are_left() -> None:
    seen = set()
    for operation in (1, 2, 3, 4, 5):
        for torn in range(60):
            files = saved()
            table = opened(files, GROUP, OTHER)
            table.save(GROUP, 4, None)
            files.kill_at(operation, torn)
            assert was_killed(lambda table=table: sync(table))
            found = opened(files, GROUP, OTHER)
            assert found.view(OTHER).load() == (7, None)
            seen.add(found.view(GROUP).load())
    assert seen == {MINE, (4, None)}


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_failed_write_leaves_the_vote_unsynced_and_can_be_tried_again(kind: Kind, code: int) -> None:
    files = saved()
    table = opened(files, GROUP, OTHER)
    table.save(GROUP, 4, None)
    files.break_disk(OSError(code, "the disk fails"), kind)
    for _ in range(2):
        with pytest.raises(OSError, match="the disk fails"):
            sync(table)
        assert (table.load(GROUP), table.synced(GROUP), table.synced(OTHER)) == ((4, None), False, True)
    files.heal()
    sync(table)
    assert table.synced(GROUP)
    files.lose_power(random.Random(2))
    assert opened(files, GROUP, OTHER).load(GROUP) == (4, None)


STEP = st.tuples(st.sampled_from([GROUP, OTHER]), st.sampled_from(["save", "sync", "fail", "forget"]))


@given(st.lists(STEP, max_size=25), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_no_synced_vote_is_lost_with_the_power_and_none_is_made_up(steps: list[tuple[str, str]], seed: int) -> None:
    files = FakeFiles()
    table = opened(files)
    possible = {GROUP: [(0, None)], OTHER: [(0, None)]}
    for term, (group_id, what) in enumerate(steps):
        if what == "save":
            table.save(group_id, term, None)
            possible[group_id].append((term, None))
        elif what == "forget":
            table.forget(group_id, lambda _path: None)
            possible[group_id].append((0, None))
        elif (work := table.sync_work()) is not None:
            if what == "fail":
                kinds: tuple[Kind, ...] = ("write", "sync", "sync_dir")
                files.fail_next(kinds[(seed + term) % 3], OSError(errno.EIO, "I/O error"))
                with pytest.raises(OSError, match="I/O error"):
                    work()
            else:
                work()
        for each in (GROUP, OTHER):
            if table.synced(each):
                possible[each] = possible[each][-1:]
    files.lose_power(random.Random(seed))
    found = opened(files, GROUP, OTHER)
    for each in (GROUP, OTHER):
        assert found.view(each).load() in possible[each]
