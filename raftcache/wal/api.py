"""What a group keeps: its log, its term and vote, its snapshots. On files or in memory, the same contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


def covered_index(snapshot: SnapshotMeta | None) -> int:
    """The entry that a group's newest snapshot is of; 0 where there is none."""
    return 0 if snapshot is None else snapshot.index


class SyncWork(Protocol):
    """Brings what a log had flushed to the disk. One that fails leaves the log in need of `mend_work`."""

    index: int
    """The last entry covered."""

    def run(self) -> None:
        """Off the loop. Raises OSError."""


class Log(Protocol):
    """The entries after a base, without holes.

    `append` may buffer; `flush` hands all to the operating system with as few writes as can be, after which a
    killed process loses nothing. Neither syncs: everything up to `synced_index` survives a power loss as well. Any
    OSError is raised as `LogWriteFailed` and leaves the log as flushed last.
    """

    base_index: int
    base_term: int
    size_bytes: int
    on_disk: bool
    """False for a log in memory, which is always as synced as it can be."""

    @property
    def last_index(self) -> int:
        """The newest entry, buffered ones included; the base where there is none."""

    @property
    def last_term(self) -> int:
        """Its term."""

    @property
    def synced_index(self) -> int:
        """The newest entry that survives a power loss, with all before it."""

    def entries(self) -> list[Entry]:
        """All entries kept, oldest first; the first has index `base_index + 1`. For start-up: the first call hands
        over what opening the log has read, later ones read the files."""

    def append(self, entry: Entry) -> None:
        """Add the next entry: its index is the last one plus one."""

    def flush(self) -> None:
        """Hand what was appended to the operating system."""

    def truncate_suffix(self, first_dropped: int) -> None:
        """Drop the entries from `first_dropped` on (a conflict, by Raft's rule)."""

    def truncate_prefix(self, last_dropped: int) -> int:
        """Drop whole segments that hold nothing over `last_dropped`; returns the new base index."""

    def drop_oldest(self, last_dropped: int) -> Callable[[], None] | None:
        """Drop one segment that holds nothing over `last_dropped`, without the wait that removing a large file is: it
        is out of the log at once, and what is returned removes it, off the loop. None where none is left to drop."""

    def reset(self, base_index: int, base_term: int) -> None:
        """Drop everything and start over after a base (a snapshot was installed)."""

    def sync_work(self) -> SyncWork | None:
        """What would sync all that was flushed; None where nothing is unsynced. The loop may append, rotate, cut and
        drop while it runs."""

    def synced(self, work: SyncWork) -> None:
        """`work.run()` has returned: advance `synced_index`. Does nothing where the log was cut, started over or
        mended since `work` was made."""

    def sync_failed(self) -> None:
        """`work.run()` has raised: what it covered is not trusted any more, and `mend_work` must be done before
        anything else is written."""

    def mend_work(self, tail: Sequence[Entry]) -> Callable[[], None]:
        """What brings the log back after a `LogWriteFailed` or a failed sync; to be run off the loop while nobody
        else touches the log.

        `tail` are the newest entries in memory, without holes, as far back as the caller has them. Afterwards the
        log ends with them, everything is synced, and it goes on in a new segment. Raises OSError while the disk still
        fails, and may be called again then; `WalDamaged` where an entry can be read neither from memory nor from
        disk.
        """

    def close(self) -> None:
        """Flush and let go of the files."""


class VoteStore(Protocol):
    """The current term and the vote given in it; synced before any message that reflects them."""

    def load(self) -> tuple[int, str | None]:
        """`(term, voted_for)`; `(0, None)` where nothing was saved."""

    def save(self, term: int, voted_for: str | None) -> None:
        """Keep both: at once in memory, on disk once a `sync_work` has run. Never raises."""

    def synced(self) -> bool:
        """Whether what was saved last for this group is on disk."""

    def sync_work(self) -> Callable[[], None] | None:
        """What would write and sync the file that all groups share; None where nothing is unsynced. Off the loop;
        raises OSError, after which it may be tried again."""


class Suspicion(Protocol):
    """Whether this replica may have forgotten what it acknowledged: it was started under another boot id after an
    unclean end, and did not sync always, or did and a torn tail was cut all the same."""

    active: bool

    def lift(self) -> None:
        """It holds a commit index that a leader sent after its start. Small, on the loop; never raises: where the
        mark cannot be removed, it stays for the next start."""


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

    def forget_below(self, index: int) -> None:
        """Let go of those of older entries where they are in memory: no log goes on from them. A disk keeps them."""

    def receiver(self) -> SnapshotReceiver:
        """Start to receive one; an unfinished earlier one is thrown away."""


class GroupStorage(NamedTuple):
    """All that one group keeps."""

    log: Log
    votes: VoteStore
    snapshots: SnapshotStore
    suspicion: Suspicion
