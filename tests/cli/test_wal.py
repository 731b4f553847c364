"""`raftcache wal` and `raftcache snapshot inspect`: on whole files, damaged ones, and those of a running node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raftcache.cli.decoding import describe, summary
from raftcache.cli.main import main
from raftcache.clock import boot_id
from raftcache.commands.policy import Namespace
from raftcache.commands.types import JSON
from raftcache.consensus.api import MemberId
from raftcache.consensus.journal import MEMBERSHIP, NO_OP, pack_members
from raftcache.identity import create_identity, lock_data_dir
from raftcache.metadata.commands import Barrier, PutNode, encode_metadata_command
from raftcache.metadata.replica import SNAPSHOT_HEADER
from raftcache.metadata.state import EMPTY, Addresses, encode_state
from raftcache.node.storage import NodeStorage, storage_in
from raftcache.shard.history import History
from raftcache.shard.policies import Point, effect_of
from raftcache.shard.snapshot import SnapshotBlocks
from raftcache.store.effects import (
    FORGET_SESSION,
    LEADER_STARTED,
    PUT,
    REMOVE,
    REPLY,
    SESSION,
    Batch,
    encode_batch,
)
from raftcache.store.entry import Entry as Stored
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Record, Replies, encode_record
from raftcache.wal.api import Entry, GroupStorage, SnapshotMeta
from raftcache.wal.files import OsFiles
from raftcache.wal.inspection import entries_of, locate

SHARD, META = "7c1f", "meta"
KEYS, BATCHES = 3, 12
MEMBERS = tuple(MemberId(node, "aa") for node in ("n0", "n1", "n2"))

Capture = pytest.CaptureFixture[str]


def batch(number: int) -> bytes:
    effects = [
        (PUT, f"user:{number}".encode(), b'{"a":1}', JSON, 0, 1),
        (REMOVE, b"gone \xff\n"),
    ]
    return b"\0" + encode_batch(Batch(2, 2 * number, 1_000, effects))


def metadata(command: Any) -> bytes:
    return b"\0" + b"\x92" + b"\xa2id" + encode_metadata_command(command)


def shard_entries() -> list[bytes]:
    started = b"\0" + encode_batch(Batch(2, 1, 1_000, [(LEADER_STARTED, "n0")]))
    return [bytes([NO_OP]), started, bytes([MEMBERSHIP]) + pack_members(MEMBERS), *map(batch, range(1, BATCHES + 1))]


def fill(group: GroupStorage, payloads: list[bytes]) -> None:
    group.votes.save(2, "n0.aa.0")
    work = group.votes.sync_work()
    assert work is not None
    work()
    for index, data in enumerate(payloads, 1):
        group.log.append(Entry(data, index, 2))
        group.log.flush()


def take(group: GroupStorage, group_id: str, index: int, blocks: Any) -> None:
    writer = group.snapshots.writer(SnapshotMeta(group_id, index, 2, tuple(map(str, MEMBERS))))
    for block in blocks:
        writer.add_block(block)
    writer.commit()


def shard_blocks() -> SnapshotBlocks:
    keyspace = Keyspace(MemoryBudget())
    for number in range(KEYS):
        keyspace.put(b"k%d" % number, Stored(b"v", 0, 0, 1, 2, number + 1))
    return SnapshotBlocks(SHARD, History(2, KEYS, 1_000, {1: 7}), keyspace.cut(), Replies(MemoryBudget()).cut())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A node's data directory with two groups, closed in order; the shard's log has several segments."""
    folder = tmp_path / "n0"
    create_identity(folder, "c", "n0", "aa")
    storage = opened(folder)
    shard, meta = storage.open(SHARD), storage.open(META)
    fill(shard, shard_entries())
    fill(meta, [metadata(Barrier()), metadata(PutNode("n0", "aa", Addresses("h:1", "h:2", "h:3"), "z"))])
    take(shard, SHARD, 4, shard_blocks())
    take(shard, SHARD, 6, shard_blocks())
    take(meta, META, 1, [SNAPSHOT_HEADER, encode_state(EMPTY)])
    for group in (shard, meta):
        group.log.close()
    storage.close()
    return folder


def opened(folder: Path) -> NodeStorage:
    return storage_in(OsFiles(), str(folder / "groups"), 300, boot_id(), False)


