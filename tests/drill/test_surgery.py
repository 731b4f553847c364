"""Surgery on files, tried on files that the log and the snapshots have written; and a full disk on a real process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jepsen_like.cluster import DriverError
from jepsen_like.disk_full import WHY
from jepsen_like.surgery import (
    LEAST_BYTES,
    NEAR_BYTES,
    flip_middle,
    full_disk,
    largest_segment,
    newest_snapshot,
    tells_damage,
)
from raftcache.wal.api import Entry, SnapshotMeta
from raftcache.wal.errors import Damaged
from raftcache.wal.files import OsFiles
from raftcache.wal.log import FileLog
from raftcache.wal.snapshots import FileSnapshots

GROUP = "g1"
ENTRIES, ENTRY_BYTES, SEGMENT_BYTES = 200, 100, 4096


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A group's folder with a log of several segments and two snapshots."""
    folder = tmp_path / GROUP
    log = open_log(folder)
    for index in range(1, ENTRIES + 1):
        log.append(Entry(bytes(ENTRY_BYTES), index, 1))
        log.flush()
    log.close()
    snapshots = FileSnapshots(OsFiles(), str(folder / "snapshots"), GROUP)
    for index in (50, 100):
        writer = snapshots.writer(SnapshotMeta(GROUP, index, 1, ()))
        writer.add_block(bytes(ENTRY_BYTES))
        writer.commit()
    return folder


def open_log(folder: Path) -> FileLog:
    return FileLog(OsFiles(), str(folder / "log"), GROUP, SEGMENT_BYTES)


def test_one_byte_in_the_middle_is_flipped_and_nothing_else(tmp_path: Path) -> None:
    path, content = tmp_path / "file", bytes(range(LEAST_BYTES))
    path.write_bytes(content)
    offset = flip_middle(path)
    changed = path.read_bytes()
    assert offset == LEAST_BYTES // 2 and len(changed) == len(content)
    assert [place for place in range(LEAST_BYTES) if changed[place] != content[place]] == [offset]


def test_a_file_without_a_middle_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(LEAST_BYTES - 1))
    with pytest.raises(DriverError, match="too small"):
        flip_middle(path)
    assert path.read_bytes() == bytes(LEAST_BYTES - 1)


def test_a_flipped_log_is_refused_in_words_that_are_recognised(group: Path) -> None:
    path = largest_segment(group)
    offset = flip_middle(path)
    with pytest.raises(Damaged) as refusal:
        open_log(group)
    log = f"12:00:00 ERROR g1: this node's replica is lost and comes back empty, as a new member: {refusal.value}\n"
    assert tells_damage(log, path, offset)
    assert not tells_damage(log, path.with_name("0000000000000099.log"), offset)
    assert not tells_damage(log, group.parent / "g2" / "log" / path.name, offset)
    assert not tells_damage(log, path, 10)
    assert not tells_damage(log, path, offset + 2 * NEAR_BYTES)
    assert not tells_damage("all is well\n", path, offset)


def test_the_log_is_whole_before_it_is_flipped(group: Path) -> None:
    assert len(open_log(group).entries()) == ENTRIES


def test_a_flipped_snapshot_is_refused_in_words_that_are_recognised(group: Path) -> None:
    path = newest_snapshot(group)
    offset = flip_middle(path)
    snapshots = FileSnapshots(OsFiles(), str(group / "snapshots"), GROUP)
    meta = snapshots.latest()
    assert meta is not None and meta.index == 100
    with pytest.raises(Damaged) as refusal:
        list(snapshots.blocks(meta))
    assert tells_damage(f"ERROR g1: {refusal.value}\n", path, offset)


@pytest.mark.parametrize("find", [largest_segment, newest_snapshot])
def test_where_nothing_is_there_nothing_is_damaged(find: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nothing of the kind"):
        find(tmp_path)


WRITER = """
import sys
for path in sys.stdin:
    try:
        with open(path.strip(), "wb", buffering=0) as file:
            file.write(b"x")
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def test_a_process_cannot_write_while_its_disk_is_full_and_can_before_and_afterwards(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def attempt(name: str) -> str:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{tmp_path / name}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert attempt("before") == "written"
        with full_disk(process.pid):
            assert attempt("meanwhile") == WHY
        assert attempt("afterwards") == "written"


def test_a_process_that_ended_over_its_full_disk_is_no_error_here() -> None:
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process, full_disk(process.pid):
        process.communicate()
