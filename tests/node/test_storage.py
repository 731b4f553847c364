"""A node's storage: replica numbers, renewal, founding, the mark of the run. Killed and without power at every step."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from raftcache.identity import UnsupportedFormat
from raftcache.node.storage import NodeStorage, storage_in, storage_in_memory
from raftcache.testing.files import FakeFiles, Killed, Operation
from raftcache.wal.api import Entry, GroupStorage, SnapshotMeta
from raftcache.wal.errors import Damaged, WalDamaged
from raftcache.wal.files import OsFiles
from raftcache.wal.node_files import RunMark, read_run

ROOT = "/data/groups"
A, B, META = "7c1f", "90ab", "meta"
TERM = 3
FOUNDED = SnapshotMeta(A, 40, 2, ("n0.aa.0",))
POWER_SEEDS = 4


def started(files: FakeFiles, *, always: bool = False) -> NodeStorage:
    return storage_in(files, ROOT, 4096, files.boot_id, always)


def fill(storage: NodeStorage, group_id: str, entries: int = 3) -> GroupStorage:
    """Open a group, vote in it, append; nothing of the log is synced."""
    group = storage.open(group_id)
    group.votes.save(TERM, "n0.aa.0")
    work = group.votes.sync_work()
    assert work is not None
    work()
    for index in range(1, entries + 1):
        group.log.append(Entry(b"\0" + group_id.encode(), index, TERM))
    group.log.flush()
    return group


def filled(files: FakeFiles, *group_ids: str) -> NodeStorage:
    storage = started(files)
    for group_id in group_ids:
        fill(storage, group_id).log.close()
    return storage


def filled_and_synced(files: FakeFiles, *, always: bool = False) -> NodeStorage:
    """Both groups, with nothing that a loss of power could take: whoever is suspect then is so by the marks alone."""
    storage = started(files, always=always)
    for group_id in (A, B):
        group = fill(storage, group_id)
        work = group.log.sync_work()
        assert work is not None
        work.run()
        group.log.close()
    return storage


def is_untouched(group: GroupStorage) -> bool:
    return (len(group.log.entries()), group.votes.load()) == (3, (TERM, "n0.aa.0"))


def is_empty(group: GroupStorage) -> bool:
    return (group.log.last_index, group.votes.load(), group.snapshots.latest()) == (0, (0, None), None)


def changes_of(action: Callable[[FakeFiles, NodeStorage], object]) -> list[Operation]:
    files = FakeFiles()
    storage = filled(files, A, B)
    operations = files.record()
    action(files, storage)
    return list(operations)


def killed_at_each_change(
    action: Callable[[FakeFiles, NodeStorage], object], *, power: bool = False
) -> Iterator[tuple[int, FakeFiles]]:
    """The disk after a process was killed at each change that the action makes; with `power`, after a power loss."""
    for place in range(1, len(changes_of(action)) + 1):
        for seed in range(POWER_SEEDS if power else 1):
            files = FakeFiles()
            storage = filled(files, A, B)
            started_again = started(files) if power else storage
            started_again.open(A).log.close()
            started_again.open(B).log.close()
            files.kill_at(place, torn_bytes=7)
            with pytest.raises(Killed):
                action(files, started_again)
            if power:
                files.lose_power(random.Random(f"{place} {seed}"))
            else:
                files.restart()
            yield place, files


def renewal(keep: bool) -> Callable[[FakeFiles, NodeStorage], object]:
    return lambda _files, storage: storage.renew(A, keep=keep)


# -- groups and numbers ------------------------------------------------------------------------------


def test_what_was_kept_is_found_and_numbers_start_at_zero() -> None:
    files = FakeFiles()
    filled(files, A, META).close()
    storage = started(files)
    assert storage.held() == {A, META}
    assert (storage.replica(A), storage.replica(B)) == (0, 0)
    assert is_untouched(storage.open(A))
    assert is_empty(storage.open(B))


@pytest.mark.parametrize("keep", [True, False])
def test_a_renewed_group_is_empty_under_the_next_number(keep: bool) -> None:
    files = FakeFiles()
    storage = filled(files, A, B)
    assert [storage.renew(A, keep=keep), storage.replica(A), storage.replica(B)] == [1, 1, 0]
    assert storage.held() == {B}
    assert is_empty(storage.open(A))
    again = started(files)
    assert (again.replica(A), again.replica(B)) == (1, 0)
    assert is_untouched(again.open(B))
    assert files.exists(f"{ROOT}/damaged/{A}.0/log") == keep


def test_of_what_was_set_aside_the_newest_of_each_group_is_kept() -> None:
    files = FakeFiles()
    storage = filled(files, A, B)
    storage.renew(B, keep=True)
    for _ in range(2):
        storage.renew(A, keep=True)
        fill(storage, A)
    storage.renew(A, keep=True)
    assert files.listdir(f"{ROOT}/damaged") == [f"{A}.2", f"{B}.0"]
    assert storage.renew(A, keep=True) == 4, "nothing was there to be set aside"
    assert files.listdir(f"{ROOT}/damaged") == [f"{A}.2", f"{B}.0"]


def test_a_group_that_was_never_here_can_be_renewed() -> None:
    files = FakeFiles()
    assert started(files).renew(A, keep=True) == 1
    assert started(files).replica(A) == 1


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("keep", [True, False])
def test_killed_anywhere_in_a_renewal_the_files_are_those_of_the_number(keep: bool, power: bool) -> None:
    """The old number with the old files whole, or the next number with nothing; and never another group's harm."""
    seen = set()
    for place, files in killed_at_each_change(renewal(keep), power=power):
        storage = started(files)
        number, held = storage.replica(A), storage.held()
        assert number in (0, 1)
        assert held == ({A, B} if number == 0 else {B}), place
        group = storage.open(A)
        assert is_untouched(group) if number == 0 else is_empty(group), place
        assert is_untouched(storage.open(B)), place
        seen.add(number)
    assert seen == {0, 1}