def segments(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "groups" / SHARD / "log").glob("*.log"))


def snapshots(data_dir: Path, group_id: str = SHARD) -> list[Path]:
    return sorted((data_dir / "groups" / group_id / "snapshots").glob("*.snap"))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


# -- inspect -----------------------------------------------------------------------------------------


def test_inspect_shows_groups_and_files(data_dir: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "wal", "inspect", data_dir)
    assert code == 0
    assert "The last process has ended clean" in out
    row = next(line for line in out.splitlines() if SHARD in line and "n0.aa.0" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][:5] == [SHARD, "0", "2", "n0.aa.0", "1..15"]
    assert "at 6 of term 2" in row
    assert all(path.name in out for path in [*segments(data_dir), *snapshots(data_dir), *snapshots(data_dir, META)])


@pytest.mark.parametrize("place", ["", "groups", f"groups/{SHARD}", f"groups/{SHARD}/log"])
def test_inspect_takes_a_data_directory_a_group_or_a_log(place: str, data_dir: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "wal", "inspect", data_dir / place, "-o", "json")
    groups = {group["group"]: group for group in json.loads(out)["groups"]}
    assert code == 0
    assert groups.keys() == ({SHARD} if SHARD in place else {SHARD, META})
    shard = groups[SHARD]
    spans = [(each["first_index"], each["last_index"]) for each in shard["segments"]]
    assert spans[0][0] == 1 and spans[-1][1] == 3 + BATCHES
    assert all(before[1] + 1 == after[0] for before, after in pairwise(spans))
    if not place.endswith("log"):
        assert [each["meta"]["index"] for each in shard["snapshots"]] == [4, 6]
        assert shard["vote"] == {"term": 2, "voted_for": "n0.aa.0"}


def test_inspect_shows_marks_numbers_and_what_was_set_aside(data_dir: Path, capsys: Capture) -> None:
    opened(data_dir).renew(META, keep=True)
    (data_dir / "groups" / SHARD / "suspect").touch()
    _, out, _ = run(capsys, "wal", "inspect", data_dir)
    assert f"damaged/{META}.0" in out
    assert "suspect" in next(line for line in out.splitlines() if SHARD in line)
    assert "did not end clean" in out
    _, out, _ = run(capsys, "wal", "inspect", data_dir / "groups" / "damaged" / f"{META}.0", "-o", "json")
    assert json.loads(out)["groups"][0]["group"] == META


@pytest.mark.parametrize("command", ["inspect", "verify", "dump"])
def test_what_is_no_such_directory_is_refused(command: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "server.log").write_text("some other program's")
    code, _, err = run(capsys, "wal", command, tmp_path)
    assert code == 1 and "neither a node's data directory" in err
    code, _, err = run(capsys, "wal", command, tmp_path / "absent")
    assert code == 1 and "there is no such directory" in err


@pytest.mark.parametrize("command", ["inspect", "verify", "dump"])
def test_an_older_format_is_refused(command: str, data_dir: Path, capsys: Capture) -> None:
    path = data_dir / "identity.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    code, _, err = run(capsys, "wal", command, data_dir)
    assert code == 1 and "of format 1, this release reads format 2" in err


@pytest.mark.parametrize("command", ["inspect", "verify", "dump"])
def test_nothing_is_written_and_no_lock_is_taken(command: str, data_dir: Path, capsys: Capture) -> None:
    with lock_data_dir(data_dir):
        before = everything(data_dir)
        data_dir.chmod(0o500)
        code, out, _ = run(capsys, "wal", command, data_dir)
        data_dir.chmod(0o700)
        assert (code, everything(data_dir)) == (0, before)
        assert (f"A node runs on this directory (pid {os.getpid()})" in out) == (command != "dump")


# -- verify ------------------------------------------------------------------------------------------


def verified(capsys: Capture, place: Path) -> tuple[int, list[dict[str, Any]]]:
    code, out, _ = run(capsys, "wal", "verify", place, "-o", "json")
    document = json.loads(out)
    assert document["whole"] == (code == 0)
    return code, document["findings"]


def test_verify_finds_whole_files_whole(data_dir: Path, capsys: Capture) -> None:
    assert verified(capsys, data_dir) == (0, [])
    code, out, _ = run(capsys, "wal", "verify", data_dir)
    assert (code, out.count(": whole")) == (0, 3)


