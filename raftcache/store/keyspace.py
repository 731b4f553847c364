"""A shard's keys and entries, with byte accounting, an expiry index and consistent cuts.

**A cut** is the state as of one moment, read out over many loop turns while writes go on. The keys are listed when
it is made. After that, whoever changes a key first hands the cut the entry that stood there (its *preimage*); the
cut reads a key's preimage if there is one and the live entry otherwise. Entries are immutable, so a preimage is a
reference and not a copy; what it keeps alive is charged to the memory budget until the cut is closed.

A leader's live keyspace is ahead of its committed state by the speculative writes. Their undo records, oldest
first, are the preimages that a cut of the *committed* state starts with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, Entry, entry_bytes
from raftcache.store.expire import ExpiryIndex
from raftcache.store.memory import MemoryBudget

UndoRecord: TypeAlias = tuple[bytes, Entry | None]
"""`(key, the entry that stood there or None)`."""


class Keyspace:
    """A dict of entries that knows what it costs. `get` is the dict's own, for speed."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._entries: dict[bytes, Entry] = {}
        self._cuts: list[Cut] = []
        self.expiries = ExpiryIndex()
        self.used_bytes = 0
        self.get: Callable[[bytes], Entry | None] = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def all_keys(self) -> list[bytes]:
        """All keys, in the order in which they came."""
        return list(self._entries)

    def put(self, key: bytes, entry: Entry) -> Entry | None:
        """Write; returns what stood there."""
        entries = self._entries
        old = entries.get(key)
        if self._cuts:
            self._pin(key, old)
        entries[key] = entry
        if old is None:
            old_expires_ms = 0
            grown_bytes = len(key) + len(entry.value) + ENTRY_OVERHEAD_BYTES
        else:
            old_expires_ms = old.expires_ms
            grown_bytes = len(entry.value) - len(old.value)
        self.used_bytes += grown_bytes
        self._budget.used_bytes += grown_bytes
        if entry.expires_ms != old_expires_ms:
            self._reindex(key, old_expires_ms, entry.expires_ms)
        return old

    def remove(self, key: bytes) -> Entry | None:
        """Remove; returns what stood there, or None where nothing did."""
        old = self._entries.get(key)
        if old is None:
            return None
        if self._cuts:
            self._pin(key, old)
        del self._entries[key]
        freed_bytes = entry_bytes(key, old.value)
        self.used_bytes -= freed_bytes
        self._budget.used_bytes -= freed_bytes
        if old.expires_ms:
            self.expiries.discard(key, old.expires_ms)
        return old

    def restore(self, key: bytes, old: Entry | None) -> None:
        """Undo one change: put back what stood there before it."""
        if old is None:
            self.remove(key)
        else:
            self.put(key, old)

    def adopt(self, other: Keyspace) -> None:
        """Take over the content of `other`, which must not be used any more. Open cuts keep the old content."""
        self._budget.used_bytes += other.used_bytes - self.used_bytes
        self._entries, self.get = other._entries, other._entries.get
        self.expiries, self.used_bytes = other.expiries, other.used_bytes
        self._cuts = []

    def cut(self, undo: Iterable[UndoRecord] = ()) -> Cut:
        """The state as of now, less the changes that `undo` (oldest first) tells how to take back."""
        cut = Cut(self._entries, self._budget, self._cuts)
        for key, old in undo:
            cut.pin(key, old)
        cut.list_keys()
        self._cuts.append(cut)
        return cut

    def _pin(self, key: bytes, old: Entry | None) -> None:
        for cut in self._cuts:
            cut.pin(key, old)

    def _reindex(self, key: bytes, old_expires_ms: int, expires_ms: int) -> None:
        if old_expires_ms:
            self.expiries.discard(key, old_expires_ms)
        if expires_ms:
            self.expiries.add(key, expires_ms)


class Cut:
    """The keyspace as of one moment. Made by `Keyspace.cut`; close it when done."""

    def __init__(self, entries: dict[bytes, Entry], budget: MemoryBudget, open_cuts: list[Cut]) -> None:
        self._entries = entries
        self._budget = budget
        self._open_cuts = open_cuts
        self._preimages: dict[bytes, Entry | None] = {}
        self._keys: list[bytes] = []
        self.pinned_bytes = 0

    def list_keys(self) -> None:
        """Fix which keys there may be: the live ones, and those that only a preimage knows."""
        entries = self._entries
        self._keys = list(entries)
        self._keys.extend(key for key in self._preimages if key not in entries)

    def pin(self, key: bytes, old: Entry | None) -> None:
        """Keep what stood at `key`, unless an earlier change has already told."""
        if key in self._preimages:
            return
        self._preimages[key] = old
        size_bytes = entry_bytes(key, old.value) if old is not None else entry_bytes(key, b"")
        self.pinned_bytes += size_bytes
        self._budget.used_bytes += size_bytes

    def rows(self) -> Iterator[tuple[bytes, Entry | None]]:
        """Every key that may be in the cut with its entry; None where there was none after all."""
        preimages, entries = self._preimages, self._entries
        for key in self._keys:
            yield key, preimages[key] if key in preimages else entries.get(key)

    def close(self) -> None:
        """Let go of the preimages. Harmless when done twice."""
        if self in self._open_cuts:
            self._open_cuts.remove(self)
        self._budget.used_bytes -= self.pinned_bytes
        self.pinned_bytes = 0
        self._preimages, self._keys = {}, []
