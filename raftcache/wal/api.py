"""What a group keeps: its log, its term and vote, its snapshots. On files or in memory, the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One log entry. `data` starts with one byte that tells the engine its kind."""

    data: bytes
    index: int  # type: ignore[assignment]
    term: int


class SnapshotMeta(NamedTuple):
    """What a snapshot is of: the state of `group_id` after applying `index`, and its members as of then."""

    group_id: str
    index: int  # type: ignore[assignment]
    term: int
    members: tuple[str, ...]


class Log(Protocol):
    """The entries after a base, without holes.

    `append` may buffer; `flush` hands all to the operating system with as few writes as can be, after which a
    killed process loses nothing. Any OSError is raised as `LogWriteFailed` and leaves the log as flushed last.
    """

    base_index: int
    base_term: int
    size_bytes: int

    def entries(self) -> list[Entry]:
        """All entries kept, oldest first; the first has index `base_index + 1`. For start-up."""

    def append(self, entry: Entry) -> None:
        """Add the next entry: its index is the last one plus one."""

    def flush(self) -> None:
        """Hand what was appended to the operating system."""

    def truncate_suffix(self, first_dropped: int) -> None:
        """Drop the entries from `first_dropped` on (a conflict, by Raft's rule)."""

    def truncate_prefix(self, last_dropped: int) -> int:
        """Drop whole segments that hold nothing over `last_dropped`; returns the new base index."""

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop everything and start over after a base (a snapshot was installed)."""

    def close(self) -> None:
        """Flush and let go of the files."""


class VoteStore(Protocol):
    """The current term and the vote given in it; written before any message that reflects them."""

    def load(self) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved."""

    def save(self, term: int, voted_for: str | None) -> None:
        """Keep both, atomically. Raises `LogWriteFailed`."""


class SnapshotWriter(Protocol):
    """A snapshot under construction. Its methods may run off the loop, one at a time."""

    def add_block(self, block: bytes) -> None:
        """Compress, checksum and write one block."""

    def commit(self) -> None:
        """Finish and put it in place atomically: from now on it is the latest."""

    def abort(self) -> None:
        """Throw away what was written."""


class SnapshotReceiver(Protocol):
    """A snapshot that arrives from a leader, as raw bytes in order."""

    received: int

    def write(self, offset: int, data: bytes) -> None:
        """Keep the next chunk. `offset` must be `received`: raises ValueError otherwise."""

    def finish(self) -> SnapshotMeta:
        """Verify every checksum; returns what it is of. Not yet the latest. Raises `SnapshotDamaged`."""

    def blocks(self) -> Iterator[bytes]:
        """The uncompressed blocks, after `finish`."""

    def commit(self) -> None:
        """Put it in place atomically: from now on it is the latest."""

    def abort(self) -> None:
        """Throw it away."""


class SnapshotStore(Protocol):
    """A group's snapshots; the last two are kept."""

    def latest(self) -> SnapshotMeta | None:
        """The newest whole snapshot."""

    def size(self, meta: SnapshotMeta) -> int:
        """Its raw size in bytes."""

    def read(self, meta: SnapshotMeta, offset: int, count: int) -> bytes:
        """Raw bytes, for transfer to another replica."""

    def blocks(self, meta: SnapshotMeta) -> Iterator[bytes]:
        """The uncompressed blocks; raises `SnapshotDamaged` on a bad checksum."""

    def writer(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Start a new snapshot."""

    def receiver(self) -> SnapshotReceiver:
        """Start to receive one; an unfinished earlier one is thrown away."""


class GroupStorage(NamedTuple):
    """All that one group keeps."""

    log: Log
    votes: VoteStore
    snapshots: SnapshotStore
