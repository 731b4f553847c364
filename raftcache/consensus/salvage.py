"""What is left of a group whose quorum is gone for good, read from one replica's closed storage.

All of its log counts, also what it never learned to be committed: that may have been acknowledged, and nobody is left
who could say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from raftcache.consensus.journal import REGULAR
from raftcache.wal.api import GroupStorage, covered_index
from raftcache.wal.storage import require_continued


class Remains(NamedTuple):
    """The newest snapshot's blocks (None: there is none), the commands after it as `(term, payload)`, the index and
    term of the last entry, and the highest term that the replica knew."""

    blocks: Iterator[bytes] | None
    commands: list[tuple[int, bytes]]
    last_index: int
    last_term: int
    term: int


def read_remains(storage: GroupStorage) -> Remains:
    """Read an opened storage. Its log must not be in use. Raises WalDamaged where the log begins behind the snapshot,
    SnapshotDamaged while the blocks are pulled."""
    log, meta = storage.log, storage.snapshots.latest()
    base = covered_index(meta)
    require_continued(log, meta)
    commands = [
        (entry.term, entry.data[1:]) for entry in log.entries() if entry.index > base and entry.data[0] == REGULAR
    ]
    blocks = storage.snapshots.blocks(meta) if meta is not None and meta.index > 0 else None
    newest = max((log.last_index, log.last_term), (base, meta.term if meta is not None else 0))
    return Remains(blocks, commands, *newest, max(storage.votes.load()[0], newest[1]))