@pytest.mark.parametrize("keep", [True, False])
def test_a_start_that_is_killed_while_it_finishes_a_renewal_is_followed_by_one_that_finishes_it(keep: bool) -> None:
    files = FakeFiles()
    storage = filled(files, A, B)
    files.kill_at(5)
    with pytest.raises(Killed):
        storage.renew(A, keep=keep)
    files.restart()
    for place in range(1, 40):
        files.kill_at(1 + place % 9)
        try:
            started(files)
        except Killed:
            files.restart()
            continue
        break
    files.restart()
    storage = started(files)
    assert storage.replica(A) == 1
    assert is_empty(storage.open(A))
    assert is_untouched(storage.open(B))


def test_the_number_is_on_the_disk_before_any_file_goes() -> None:
    for keep in (True, False):
        operations = changes_of(renewal(keep))
        first_gone = next(
            place
            for place, each in enumerate(operations)
            if (each.kind == "remove" and f"/{A}/" in each.path) or each.path.endswith(f"damaged/{A}.0")
        )
        before = [(each.kind, each.path) for each in operations[:first_gone]]
        renamed = before.index(("rename", f"{ROOT}/replicas"))
        assert ("sync_dir", ROOT) in before[renamed:], keep


@pytest.mark.parametrize("keep", [True, False])
def test_a_renewal_that_fails_half_way_is_finished_by_the_next_call_or_opening(keep: bool) -> None:
    """A disk that refuses one change, each in turn."""
    for place, operation in enumerate(changes_of(renewal(keep))):
        for finish in ("renew", "open"):
            files = FakeFiles()
            storage = filled(files, A, B)
            same_kind = [each.kind for each in changes_of(renewal(keep))[:place]].count(operation.kind)
            _fail_nth(files, operation, same_kind)
            with pytest.raises(OSError, match="refused"):
                storage.renew(A, keep=keep)
            raised = storage.replica(A)
            if finish == "renew":
                assert storage.renew(A, keep=keep) == 1
            assert is_empty(storage.open(A)) or raised == 0, (place, finish)
            assert is_untouched(storage.open(B))
            files.restart()
            again = started(files)
            assert again.replica(A) == storage.replica(A), (place, finish)
            assert is_empty(again.open(A)) or again.replica(A) == 0, (place, finish)


def _fail_nth(files: FakeFiles, operation: Operation, skip: int) -> None:
    """Refuse the change of that kind that comes after `skip` others of it."""
    count, left = files.count, [skip]

    def counted(kind: object, *rest: object, **named: object) -> None:
        count(kind, *rest, **named)  # type: ignore[arg-type]
        if kind == operation.kind:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, "refused")

    files.count = counted  # type: ignore[method-assign]


# -- founding ----------------------------------------------------------------------------------------


def found(_files: FakeFiles, storage: NodeStorage) -> None:
    storage.found(A, FOUNDED, iter([b"one", b"two"]), 7)


def is_founded(group: GroupStorage) -> bool:
    meta = group.snapshots.latest()
    if meta != FOUNDED or list(group.snapshots.blocks(meta)) != [b"one", b"two"]:
        return False
    return (group.log.base_index, group.log.base_term, group.votes.load()) == (40, 2, (7, None))


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_a_founded_group_starts_from_its_snapshot(kind: str) -> None:
    files = FakeFiles()
    storage = started(files) if kind == "files" else storage_in_memory()
    found(files, storage)
    assert is_founded(storage.open(A))
    assert storage.held() == {A}


