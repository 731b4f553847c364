"""A group's snapshots, on files.

A snapshot is written beside the others under a temporary name, synced, and renamed: it is there as a whole or not
at all, and the log is cut behind it only afterwards. The last two are kept, so that a transfer to another
replica can end although a newer one was taken meanwhile.

Threads. Writers and receivers may work off the loop. Each has a file and a lock of its own, so that one can be
thrown away while a step of it still runs. The only state they share with the store is the tuple of kept
snapshots, which `commit` replaces in one assignment, under the store's lock: readers need none.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress

from raftcache.wal.api import SnapshotMeta
from raftcache.wal.errors import SnapshotDamaged
from raftcache.wal.files import TMP_SUFFIX, AppendFile, Files, remove_leftovers
from raftcache.wal.snapshot_format import (
    MAX_HEADER_BYTES,
    READ_CHUNK_BYTES,
    TRAILER_BYTES,
    SnapshotEncoder,
    decode_blocks,
    decode_meta,
    is_trailer,
    newest_two,
    verify,
)

SNAPSHOT_SUFFIX = ".snap"

_logger = logging.getLogger("raftcache.wal")


class _Draft:
    """A file that has no name yet. After `discard` every other call raises ValueError."""

    def __init__(self, files: Files, path: str) -> None:
        self.path = path
        self._files = files
        self._lock = threading.Lock()
        self._discarded = False
        self._handle: AppendFile | None = files.create(path)

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._handle is None:
                raise ValueError(f"{self.path}: the snapshot is finished or thrown away")
            self._handle.write(data)

    def seal(self) -> None:
        """Sync and close: nothing more can be written. Harmless when done twice."""
        with self._lock:
            if self._handle is not None:
                self._handle.sync()
                self._close()

    def publish(self, path: str) -> None:
        with self._lock:
            if self._discarded:
                raise ValueError(f"{self.path}: the snapshot was thrown away")
            self._files.rename(self.path, path)
            self._discarded = True

    def discard(self) -> None:
        with self._lock:
            if not self._discarded:
                self._discarded = True
                self._close()
                with suppress(OSError):
                    self._files.remove(self.path)

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


class FileSnapshots:
    """See `wal.api.SnapshotStore`. Reading a snapshot that is no longer kept raises FileNotFoundError."""

    def __init__(self, files: Files, directory: str, group_id: str) -> None:
        """Find what is there. Raises `SnapshotDamaged` where the newest snapshot is not whole, OSError."""
        self.group_id = group_id
        self._files = files
        self._directory = directory
        self._kept: tuple[SnapshotMeta, ...] = ()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._receiver: FileSnapshotReceiver | None = None
        files.makedirs(directory)
        remove_leftovers(files, directory)
        self._load()

    def _load(self) -> None:
        names = [name for name in self._files.listdir(self._directory) if name.endswith(SNAPSHOT_SUFFIX)]
        for name in names[-2:]:
            try:
                self._kept += (self._check(f"{self._directory}/{name}"),)
            except SnapshotDamaged as error:
                if name == names[-1]:
                    raise
                _logger.warning("an older snapshot is removed: %s", error)
        self._remove_others()

    def _check(self, path: str) -> SnapshotMeta:
        """The meta of a snapshot whose name, header and end are right; `blocks` checks the rest."""
        meta = decode_meta(self._files.read_range(path, 0, MAX_HEADER_BYTES), path)
        size = self._files.size(path)
        if not is_trailer(self._files.read_range(path, max(0, size - TRAILER_BYTES), TRAILER_BYTES)):
            raise SnapshotDamaged(path, size, "the snapshot is cut short")
        if meta.group_id != self.group_id or self._path(meta) != path:
            reason = f"the snapshot is of entry {meta.index} of group {meta.group_id!r}, against its name"
            raise SnapshotDamaged(path, 0, reason)
        return meta

    def _path(self, meta: SnapshotMeta) -> str:
        return f"{self._directory}/{meta.index:016x}{SNAPSHOT_SUFFIX}"

    # -- reading ---------------------------------------------------------------------------------

    def latest(self) -> SnapshotMeta | None:
        """The newest whole snapshot."""
        return self._kept[-1] if self._kept else None

    def size(self, meta: SnapshotMeta) -> int:
        """Its raw size in bytes."""
        return self._files.size(self._path(meta))

    def read(self, meta: SnapshotMeta, offset: int, count: int) -> bytes:
        """Raw bytes, for transfer to another replica; fewer than `count` only at the end."""
        return self._files.read_range(self._path(meta), offset, count)

    def blocks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """The uncompressed blocks; raises `SnapshotDamaged` where it is not what was written."""
        path = self._path(meta)
        return decode_blocks(self.pieces(path), path)

    def pieces(self, path: str) -> Iterator[bytes]:
        """A file's content in pieces of bounded size."""
        offset = 0
        while piece := self._files.read_range(path, offset, READ_CHUNK_BYTES):
            yield piece
            offset += len(piece)

    # -- writing ---------------------------------------------------------------------------------

    def writer(self, meta: SnapshotMeta) -> FileSnapshotWriter:
        """Start a new snapshot. Raises OSError; ValueError for a meta over its bound."""
        encoder = SnapshotEncoder(meta)
        header = encoder.header()
        draft = self._draft()
        try:
            draft.write(header)
        except OSError:
            draft.discard()
            raise
        return FileSnapshotWriter(self, meta, draft, encoder)

    def forget_below(self, index: int) -> None:
        """Nothing: a start needs the newest, and a transfer under way the one before it."""

    def receiver(self) -> FileSnapshotReceiver:
        """Start to receive one; an unfinished earlier one is thrown away. Raises OSError."""
        if self._receiver is not None:
            self._receiver.abort()
        self._receiver = FileSnapshotReceiver(self, self._draft())
        return self._receiver

    def _draft(self) -> _Draft:
        return _Draft(self._files, f"{self._directory}/{next(self._numbers)}{TMP_SUFFIX}")

    def publish(self, meta: SnapshotMeta, draft: _Draft) -> None:
        """Put a sealed draft in place. A rename and a sync of the directory; on any thread. Raises OSError."""
        with self._lock:
            draft.publish(self._path(meta))
            self._files.sync_dir(self._directory)
            self._kept = newest_two(self._kept, meta)
            try:
                self._remove_others()
            except OSError as error:
                _logger.warning("%s: an old snapshot stays until the next: %s", self._directory, error)

    def _remove_others(self) -> None:
        kept = {self._path(meta) for meta in self._kept}
        for name in self._files.listdir(self._directory):
            path = f"{self._directory}/{name}"
            if name.endswith(SNAPSHOT_SUFFIX) and path not in kept:
                self._files.remove(path)