@pytest.mark.parametrize("in_use", [False, True])
def test_a_torn_tail_is_told_and_is_no_damage(in_use: bool, data_dir: Path, capsys: Capture) -> None:
    newest = segments(data_dir)[-1]
    size = newest.stat().st_size
    with newest.open("ab") as file:
        file.write(segments(data_dir)[0].read_bytes()[-5:])
    if in_use:
        with lock_data_dir(data_dir):
            code, findings = verified(capsys, data_dir)
    else:
        code, findings = verified(capsys, data_dir)
    assert code == 0
    assert [(each["path"], each["offset"], each["damage"]) for each in findings] == [(str(newest), size, False)]
    assert "torn tail of 5 bytes" in findings[0]["reason"]


DAMAGE: dict[str, Callable[[Path], tuple[Path, str]]] = {
    "a record": lambda folder: (segments(folder)[0], "does not match its checksum"),
    "an older snapshot": lambda folder: (snapshots(folder)[0], "does not match"),
    "the newest snapshot": lambda folder: (snapshots(folder)[1], "does not match"),
    "the votes": lambda folder: (folder / "groups" / "votes", "votes does not match"),
    "the replica numbers": lambda folder: (folder / "groups" / "replicas", "replica numbers does not match"),
    "the run": lambda folder: (folder / "groups" / "run", "run does not match"),
}


@pytest.mark.parametrize("in_use", [False, True])
@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_told_with_file_place_reason_and_way_out(
    what: str, in_use: bool, data_dir: Path, capsys: Capture
) -> None:
    path, reason = DAMAGE[what](data_dir)
    flip(path, path.stat().st_size - 20 if path.parent.name != "groups" else path.stat().st_size - 1)
    if in_use:
        with lock_data_dir(data_dir):
            code, findings = verified(capsys, data_dir)
    else:
        code, findings = verified(capsys, data_dir)
    assert code == 1
    assert [each["path"] for each in findings if each["damage"]] == [str(path)]
    assert reason in findings[0]["reason"] and findings[0]["way_out"]
    code, out, _ = run(capsys, "wal", "verify", data_dir)
    assert code == 1 and f"{path}: byte {findings[0]['offset']}: " in out


def test_every_damaged_group_is_told(data_dir: Path, capsys: Capture) -> None:
    flip(segments(data_dir)[1], 90)
    flip(snapshots(data_dir, META)[0], 90)
    _, findings = verified(capsys, data_dir)
    assert sorted(each["group"] for each in findings) == [SHARD, META]


@pytest.mark.parametrize("what", ["votes", "replicas", "log", "snapshot"])
def test_what_is_missing_is_damage(what: str, data_dir: Path, capsys: Capture) -> None:
    groups = data_dir / "groups"
    if what == "log":
        for path in segments(data_dir):
            path.unlink()
    elif what == "snapshot":
        for path in (segments(data_dir)[0], *snapshots(data_dir)):
            path.unlink()
    else:
        (groups / what).unlink()
    code, findings = verified(capsys, data_dir)
    assert code == 1
    expected = {"log": "the log is missing", "snapshot": "the log starts behind entry"}.get(what, "missing")
    assert any(expected in each["reason"] for each in findings)


def test_what_is_verified_is_what_a_start_would_find(data_dir: Path, capsys: Capture) -> None:
    """Under another boot a garbled tail that nothing testifies to is cut, under the same boot it is damage."""
    newest = segments(data_dir)[-1]
    flip(newest, newest.stat().st_size - 1)
    assert verified(capsys, data_dir)[0] == 1
    (data_dir / "groups" / SHARD / "boot").write_text("another")
    code, findings = verified(capsys, data_dir)
    assert (code, findings[0]["damage"]) == (0, False)
    assert opened(data_dir).open(SHARD).log.last_index == 2 + BATCHES


# -- dump --------------------------------------------------------------------------------------------


