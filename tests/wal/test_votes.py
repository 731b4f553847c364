"""Term and vote."""

from __future__ import annotations

import errno

import pytest
from wal_helpers import GROUP, was_killed

from raftcache.testing.files import FakeFiles, Kind
from raftcache.wal.api import VoteStore
from raftcache.wal.errors import LogWriteFailed, WalDamaged
from raftcache.wal.memory import MemoryVotes
from raftcache.wal.votes import FileVotes


@pytest.mark.parametrize("votes", [FileVotes(FakeFiles(), "vote", GROUP), MemoryVotes()])
def test_what_was_saved_last_is_loaded(votes: VoteStore) -> None:
    assert votes.load() == (0, None)
    votes.save(3, "n1.a.0")
    assert votes.load() == (3, "n1.a.0")
    votes.save(4, None)
    assert votes.load() == (4, None)


def saved() -> FakeFiles:
    files = FakeFiles()
    FileVotes(files, "vote", GROUP).save(3, "n1.a.0")
    return files


def test_every_flipped_byte_is_refused() -> None:
    for place in range(saved().size("vote")):
        files = saved()
        files.corrupt("vote", place, mask=1)
        with pytest.raises(WalDamaged, match=r"vote: .* Move the group's directory away"):
            FileVotes(files, "vote", GROUP).load()


def test_every_cut_is_refused() -> None:
    for size in range(saved().size("vote")):
        files = saved()
        files.open_append("vote").truncate(size)
        with pytest.raises(WalDamaged):
            FileVotes(files, "vote", GROUP).load()


def test_another_groups_vote_is_refused() -> None:
    with pytest.raises(WalDamaged, match="votes of group '7c1f', not 'beef'"):
        FileVotes(saved(), "vote", "beef").load()


def test_killed_at_every_byte_before_the_rename_the_old_vote_is_left() -> None:
    seen = set()
    for operation in (1, 2, 3):
        for torn in range(60):
            files = saved()
            files.kill_at(operation, torn)
            assert was_killed(lambda files=files: FileVotes(files, "vote", GROUP).save(4, None))
            files.restart()
            seen.add(FileVotes(files, "vote", GROUP).load())
    assert seen == {(3, "n1.a.0")}


@pytest.mark.parametrize("kind", ["create", "write", "rename"])
def test_a_failed_save_leaves_the_old_vote(kind: Kind) -> None:
    files = saved()
    votes = FileVotes(files, "vote", GROUP)
    files.fail_next(kind, OSError(errno.ENOSPC, "full"), partial=3)
    with pytest.raises(LogWriteFailed, match="full"):
        votes.save(4, None)
    assert votes.load() == (3, "n1.a.0")
    votes.save(5, None)
    assert votes.load() == (5, None)
