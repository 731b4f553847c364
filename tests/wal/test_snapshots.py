"""Snapshots: one contract for memory, fake files and the machine's; the format; kills and failures."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wal_helpers import GROUP, was_killed

from raftcache.testing.files import FakeFiles, Kind
from raftcache.wal import snapshot_format
from raftcache.wal.api import SnapshotMeta, SnapshotStore
from raftcache.wal.errors import SnapshotDamaged
from raftcache.wal.files import OsFiles
from raftcache.wal.memory import MemorySnapshots
from raftcache.wal.snapshot_format import SnapshotDecoder, SnapshotEncoder, decode_blocks, decode_meta
from raftcache.wal.snapshots import FileSnapshots

BLOCKS = [b"a" * 1000, b"", bytes(range(256))]


def meta_at(index: int) -> SnapshotMeta:
    return SnapshotMeta(GROUP, index, 2, ("n0.a.0", "n1.b.0"))


def encoded(meta: SnapshotMeta, blocks: list[bytes]) -> bytes:
    encoder = SnapshotEncoder(meta)
    return b"".join([encoder.header(), *(encoder.block(block) for block in blocks), encoder.trailer()])


RAW = encoded(meta_at(7), BLOCKS)


@pytest.fixture(params=["memory", "fake", "os"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SnapshotStore]:
    """Makes empty stores, each of its own."""

    def make() -> SnapshotStore:
        if request.param == "memory":
            return MemorySnapshots(GROUP)
        if request.param == "fake":
            return FileSnapshots(FakeFiles(), "s", GROUP)
        number = len(list(tmp_path.iterdir()))
        return FileSnapshots(OsFiles(), str(tmp_path / str(number)), GROUP)

    return make


def write(store: SnapshotStore, index: int) -> SnapshotMeta:
    writer = store.writer(meta_at(index))
    for block in BLOCKS:
        writer.add_block(block)
    writer.commit()
    return meta_at(index)


def raw(store: SnapshotStore, meta: SnapshotMeta) -> bytes:
    return b"".join(store.read(meta, offset, 100) for offset in range(0, store.size(meta), 100))


def test_what_was_written_is_read(make_store: Callable[[], SnapshotStore]) -> None:
    store = make_store()
    assert store.latest() is None
    meta = write(store, 7)
    assert store.latest() == meta
    assert list(store.blocks(meta)) == BLOCKS
    assert raw(store, meta) == RAW
    assert store.read(meta, store.size(meta), 10) == b""


def test_nothing_is_there_before_commit_and_after_abort(make_store: Callable[[], SnapshotStore]) -> None:
    store = make_store()
    writer = store.writer(meta_at(7))
    writer.add_block(b"x")
    assert store.latest() is None
    writer.abort()
    writer.abort()
    with pytest.raises(ValueError, match="thrown away"):
        writer.add_block(b"y")
    with pytest.raises(ValueError, match="thrown away"):
        writer.commit()
    assert store.latest() is None


def test_the_last_two_are_kept(make_store: Callable[[], SnapshotStore]) -> None:
    store = make_store()
    metas = [write(store, index) for index in (3, 7, 9)]
    assert store.latest() == metas[2]
    assert list(store.blocks(metas[1])) == BLOCKS
    with pytest.raises(FileNotFoundError):
        store.size(metas[0])
    with pytest.raises(FileNotFoundError):
        list(store.blocks(metas[0]))


def test_an_older_one_that_ends_later_is_not_the_latest(make_store: Callable[[], SnapshotStore]) -> None:
    store = make_store()
    slow = store.writer(meta_at(3))
    write(store, 9)
    slow.commit()
    write(store, 9)
    assert store.latest() == meta_at(9)


@pytest.mark.parametrize("chunk", [1, 7, 100, 5000])
def test_a_transfer_arrives(make_store: Callable[[], SnapshotStore], chunk: int) -> None:
    source, target = make_store(), make_store()
    meta = write(source, 7)
    receiver = target.receiver()
    while data := source.read(meta, receiver.received, chunk):
        receiver.write(receiver.received, data)
    with pytest.raises(ValueError, match="not verified"):
        receiver.commit()
    assert receiver.finish() == meta
    assert list(receiver.blocks()) == BLOCKS
    assert target.latest() is None
    receiver.commit()
    receiver.abort()
    assert target.latest() == meta
    assert list(target.blocks(meta)) == BLOCKS


def test_a_gap_or_a_repeat_is_refused(make_store: Callable[[], SnapshotStore]) -> None:
    receiver = make_store().receiver()
    receiver.write(0, RAW[:10])
    for offset in (0, 9, 11):
        with pytest.raises(ValueError, match=f"chunk at offset {offset}, expected 10"):
            receiver.write(offset, b"x")
    assert receiver.received == 10


def test_an_unfinished_one_is_thrown_away_by_the_next(make_store: Callable[[], SnapshotStore]) -> None:
    store = make_store()
    first = store.receiver()
    first.write(0, RAW[:10])
    second = store.receiver()
    with pytest.raises(ValueError, match="thrown away"):
        first.write(10, RAW[10:])
    second.write(0, RAW)
    second.finish()
    second.commit()
    assert store.latest() == meta_at(7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (RAW[:5], "cut short"),
        (RAW[:-1], "cut short"),
        (RAW + b"x", "bytes behind the end"),
        (RAW[:-5] + b"x" + RAW[-4:], "total checksum"),
        (encoded(meta_at(7)._replace(group_id="beef"), BLOCKS), "of group 'beef', not '7c1f'"),
    ],
)
def test_a_damaged_arrival_is_refused(make_store: Callable[[], SnapshotStore], data: bytes, message: str) -> None:
    store = make_store()
    receiver = store.receiver()
    receiver.write(0, data)
    with pytest.raises(SnapshotDamaged, match=message):
        receiver.finish()
    with pytest.raises(ValueError, match="not verified"):
        receiver.commit()
    assert store.latest() is None


# -- the format ----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_the_format_round_trips_in_pieces_of_any_size(blocks: list[bytes], size: int) -> None:
    data = encoded(meta_at(1), blocks)
    pieces = [data[place : place + size] for place in range(0, len(data), size)]
    assert list(decode_blocks(pieces, "s")) == blocks


def refuses_every_flip(data: bytes) -> None:
    for place in range(len(data)):
        for mask in (1, 0x80):
            damaged = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
            with pytest.raises(SnapshotDamaged):
                list(decode_blocks([damaged], "s"))


def test_every_flipped_byte_is_found() -> None:
    refuses_every_flip(RAW)


def test_every_cut_is_found() -> None:
    for size in range(len(RAW)):
        with pytest.raises(SnapshotDamaged):
            list(decode_blocks([RAW[:size]], "s"))


def test_blocks_that_are_missing_or_out_of_order_are_found() -> None:
    encoder = SnapshotEncoder(meta_at(7))
    header, first, second, trailer = (
        encoder.header(),
        encoder.block(b"1"),
        encoder.block(b"2"),
        encoder.trailer(),
    )
    for pieces in ([header, first, trailer], [header, second, first, trailer]):
        with pytest.raises(SnapshotDamaged, match="total checksum or number of blocks"):
            list(decode_blocks(pieces, "s"))


def test_a_decoder_that_skips_the_checksum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted defect: with every checksum equal, flipped bytes pass."""
    monkeypatch.setattr(snapshot_format, "crc32", lambda data, start=0: 0)
    with pytest.raises((pytest.fail.Exception, ValueError)):
        refuses_every_flip(encoded(meta_at(7), BLOCKS))