def dumped(capsys: Capture, place: Path) -> list[dict[str, Any]]:
    code, out, _ = run(capsys, "wal", "dump", "--json", place)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_dump_decodes_every_kind_of_entry(data_dir: Path, capsys: Capture) -> None:
    lines = dumped(capsys, data_dir)
    shard = [line for line in lines if line["group"] == SHARD]
    assert [line["index"] for line in shard] == list(range(1, 4 + BATCHES))
    assert [line["kind"] for line in shard[:4]] == ["no_op", "batch", "members", "batch"]
    assert shard[1]["batch"]["effects"] == [{"effect": "leader_started", "node": "n0"}]
    assert shard[2]["members"] == [str(member) for member in MEMBERS]
    put, remove = shard[3]["batch"]["effects"]
    assert put == {
        "effect": "put", "key": "user:1", "value_bytes": 7, "flag": "json", "expires_ms": 0, "namespace_id": 1
    }  # fmt: skip
    assert remove == {"effect": "remove", "key": r"gone \\xff\n"}
    assert shard[3]["bytes"] == len(batch(1))
    commands = [line["command"] for line in lines if line["group"] == META]
    assert [command["command"] for command in commands] == ["Barrier", "PutNode"]
    assert commands[1]["addresses"] == {"http": "h:1", "rpc": "h:2", "peer": "h:3", "redis_cluster": ""}


def test_reply_records_are_shown_without_the_reply() -> None:
    record = encode_record(Record(b"user:1", b"p" * 16, b"reply"))
    effects = [(REPLY, b"1:i", record, 99, 1), (REPLY, b"1:old")]
    document = describe(SHARD, Entry(b"\x00" + encode_batch(Batch(2, 5, 0, effects)), 9, 2))
    sizes = {"record_bytes": len(record), "expires_ms": 99, "namespace_id": 1}
    kept, forgotten = document["batch"]["effects"]
    assert kept == {"effect": "reply", "record": "1:i", "key": "user:1", **sizes}
    assert forgotten == {"effect": "forget_reply", "record": "1:old"}
    assert summary(document) == f"seq 2.5: reply 1:i (of user:1, {len(record)} B); forget_reply 1:old"


def test_sessions_are_shown_without_the_replies() -> None:
    effects = [(SESSION, b"\x01session", 4, 99, [5, b"reply", 7, b"reply"]), (FORGET_SESSION, b"\x02", 99)]
    document = describe(SHARD, Entry(b"\x00" + encode_batch(Batch(2, 5, 0, effects)), 9, 2))
    kept, forgotten = document["batch"]["effects"]
    assert kept == {"effect": "session", "session": b"\x01session".hex(), "floor": 4, "numbers": [5, 7]}
    assert forgotten == {"effect": "forget_session", "session": "02"}


def test_dump_is_a_line_an_entry(data_dir: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "wal", "dump", data_dir / "groups" / SHARD)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 4 + BATCHES
    fourth = f"        4     2 batch    {len(batch(1)):>9}  seq 2.2: put user:1 (7 B json); remove gone"
    assert lines[4].startswith(fourth)


def test_dump_tells_what_it_cannot_read_and_goes_on_behind_it(data_dir: Path, capsys: Capture) -> None:
    path = segments(data_dir)[1]
    flip(path, path.stat().st_size - 1)
    code, out, err = run(capsys, "wal", "dump", "--json", data_dir / "groups" / SHARD)
    indexes = [json.loads(line)["index"] for line in out.splitlines()]
    assert code == 1
    assert f"{path}: damaged at byte" in err
    assert indexes[-1] == 3 + BATCHES and 1 <= 3 + BATCHES - len(indexes) <= 3


def test_dump_tells_a_torn_tail_and_does_not_fail(data_dir: Path, capsys: Capture) -> None:
    with segments(data_dir)[-1].open("ab") as file:
        file.write(b"\0\0")
    code, _, err = run(capsys, "wal", "dump", data_dir / "groups" / SHARD)
    assert code == 0 and "torn tail at byte" in err


def test_segments_from_before_the_log_started_over_are_not_dumped(data_dir: Path, capsys: Capture) -> None:
    old = {path: path.read_bytes() for path in segments(data_dir)}
    group = opened(data_dir).open(SHARD)
    take(group, SHARD, 40, shard_blocks())
    group.log.reset(40, 2)
    group.log.append(Entry(bytes([NO_OP]), 41, 2))
    group.log.close()
    for path, data in old.items():
        path.write_bytes(data)
    assert [line["index"] for line in dumped(capsys, data_dir / "groups" / SHARD)] == [41]


