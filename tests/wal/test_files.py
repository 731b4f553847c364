"""The machine's files and the fake ones keep one contract; and the fake ones fail as told."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from raftcache.testing.files import FakeFiles, Killed
from raftcache.wal.files import Files, OsFiles, remove_leftovers


@pytest.fixture(params=["os", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, str]:
    """A file system and an empty directory in it."""
    files: Files = OsFiles() if request.param == "os" else FakeFiles()
    directory = str(tmp_path / "d")
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


def test_power_loss_keeps_what_was_synced_and_perhaps_more() -> None:
    contents, names = set(), set()
    for seed in range(60):
        files = FakeFiles()
        files.makedirs("d")
        handle = files.create("d/a")
        handle.write(b"12")
        handle.sync()
        files.sync_dir("d")
        handle.write(b"34")
        files.create("d/b")
        files.power_loss(random.Random(seed))
        contents.add(files.read("d/a"))
        names.add(files.exists("d/b"))
    assert contents == {b"12", b"123", b"1234"}
    assert names == {False, True}


def test_power_loss_may_take_back_a_cut_or_a_rename_that_was_not_synced() -> None:
    contents = set()
    for seed in range(60):
        files = FakeFiles()
        files.makedirs("d")
        files.write_atomic("d/a", b"1234", sync=True)
        handle = files.open_append("d/a")
        handle.truncate(1)
        handle.write(b"x")
        files.power_loss(random.Random(seed))
        contents.add(files.read("d/a"))
    assert contents == {b"1234", b"1x"}


def test_the_same_seed_loses_the_same() -> None:
    def lose(seed: int) -> list[tuple[str, bytes]]:
        files = FakeFiles()
        for name in "abcdef":
            files.create(name).write(b"12345678")
        files.power_loss(random.Random(seed))
        return [(name, files.read(name)) for name in files.listdir("")]

    assert lose(5) == lose(5)
    assert len({str(lose(seed)) for seed in range(10)}) > 1