def test_lengths_are_checked_before_they_are_used() -> None:
    header = SnapshotEncoder(meta_at(7)).header()
    huge = (snapshot_format.MAX_BLOCK_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(SnapshotDamaged, match="at most 16777216"):
        SnapshotDecoder("s").receive_data(header + huge + bytes(8))
    with pytest.raises(SnapshotDamaged, match="at most 65536"):
        SnapshotDecoder("s").receive_data(header[:10] + huge + bytes(4))


def test_what_is_over_a_bound_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_format, "MAX_BLOCK_BYTES", 10)
    with pytest.raises(ValueError, match="block of 11 bytes, at most 10"):
        SnapshotEncoder(meta_at(7)).block(b"x" * 11)
    with pytest.raises(ValueError, match="at most 65536"):
        SnapshotEncoder(meta_at(7)._replace(members=("m" * 70000,))).header()


def test_the_meta_is_read_from_the_beginning_alone() -> None:
    assert decode_meta(RAW, "s") == decode_meta(RAW[:80], "s") == meta_at(7)
    with pytest.raises(SnapshotDamaged, match="cut short"):
        decode_meta(RAW[:30], "s")


# -- files ---------------------------------------------------------------------------------------


def test_killed_anywhere_the_store_has_the_old_or_the_new_snapshot() -> None:
    files = FakeFiles()
    store = FileSnapshots(files, "s", GROUP)
    for index in (3, 5):
        write(store, index)
    operations = files.record()
    write(store, 7)
    seen = set()
    for place, operation in enumerate(operations):
        for torn in range(operation.size + 1):
            files = FakeFiles()
            store = FileSnapshots(files, "s", GROUP)
            for index in (3, 5):
                write(store, index)
            files.kill_at(place + 1, torn)
            assert was_killed(lambda store=store: write(store, 7))
            files.restart()
            found = FileSnapshots(files, "s", GROUP).latest()
            assert found is not None
            assert list(FileSnapshots(files, "s", GROUP).blocks(found)) == BLOCKS
            assert len(files.listdir("s")) == 2
            seen.add(found.index)
    assert seen == {5, 7}