class FileSnapshotWriter:
    """See `wal.api.SnapshotWriter`. All methods belong off the loop: `commit` syncs the file."""

    def __init__(self, store: FileSnapshots, meta: SnapshotMeta, draft: _Draft, encoder: SnapshotEncoder) -> None:
        self._store = store
        self._meta = meta
        self._draft = draft
        self._encoder = encoder

    def add_block(self, block: bytes) -> None:
        """Compress, checksum and write one block. Raises OSError; ValueError for one that is too large."""
        self._draft.write(self._encoder.block(block))

    def commit(self) -> None:
        """Finish and put it in place atomically. Raises OSError: `abort` it then."""
        self._draft.write(self._encoder.trailer())
        self._draft.seal()
        self._store.publish(self._meta, self._draft)

    def abort(self) -> None:
        """Throw away what was written. Harmless after `commit`."""
        self._draft.discard()


class FileSnapshotReceiver:
    """See `wal.api.SnapshotReceiver`. `commit` is cheap and belongs on the loop, the rest may run off it."""

    def __init__(self, store: FileSnapshots, draft: _Draft) -> None:
        self.received = 0
        self._store = store
        self._draft = draft
        self._meta: SnapshotMeta | None = None

    def write(self, offset: int, data: bytes) -> None:
        """Keep the next chunk. Raises ValueError for any offset but `received`, OSError."""
        if offset != self.received:
            raise ValueError(f"chunk at offset {offset}, expected {self.received}")
        self._draft.write(data)
        self.received += len(data)

    def finish(self) -> SnapshotMeta:
        """Sync what arrived and verify all of it. Raises `SnapshotDamaged`, OSError: `abort` it then."""
        self._draft.seal()
        self._meta = verify(self._store.pieces(self._draft.path), self._draft.path, self._store.group_id)
        return self._meta

    def blocks(self) -> Iterator[bytes]:
        """The uncompressed blocks, after `finish` and before `commit`."""
        return decode_blocks(self._store.pieces(self._draft.path), self._draft.path)

    def commit(self) -> None:
        """Put it in place atomically: a rename. Raises ValueError before `finish`, OSError."""
        if self._meta is None:
            raise ValueError(f"{self._draft.path}: the snapshot was not verified")
        self._store.publish(self._meta, self._draft)

    def abort(self) -> None:
        """Throw it away. Harmless after `commit`."""
        self._draft.discard()