class CountingFiles(OsFiles):
    """Counts the files that were read as a whole."""

    def __init__(self) -> None:
        self.whole: list[str] = []

    def read(self, path: str) -> bytes:
        self.whole.append(path)
        return super().read(path)


def test_one_segment_is_read_at_a_time(data_dir: Path) -> None:
    files = CountingFiles()
    folder = str(data_dir / "groups" / SHARD / "log")
    entries = entries_of(files, locate(files, folder).groups[0])
    next(entries)
    assert files.whole == [str(segments(data_dir)[0])]
    for _ in entries:
        pass
    assert files.whole == [str(path) for path in segments(data_dir)] and len(files.whole) > 2


def test_an_entry_that_cannot_be_decoded_is_shown_all_the_same() -> None:
    for data in (b"\0garbage", b"\0", b"\x02\xc1", b"", b"\x09x"):
        document = describe(SHARD, Entry(data, 5, 2))
        assert (document["index"], document["bytes"]) == (5, len(data))
        assert isinstance(summary(document), str)
    assert "cannot be decoded" in summary(describe(SHARD, Entry(b"\0garbage", 5, 2)))
    assert "cannot be decoded" in summary(describe(META, Entry(b"\0garbage", 5, 2)))


# -- snapshot inspect --------------------------------------------------------------------------------


def test_snapshot_inspect_shows_what_a_snapshot_is_of(data_dir: Path, capsys: Capture) -> None:
    path = snapshots(data_dir)[1]
    code, out, _ = run(capsys, "snapshot", "inspect", path, "-o", "json")
    assert code == 0
    found = json.loads(out)
    assert (found["group"], found["index"], found["term"], found["keys"]) == (SHARD, 6, 2, KEYS)
    assert (found["newest_version"], found["closed_terms"], found["blocks"]) == (f"2.{KEYS}", 1, 3)
    assert (found["members"], found["file_bytes"]) == (list(map(str, MEMBERS)), path.stat().st_size)
    code, out, _ = run(capsys, "snapshot", "inspect", snapshots(data_dir, META)[0])
    assert code == 0 and f"epoch              {EMPTY.epoch}" in out


def test_every_flipped_byte_of_a_snapshot_is_told(data_dir: Path, capsys: Capture) -> None:
    path = snapshots(data_dir)[1]
    for offset in range(path.stat().st_size):
        flip(path, offset)
        code, out, err = run(capsys, "snapshot", "inspect", path)
        assert (code, out) == (1, "") and str(path) in err, offset
        flip(path, offset)
    assert run(capsys, "snapshot", "inspect", path)[0] == 0


def test_a_snapshot_whose_content_is_no_state_is_told(data_dir: Path, capsys: Capture) -> None:
    take(opened(data_dir).open(SHARD), SHARD, 9, list(shard_blocks())[:-1])
    code, _, err = run(capsys, "snapshot", "inspect", snapshots(data_dir)[-1])
    assert code == 1 and "every checksum is right, but the content makes no state" in err


# -- starting on damage ------------------------------------------------------------------------------


def test_a_node_on_damaged_replica_numbers_does_not_start_and_says_the_way_out(data_dir: Path, capsys: Capture) -> None:
    config = data_dir / "node.toml"
    addresses = "\n".join(f'{name} = "127.0.0.1:0"' for name in ("http", "rpc", "peer"))
    config.write_text(f'cluster_id = "c"\nnode_id = "n0"\ndata_dir = "{data_dir}"\n{addresses}\n')
    flip(data_dir / "groups" / "replicas", 12)
    code, _, err = run(capsys, "node", "--config", config)
    assert code == 1
    assert f"{data_dir}/groups/replicas: the checksum of the replica numbers does not match" in err
    assert "empty its whole data directory" in err


def test_a_policy_point_is_shown_with_what_it_changes() -> None:
    point = Point(9, (Namespace("x", 4),), ("old",))
    data = b"\0" + encode_batch(Batch(2, 1, 1_000, [effect_of(point)]))
    document = describe(SHARD, Entry(data, 7, 2))
    (shown,) = document["batch"]["effects"]
    assert shown["effect"] == "policy_point" and shown["epoch"] == 9 and shown["removed"] == ["old"]
    assert shown["changed"][0]["name"] == "x" and shown["changed"][0]["id"] == 4
    assert "policy_point 9" in summary(document)
