"""The machine's files and the fake ones keep one contract; and the fake ones fail as told."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from raftcache.testing.files import CHANGES, FakeFiles, Killed
from raftcache.wal.files import Files, OsFiles, remove_leftovers


@pytest.fixture(params=["os", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, str]:
    """A file system and an empty directory in it."""
    files: Files = OsFiles() if request.param == "os" else FakeFiles()
    directory = str(tmp_path / "d") if request.param == "os" else "d"
    files.makedirs(directory)
    return files, directory


def test_append_cut_and_read(place: tuple[Files, str]) -> None:
    files, directory = place
    path = f"{directory}/a"
    handle = files.create(path)
    handle.write(b"hello")
    handle.truncate(2)
    handle.write(b"llo again")
    handle.sync()
    assert handle.size() == files.size(path) == 11
    handle.close()
    handle.close()
    again = files.open_append(path)
    again.write(b"!")
    again.close()
    assert files.read(path) == b"hello again!"
    assert files.read_range(path, 6, 3) == b"aga"
    assert files.read_range(path, 10, 99) == b"n!"
    assert files.read_range(path, 99, 1) == b""


def test_create_empties_what_was_there(place: tuple[Files, str]) -> None:
    files, directory = place
    files.write_atomic(f"{directory}/a", b"old", sync=True)
    files.create(f"{directory}/a").close()
    assert files.read(f"{directory}/a") == b""


def test_names(place: tuple[Files, str]) -> None:
    files, directory = place
    files.makedirs(f"{directory}/x/y")
    files.makedirs(f"{directory}/x/y")
    files.write_atomic(f"{directory}/x/b", b"1", sync=False)
    files.write_atomic(f"{directory}/x/a", b"2", sync=True)
    assert files.listdir(f"{directory}/x") == ["a", "b", "y"]
    files.rename(f"{directory}/x/a", f"{directory}/x/b")
    assert files.read(f"{directory}/x/b") == b"2"
    assert not files.exists(f"{directory}/x/a")
    files.remove(f"{directory}/x/b")
    assert files.listdir(f"{directory}/x") == ["y"]
    files.create(f"{directory}/x/c.tmp").close()
    remove_leftovers(files, f"{directory}/x")
    files.remove_tree(f"{directory}/x")
    files.remove_tree(f"{directory}/x")
    assert files.exists(directory)
    assert not files.exists(f"{directory}/x")


def test_what_is_missing_is_an_error(place: tuple[Files, str]) -> None:
    files, directory = place
    path = f"{directory}/missing"
    for call in (files.read, files.size, files.open_append, files.remove, files.listdir):
        with pytest.raises(FileNotFoundError):
            call(path)
    with pytest.raises(FileNotFoundError):
        files.create(f"{path}/a")


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = os.write, []

    def short(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(fd, data[:3])

    handle = OsFiles().create(str(tmp_path / "a"))
    monkeypatch.setattr(os, "write", short)
    handle.write(b"12345678")
    monkeypatch.undo()
    assert OsFiles().read(str(tmp_path / "a")) == b"12345678"
    assert sizes == [8, 5, 2]


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = OsFiles().create(str(tmp_path / "a"))
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(OSError, match="nothing was written"):
        handle.write(b"x")


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    OsFiles().makedirs(str(tmp_path / "d"))
    OsFiles().write_atomic(str(tmp_path / "d" / "a"), b"", sync=False)
    assert (tmp_path / "d" / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d").stat().st_mode & 0o077 == 0


# -- what only the fake ones do ------------------------------------------------------------------


def test_write_atomic_is_old_or_new_at_every_kill() -> None:
    seen = set()
    for operation in range(1, 6):
        for torn in range(4):
            files = FakeFiles()
            files.write_atomic("a", b"old", sync=True)
            files.kill_at(operation, torn)
            with pytest.raises(Killed):
                files.write_atomic("a", b"new", sync=True)
            seen.add(files.read("a"))
    assert seen == {b"old", b"new"}


def test_a_dead_process_changes_nothing_more() -> None:
    files = FakeFiles()
    handle = files.create("a")
    files.kill_at(1, torn_bytes=2)
    with pytest.raises(Killed):
        handle.write(b"1234")
    for change in (lambda: handle.write(b"5"), lambda: files.remove("a"), lambda: files.create("b")):
        with pytest.raises(Killed):
            change()
    files.restart()
    with pytest.raises(Killed, match="a process that is gone"):
        handle.write(b"6")
    assert files.read("a") == b"12"


def test_a_failure_happens_once_with_its_partial_write() -> None:
    files = FakeFiles()
    handle = files.create("a")
    files.fail_next("write", OSError(errno.ENOSPC, "full"), partial=1)
    with pytest.raises(OSError, match="full"):
        handle.write(b"123")
    handle.write(b"23")
    handle.close()
    assert files.read("a") == b"123"
    with pytest.raises(OSError, match="closed"):
        handle.write(b"4")


def after_power_losses(prepare: Callable[[FakeFiles], object], look: Callable[[FakeFiles], object]) -> set[object]:
    """What is found over many losses of power."""
    found = set()
    for seed in range(300):
        files = FakeFiles()
        files.makedirs("d")
        prepare(files)
        files.lose_power(random.Random(seed))
        found.add(look(files))
    return found


def test_power_loss_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    def prepare(files: FakeFiles) -> None:
        handle = files.create("d/a")
        handle.write(b"12")
        handle.sync()
        files.sync_dir("d")
        handle.write(b"34")

    contents = after_power_losses(prepare, lambda files: files.read("d/a"))
    assert {b"12", b"123", b"1234", b"12\0\0", b"12\x004"} <= contents
    assert all(isinstance(each, bytes) and each.startswith(b"12") and len(each) <= 4 for each in contents)
    assert any(isinstance(each, bytes) and set(each) - set(b"1234\0") for each in contents), "no garbage"


def test_power_loss_takes_back_an_unsynced_cut_or_not() -> None:
    def prepare(files: FakeFiles) -> None:
        files.write_atomic("d/a", b"1234", sync=True)
        files.open_append("d/a").truncate(1)

    assert after_power_losses(prepare, lambda files: files.read("d/a")) == {b"1234", b"1"}


def test_power_loss_may_show_what_stood_behind_an_unsynced_cut() -> None:
    def prepare(files: FakeFiles) -> None:
        files.write_atomic("d/a", b"1234", sync=True)
        handle = files.open_append("d/a")
        handle.truncate(1)
        handle.write(b"xy")

    contents = after_power_losses(prepare, lambda files: files.read("d/a"))
    assert {b"1", b"1x", b"1xy", b"12y", b"1x3", b"1234"} <= contents


def test_names_that_were_not_synced_are_there_or_not_in_order_or_not() -> None:
    def prepare(files: FakeFiles) -> None:
        files.write_atomic("d/a", b"old", sync=True)
        files.write_atomic("d/b", b"", sync=True)
        files.write_atomic("d/a", b"new", sync=True, sync_name=False)
        files.remove("d/b")
        files.create("d/c")

    def look(files: FakeFiles) -> object:
        return files.read("d/a"), files.exists("d/b"), files.exists("d/c")

    found = after_power_losses(prepare, look)
    assert found == {(a, b, c) for a in (b"old", b"new") for b in (False, True) for c in (False, True)}


def test_a_directory_that_was_not_synced_goes_with_all_that_is_in_it() -> None:
    def prepare(files: FakeFiles) -> None:
        files.makedirs("d/x")
        files.write_atomic("d/x/a", b"1", sync=True)

    assert after_power_losses(prepare, lambda files: files.exists("d/x/a")) == {False, True}
    assert after_power_losses(lambda files: (prepare(files), files.sync_dir("d")), lambda f: f.read("d/x/a")) == {b"1"}


def test_a_directory_moves_with_all_that_is_in_it(place: tuple[Files, str]) -> None:
    files, directory = place
    files.makedirs(f"{directory}/x/y")
    files.write_atomic(f"{directory}/x/y/a", b"1", sync=True)
    files.rename(f"{directory}/x", f"{directory}/z")
    assert files.listdir(directory) == ["z"]
    assert files.read(f"{directory}/z/y/a") == b"1"
    files.makedirs(f"{directory}/x/y")
    with pytest.raises(OSError, match=r"not free|not empty"):
        files.rename(f"{directory}/x", f"{directory}/z")


def test_sync_by_path(place: tuple[Files, str]) -> None:
    files, directory = place
    handle = files.create(f"{directory}/a")
    files.sync_dir(directory)
    handle.write(b"12")
    files.sync(f"{directory}/a")
    files.sync(f"{directory}/missing")
    if isinstance(files, FakeFiles):
        files.lose_power(random.Random(1))
    assert files.read(f"{directory}/a") == b"12"


@pytest.mark.parametrize("drops_pages", [False, True])
def test_what_a_failed_sync_missed_may_be_lost_though_a_later_one_succeeds(drops_pages: bool) -> None:
    def prepare(files: FakeFiles) -> None:
        files.drops_pages = drops_pages
        handle = files.create("d/a")
        files.sync_dir("d")
        handle.write(b"12")
        handle.sync()
        handle.write(b"34")
        files.fail_next("sync", OSError(errno.EIO, "I/O error"))
        with pytest.raises(OSError, match="I/O error"):
            files.sync("d/a")
        assert files.read("d/a") == (b"12\0\0" if drops_pages else b"1234")
        handle.write(b"56")
        handle.sync()

    contents = after_power_losses(prepare, lambda files: files.read("d/a"))
    assert b"12\0\x0056" in contents
    assert (b"123456" in contents) is not drops_pages
    assert all(isinstance(each, bytes) and each[:2] == b"12" and each[4:] == b"56" for each in contents)


def test_a_broken_disk_fails_until_it_is_healed() -> None:
    files = FakeFiles()
    handle = files.create("a")
    files.break_disk(OSError(errno.EROFS, "read-only"), *CHANGES)
    for change in (lambda: handle.write(b"1"), lambda: files.remove("a"), handle.sync, lambda: files.create("b")):
        for _ in range(2):
            with pytest.raises(OSError, match="read-only"):
                change()
    files.heal()
    handle.write(b"1")
    assert files.read("a") == b"1"


def test_a_loss_of_power_is_another_boot_and_a_kill_is_none() -> None:
    files = FakeFiles()
    boot = files.boot_id
    files.restart()
    assert files.boot_id == boot
    files.lose_power(random.Random(1))
    assert files.boot_id != boot


def test_the_same_seed_loses_the_same() -> None:
    def lose(seed: int) -> list[tuple[str, bytes]]:
        files = FakeFiles()
        for name in "abcdef":
            files.create(name).write(b"12345678")
        files.lose_power(random.Random(seed))
        return [(name, files.read(name)) for name in files.listdir("")]

    assert lose(5) == lose(5)
    assert len({str(lose(seed)) for seed in range(10)}) > 1