def test_a_snapshot_is_synced_before_it_has_its_name_and_the_name_before_commit_returns() -> None:
    files = FakeFiles()
    store = FileSnapshots(files, "s", GROUP)
    operations = files.record()
    write(store, 7)
    assert [each.kind for each in operations][-4:] == ["write", "sync", "rename", "sync_dir"]


@pytest.mark.parametrize("kind", ["create", "write"])
def test_a_writer_that_cannot_start_leaves_nothing(kind: Kind) -> None:
    files = FakeFiles()
    store = FileSnapshots(files, "s", GROUP)
    files.fail_next(kind, OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        store.writer(meta_at(7))
    assert files.listdir("s") == []


@pytest.mark.parametrize("kind", ["write", "sync", "rename", "sync_dir"])
def test_a_failed_write_leaves_the_snapshot_before(kind: Kind) -> None:
    files = FakeFiles()
    store = FileSnapshots(files, "s", GROUP)
    write(store, 3)
    writer = store.writer(meta_at(7))
    files.fail_next(kind, OSError(errno.ENOSPC, "full"), partial=3)
    with pytest.raises(OSError, match="full"):
        writer.commit()
    writer.abort()
    assert store.latest() == meta_at(3)
    assert not [name for name in files.listdir("s") if name.endswith(".tmp")]
    assert list(store.blocks(meta_at(3))) == BLOCKS


def damaged_store(index: int, place: int) -> FakeFiles:
    files = FakeFiles()
    store = FileSnapshots(files, "s", GROUP)
    for each in (3, 7):
        write(store, each)
    path = f"s/{index:016x}.snap"
    files.corrupt(path, place % files.size(path))
    return files


@pytest.mark.parametrize("place", [0, 20, -1, -10])
def test_a_damaged_newest_snapshot_is_refused_at_start(place: int) -> None:
    with pytest.raises(SnapshotDamaged, match=r"0000000000000007.snap: .* the node sets this replica aside"):
        FileSnapshots(damaged_store(7, place), "s", GROUP)


def test_a_damaged_block_is_refused_when_it_is_read() -> None:
    store = FileSnapshots(damaged_store(7, 80), "s", GROUP)
    with pytest.raises(SnapshotDamaged, match="checksum of a snapshot block"):
        list(store.blocks(meta_at(7)))


def test_a_damaged_older_snapshot_is_removed_with_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    files = damaged_store(3, 0)
    assert FileSnapshots(files, "s", GROUP).latest() == meta_at(7)
    assert files.listdir("s") == ["0000000000000007.snap"]
    assert "an older snapshot is removed" in caplog.text


def test_a_snapshot_under_another_name_or_of_another_group_is_refused() -> None:
    files = FakeFiles()
    write(FileSnapshots(files, "s", GROUP), 7)
    with pytest.raises(SnapshotDamaged, match="of group '7c1f', against its name"):
        FileSnapshots(files, "s", "beef")
    files.rename("s/0000000000000007.snap", "s/0000000000000008.snap")
    with pytest.raises(SnapshotDamaged, match="against its name"):
        FileSnapshots(files, "s", GROUP)