@pytest.mark.parametrize("power", [False, True])
def test_killed_anywhere_in_a_founding_nothing_is_there_and_it_can_be_done_again(power: bool) -> None:
    """The group as it was before, or nothing, or all of it where only the last sync was missing; never a part."""
    for place, files in killed_at_each_change(found, power=power):
        storage = started(files)
        group = storage.open(A)
        assert is_empty(group) or is_untouched(group) or is_founded(group), place
        group.log.close()
        found(files, storage)
        files.lose_power(random.Random(place))
        storage = started(files)
        assert is_founded(storage.open(A)), place
        assert is_untouched(storage.open(B)), place


def test_a_founding_whose_blocks_fail_leaves_nothing() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"one"
        raise WalDamaged("source", 5, "the survivor's log is damaged")

    files = FakeFiles()
    storage = started(files)
    with pytest.raises(WalDamaged, match="survivor"):
        storage.found(A, FOUNDED, blocks(), 7)
    assert storage.held() == frozenset()
    assert is_empty(started(files).open(A))


# -- the mark of the run -----------------------------------------------------------------------------


@pytest.mark.parametrize(("clean", "always", "rebooted"), list(product([False, True], repeat=3)))
def test_a_group_is_suspect_after_an_unclean_end_before_a_reboot_unless_everything_was_synced(
    clean: bool, always: bool, rebooted: bool
) -> None:
    files = FakeFiles()
    storage = filled_and_synced(files, always=always)
    if clean:
        storage.close()
    if rebooted:
        files.lose_power(random.Random(1))
    else:
        files.restart()
    again = started(files)
    suspects = {group_id for group_id in (A, B) if again.open(group_id).suspicion.active}
    assert suspects == ({A, B} if rebooted and not clean and not always else set())


def test_every_mark_of_suspicion_is_on_the_disk_before_the_new_mark_of_the_run() -> None:
    files = FakeFiles()
    filled_and_synced(files)
    files.lose_power(random.Random(1))
    operations = files.record()
    started(files)
    changes = len(operations)
    for place, power in product(range(1, changes + 1), (False, True)):
        files = FakeFiles()
        filled_and_synced(files)
        files.lose_power(random.Random(1))
        files.kill_at(place)
        with pytest.raises(Killed):
            started(files)
        if power:
            files.lose_power(random.Random(place))
        else:
            files.restart()
        storage = started(files)
        assert all(storage.open(group_id).suspicion.active for group_id in (A, B)), place


def test_a_run_that_did_not_open_what_the_last_left_unsynced_does_not_end_clean() -> None:
    """Killed, started again without the group, stopped in order; then the power goes."""
    for always in (False, True):
        files = FakeFiles()
        filled(files, A, B)
        files.restart()
        storage = started(files, always=always)
        storage.open(B).log.close()
        storage.close()
        files.lose_power(random.Random(3))
        again = started(files)
        assert again.open(A).suspicion.active, always


def test_a_run_that_syncs_always_counts_as_such_once_it_has_opened_what_the_last_left_unsynced() -> None:
    files = FakeFiles()
    filled(files, A, B)
    files.restart()
    storage = started(files, always=True)
    seen = [read_run(files, ROOT)]
    for group_id in (A, B):
        storage.open(group_id)
        seen.append(read_run(files, ROOT))
    assert [mark is not None and mark.always for mark in seen] == [False, False, True]


def test_an_end_in_order_syncs_what_the_groups_have_written() -> None:
    for seed in range(20):
        files = FakeFiles()
        filled(files, A, B).close()
        files.lose_power(random.Random(seed))
        storage = started(files)
        for group_id in (A, B):
            group = storage.open(group_id)
            assert (is_untouched(group), group.suspicion.active) == (True, False)


def test_an_end_whose_last_sync_fails_is_not_clean(caplog: pytest.LogCaptureFixture) -> None:
    files = FakeFiles()
    storage = filled(files, A)
    files.fail_next("sync", OSError(errno.EIO, "bad disk"))
    storage.close()
    assert "does not end clean" in caplog.text
    files.lose_power(random.Random(1))
    assert started(files).open(A).suspicion.active


def test_nobody_who_cannot_tell_the_boot_trusts_the_last_run() -> None:
    files = FakeFiles()
    storage_in(files, ROOT, 4096, "", False).open(A)
    assert storage_in(files, ROOT, 4096, "", False).open(A).suspicion.active


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_mark_of_the_run_that_cannot_be_read_counts_as_the_worst(how: str) -> None:
    files = FakeFiles()
    filled(files, A).close()
    if how == "damaged":
        files.corrupt(f"{ROOT}/run", files.size(f"{ROOT}/run") - 1)
    else:
        files.remove(f"{ROOT}/run")
    assert started(files).open(A).suspicion.active
    assert read_run(files, ROOT) == RunMark(files.boot_id, False, False)


