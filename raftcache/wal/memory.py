"""What a group keeps where there is no disk: the contracts of `wal.api`, in memory.

Snapshots stay in the bytes that would be in the file, so that they are as small, are checked the same way and
travel the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from raftcache.wal.api import Entry, SnapshotMeta, SyncWork
from raftcache.wal.records import RECORD_OVERHEAD_BYTES
from raftcache.wal.snapshot_format import READ_CHUNK_BYTES, SnapshotEncoder, decode_blocks, newest_two, verify


class MemoryLog:
    """See `wal.api.Log`. A segment is one entry here, so a prefix is dropped exactly. Everything counts as synced."""

    on_disk = False

    def __init__(self) -> None:
        self.base_index, self.base_term, self.size_bytes = 0, 0, 0
        self._entries: list[Entry] = []

    @property
    def last_index(self) -> int:
        """The index of the last entry; the base where there is none."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry; the base's where there is none."""
        return self._entries[-1].term if self._entries else self.base_term

    @property
    def synced_index(self) -> int:
        """The last index: as far as it can be."""
        return self.last_index

    def entries(self) -> list[Entry]:
        """All entries kept, oldest first."""
        return list(self._entries)

    def append(self, entry: Entry) -> None:
        """Add the next entry."""
        assert entry.index == self.last_index + 1, "a hole in the log"
        self._entries.append(entry)
        self.size_bytes += RECORD_OVERHEAD_BYTES + len(entry.data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def truncate_suffix(self, first_dropped: int) -> None:
        """Drop the entries from `first_dropped` on."""
        assert first_dropped > self.base_index, "the base would be dropped"
        keep = first_dropped - self.base_index - 1
        self._forget(self._entries[keep:])
        del self._entries[keep:]

    def drop_oldest(self, last_dropped: int) -> Callable[[], None] | None:
        """Drop all that may go: there is nothing to wait for."""
        self.truncate_prefix(last_dropped)
        return None

    def truncate_prefix(self, last_dropped: int) -> int:
        """Drop the entries up to `last_dropped`; returns the new base index."""
        dropped = self._entries[: max(0, last_dropped - self.base_index)]
        if dropped:
            self._forget(dropped)
            del self._entries[: len(dropped)]
            self.base_index, self.base_term = dropped[-1].index, dropped[-1].term
        return self.base_index

    def _forget(self, entries: list[Entry]) -> None:
        self.size_bytes -= sum(RECORD_OVERHEAD_BYTES + len(entry.data) for entry in entries)

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop everything and start over behind a base."""
        self._entries.clear()
        self.base_index, self.base_term, self.size_bytes = base_index, base_term, 0

    def sync_work(self) -> SyncWork | None:
        """Nothing is unsynced."""
        return None

    def synced(self, work: SyncWork) -> None:
        """No work was ever handed out."""

    sync_failed = flush

    def mend_work(self, tail: Sequence[Entry]) -> Callable[[], None]:
        """Nothing fails here."""
        return lambda: None

    def close(self) -> None:
        """Nothing is held."""


class MemoryVotes:
    """See `wal.api.VoteStore`."""

    def __init__(self) -> None:
        self._saved: tuple[int, str | None] = (0, None)

    def load(self) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved."""
        return self._saved

    def save(self, term: int, voted_for: str | None) -> None:
        """Keep both."""
        self._saved = (term, voted_for)

    def synced(self) -> bool:
        """Always: as far as it can be."""
        return True

    def sync_work(self) -> Callable[[], None] | None:
        """Nothing is unsynced."""
        return None


class MemorySnapshots:
    """See `wal.api.SnapshotStore`. Reading a snapshot that is no longer kept raises FileNotFoundError."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self._kept: tuple[tuple[SnapshotMeta, bytes], ...] = ()
        self._lock = threading.Lock()
        self._receiver: MemorySnapshotReceiver | None = None

    def latest(self) -> SnapshotMeta | None:
        """The newest snapshot."""
        return self._kept[-1][0] if self._kept else None

    def _data(self, meta: SnapshotMeta) -> bytes:
        for kept, data in self._kept:
            if kept == meta:
                return data
        raise FileNotFoundError(f"the snapshot at entry {meta.index} is no longer kept")

    def size(self, meta: SnapshotMeta) -> int:
        """Its raw size in bytes."""
        return len(self._data(meta))

    def read(self, meta: SnapshotMeta, offset: int, count: int) -> bytes:
        """Raw bytes, for transfer to another replica; fewer than `count` only at the end."""
        return self._data(meta)[offset : offset + count]

    def blocks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """The uncompressed blocks; raises `SnapshotDamaged` where they are not what was written."""
        return decode_blocks(_pieces(self._data(meta)), f"snapshot at entry {meta.index}, in memory")

    def writer(self, meta: SnapshotMeta) -> MemorySnapshotWriter:
        """Start a new snapshot."""
        return MemorySnapshotWriter(self, meta)

    def forget_below(self, index: int) -> None:
        """Let go of those of older entries."""
        with self._lock:
            self._kept = tuple([each for each in self._kept if each[0].index >= index])

    def receiver(self) -> MemorySnapshotReceiver:
        """Start to receive one; an unfinished earlier one is thrown away."""
        if self._receiver is not None:
            self._receiver.abort()
        self._receiver = MemorySnapshotReceiver(self)
        return self._receiver

    def publish(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a whole snapshot; on any thread: readers see the tuple before or after."""
        with self._lock:
            known = dict(self._kept)
            known = {each: each_data for each, each_data in known.items() if each.index != meta.index}
            known[meta] = data
            self._kept = tuple((each, known[each]) for each in newest_two(tuple(known), meta))


class MemorySnapshotWriter:
    """See `wal.api.SnapshotWriter`."""

    def __init__(self, store: MemorySnapshots, meta: SnapshotMeta) -> None:
        self._store = store
        self._meta = meta
        self._encoder = SnapshotEncoder(meta)
        self._pieces: list[bytes] | None = [self._encoder.header()]

    def _open_pieces(self) -> list[bytes]:
        if self._pieces is None:
            raise ValueError("the snapshot is finished or thrown away")
        return self._pieces

    def add_block(self, block: bytes) -> None:
        """Compress and checksum one block. Raises ValueError for one that is too large."""
        self._open_pieces().append(self._encoder.block(block))

    def commit(self) -> None:
        """Finish: from now on it is the latest."""
        data = b"".join([*self._open_pieces(), self._encoder.trailer()])
        self._pieces = None
        self._store.publish(self._meta, data)

    def abort(self) -> None:
        """Throw away what was written. Harmless after `commit`."""
        self._pieces = None


class MemorySnapshotReceiver:
    """See `wal.api.SnapshotReceiver`."""

    def __init__(self, store: MemorySnapshots) -> None:
        self.received = 0
        self._store = store
        self._buffer: bytearray | None = bytearray()
        self._data = b""
        self._meta: SnapshotMeta | None = None

    def write(self, offset: int, data: bytes) -> None:
        """Keep the next chunk. Raises ValueError for any offset but `received`."""
        if offset != self.received:
            raise ValueError(f"chunk at offset {offset}, expected {self.received}")
        if self._buffer is None:
            raise ValueError("the snapshot is finished or thrown away")
        self._buffer += data
        self.received += len(data)

    def finish(self) -> SnapshotMeta:
        """Verify every checksum. Raises `SnapshotDamaged`."""
        if self._buffer is not None:
            self._data, self._buffer = bytes(self._buffer), None
        self._meta = verify(_pieces(self._data), "snapshot received in memory", self._store.group_id)
        return self._meta

    def blocks(self) -> Iterator[bytes]:
        """The uncompressed blocks, after `finish`."""
        return decode_blocks(_pieces(self._data), "snapshot received in memory")

    def commit(self) -> None:
        """From now on it is the latest. Raises ValueError before `finish` and after `abort`."""
        if self._meta is None:
            raise ValueError("the snapshot was not verified, or was thrown away")
        self._store.publish(self._meta, self._data)

    def abort(self) -> None:
        """Throw it away. Harmless after `commit`."""
        self._buffer, self._data, self._meta = None, b"", None


def _pieces(data: bytes) -> Iterator[bytes]:
    for offset in range(0, len(data), READ_CHUNK_BYTES):
        yield data[offset : offset + READ_CHUNK_BYTES]
