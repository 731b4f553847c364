"""What is read from the closed storage of a lost group's survivor."""

from __future__ import annotations

import pytest

from raftcache.consensus import MemberId, read_remains
from raftcache.consensus.journal import MEMBERSHIP, NO_OP_DATA, REGULAR, pack_members
from raftcache.testing.files import FakeFiles
from raftcache.wal.api import Entry, GroupStorage, SnapshotMeta
from raftcache.wal.errors import WalDamaged
from raftcache.wal.storage import memory_storage, open_storage

MEMBERS = (MemberId("n0", "a"), MemberId("n1", "a"))


def command(text: bytes) -> bytes:
    return bytes([REGULAR]) + text


def filled(storage: GroupStorage) -> GroupStorage:
    """Entries 1 to 5: a command, a no-op, a command, a change of members, a command of a later term."""
    meta = SnapshotMeta("7c1f", 0, 0, tuple(map(str, MEMBERS)))
    storage.snapshots.writer(meta).commit()
    storage.votes.save(6, "n1.a.0")
    for index, (data, term) in enumerate(
        [
            (command(b"one"), 1),
            (NO_OP_DATA, 1),
            (command(b"three"), 1),
            (bytes([MEMBERSHIP]) + pack_members(MEMBERS), 4),
            (command(b"five"), 4),
        ],
        1,
    ):
        storage.log.append(Entry(data, index, term))
    storage.log.flush()
    return storage


def test_all_commands_of_the_log_with_their_terms_committed_or_not() -> None:
    remains = read_remains(filled(memory_storage("7c1f")))
    assert remains.blocks is None
    assert remains.commands == [(1, b"one"), (1, b"three"), (4, b"five")]
    assert (remains.last_index, remains.last_term, remains.term) == (5, 4, 6)


def test_only_what_comes_after_the_snapshot_and_the_snapshots_blocks() -> None:
    storage = filled(memory_storage("7c1f"))
    writer = storage.snapshots.writer(SnapshotMeta("7c1f", 3, 1, tuple(map(str, MEMBERS))))
    writer.add_block(b"state as of three")
    writer.commit()
    remains = read_remains(storage)
    assert remains.blocks is not None and list(remains.blocks) == [b"state as of three"]
    assert remains.commands == [(4, b"five")]


def test_it_is_read_from_files_that_another_process_left() -> None:
    files = FakeFiles()
    filled(open_storage(files, "/data/7c1f", "7c1f")).log.close()
    files.restart()
    remains = read_remains(open_storage(files, "/data/7c1f", "7c1f"))
    assert [payload for _, payload in remains.commands] == [b"one", b"three", b"five"]
    assert (remains.last_index, remains.last_term) == (5, 4)
    assert remains.term >= remains.last_term, "the vote was not synced, the log's own term counts"


def test_nothing_is_left_of_a_replica_that_holds_nothing() -> None:
    remains = read_remains(memory_storage("7c1f"))
    assert (remains.blocks, remains.commands, remains.last_index, remains.term) == (None, [], 0, 0)


def test_a_log_that_begins_behind_the_snapshot_is_refused() -> None:
    """What was in between is nowhere, and the rest alone is not what the group held."""
    storage = filled(memory_storage("7c1f"))
    storage.log.truncate_prefix(3)
    with pytest.raises(WalDamaged, match="starts behind entry 3, the snapshot is of entry 0"):
        read_remains(storage)