# -- damage ------------------------------------------------------------------------------------------


def test_every_flipped_byte_of_the_replica_numbers_is_refused_with_a_way_out() -> None:
    files = FakeFiles()
    filled(files, A, B).renew(A, keep=False)
    path = f"{ROOT}/replicas"
    for offset in range(files.size(path)):
        files.corrupt(path, offset)
        with pytest.raises(WalDamaged, match="empty its whole data directory") as refused:
            started(files)
        assert refused.value.path == path
        files.corrupt(path, offset)
    assert started(files).replica(A) == 1


@pytest.mark.parametrize("left", ["all", "groups", "votes"])
def test_missing_replica_numbers_are_not_zeros(left: str) -> None:
    files = FakeFiles()
    filled(files, A).renew(A, keep=False)
    files.remove(f"{ROOT}/replicas")
    if left != "all":
        files.remove(f"{ROOT}/run")
    if left == "groups":
        files.remove(f"{ROOT}/votes")
        files.makedirs(f"{ROOT}/{B}")
    with pytest.raises(WalDamaged, match="the file of replica numbers is missing"):
        started(files)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_damaged_votes_are_got_over_group_by_group(how: str) -> None:
    files = FakeFiles()
    filled(files, A, B)
    path = f"{ROOT}/votes"
    if how == "damaged":
        files.corrupt(path, files.size(path) - 1)
    else:
        files.remove(path)
    storage = started(files)
    for group_id in (A, B):
        with pytest.raises(WalDamaged, match="votes"):
            storage.open(group_id)
    storage.renew(A, keep=True)
    assert is_empty(storage.open(A))
    assert files.exists(f"{ROOT}/damaged/votes") == (how == "damaged")
    again = started(files)
    again.open(A)
    with pytest.raises(WalDamaged, match=f"the vote of group '{B}' was lost"):
        again.open(B)
    again.renew(B, keep=False)
    assert is_empty(again.open(B))


def test_killed_anywhere_in_the_renewal_that_sets_the_votes_aside_no_group_votes_twice() -> None:
    def damaged() -> tuple[FakeFiles, NodeStorage]:
        files = FakeFiles()
        filled(files, A, B)
        files.corrupt(f"{ROOT}/votes", 20)
        return files, started(files)

    files, storage = damaged()
    operations = files.record()
    storage.renew(A, keep=False)
    for place in range(1, len(operations) + 1):
        files, storage = damaged()
        files.kill_at(place)
        with pytest.raises(Killed):
            storage.renew(A, keep=False)
        files.restart()
        again = started(files)
        with pytest.raises(Damaged):
            again.open(B)
        if again.replica(A) == 1:
            assert is_empty(again.open(A))
        else:
            with pytest.raises(Damaged):
                again.open(A)


@pytest.mark.parametrize("trace", ["vote", "removed"])
def test_what_an_earlier_release_wrote_is_refused_with_both_versions_and_a_way_out(trace: str) -> None:
    files = FakeFiles()
    files.makedirs(f"{ROOT}/{A}/log")
    if trace == "vote":
        files.create(f"{ROOT}/{A}/vote").close()
    else:
        files.makedirs(f"{ROOT}/removed")
    with pytest.raises(UnsupportedFormat, match="of format 1, this release reads format 2") as refused:
        started(files)
    assert "empty the whole folder" in str(refused.value)
    assert files.listdir(ROOT) == sorted({A, "removed"} if trace == "removed" else {A})


def test_a_first_start_can_be_killed_anywhere() -> None:
    count = FakeFiles()
    operations = count.record()
    started(count)
    for place in range(1, len(operations) + 1):
        files = FakeFiles()
        files.kill_at(place, torn_bytes=5)
        with pytest.raises(Killed):
            started(files)
        files.lose_power(random.Random(place))
        storage = started(files)
        assert storage.held() == frozenset()
        assert is_empty(storage.open(A))


def test_on_a_real_disk(tmp_path: Path) -> None:
    root = str(tmp_path / "groups")
    storage = storage_in(OsFiles(), root, 4096, "boot", False)
    fill(storage, A).log.close()
    fill(storage, B).log.close()
    storage.renew(A, keep=True)
    found(FakeFiles(), storage)
    storage.renew(B, keep=False)
    storage.close()
    again = storage_in(OsFiles(), root, 4096, "another boot", False)
    assert again.held() == {A}
    assert (again.replica(A), again.replica(B)) == (1, 1)
    group = again.open(A)
    assert is_founded(group)
    assert not group.suspicion.active
