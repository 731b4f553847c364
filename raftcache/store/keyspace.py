"""A shard's keys and entries, with byte accounting, an expiry index and consistent cuts.

**Pages.** The keys are spread over `PAGES` dicts by a checksum. Whatever must look at all of them does so a page at a
time, and no step of it takes longer for there being a million: listing them, reading a cut, letting go of an old
state, and growing, for a dict that grows moves all that it holds at once. A checksum and not Python's own hash,
which differs from process to process: the same writes shall make the same snapshot. Keys that were chosen to meet in
one page make its step longer and do no other harm.

**A cut** is the state as of one moment, read out page by page over many loop turns while writes go on. Whoever changes
a key of a page not read yet first hands the cut the entry that stood there (its *preimage*); a page is what its
preimages say and what is live otherwise. Once it is read its preimages are let go, and its changes concern the cut no
more. Entries are immutable, so a preimage is a reference and not a copy; what it keeps alive is charged to the memory
budget.

A leader's live keyspace is ahead of its committed state by the speculative writes. Their undo records, oldest
first, are the preimages that a cut of the *committed* state starts with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias
from zlib import crc32

from raftcache.commands.types import SCAN_PAGES
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, TTL_OVERHEAD_BYTES, Entry, TaggedEntry, entry_bytes
from raftcache.store.expire import ExpiryIndex
from raftcache.store.memory import MemoryBudget
from raftcache.store.packing import Held, packed, unpacked
from raftcache.store.tags import Families
from raftcache.store.tenants import Tenants
from raftcache.store.trash import Parts, drop_at_once

PAGES: Final = SCAN_PAGES
"""A power of two. A million keys make a thousand a page, which a step handles in well under a millisecond."""

_PAGE_MASK: Final = PAGES - 1

UndoRecord: TypeAlias = tuple[bytes, Entry | None]
"""`(key, the entry that stood there or None)`."""

Page: TypeAlias = dict[bytes, Held]
Row: TypeAlias = tuple[bytes, Entry]


class Keyspace:
    """The pages, and what they cost. `let_go(parts)` takes what is not needed any more: see `trash`."""

    def __init__(
        self,
        budget: MemoryBudget,
        let_go: Callable[[Parts], None] = drop_at_once,
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """`random()`, uniform in [0, 1), is for the tenants' orders."""
        self._budget = budget
        self._random = random
        self.tenants = Tenants(random)
        self._let_go = let_go
        self._pages: list[Page] = [{} for _ in range(PAGES)]
        self._cuts: list[Cut] = []
        self._count = 0
        self.expiries = ExpiryIndex()
        self.families = Families()
        self.used_bytes = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> Entry | None:
        """What stands at `key`."""
        held = self._pages[crc32(key) & _PAGE_MASK].get(key)
        return None if held is None else unpacked(held)

    def all_keys(self) -> list[bytes]:
        """All keys, sorted. Slow: for tests and tools."""
        return sorted(key for page in self._pages for key in page)

    def keys_of_page(self, number: int) -> list[bytes]:
        """The keys of page `number`, 0 to `PAGES` - 1, in the order in which they came."""
        return list(self._pages[number])

    def rows_of_page(self, number: int) -> list[Row]:
        """The keys of page `number` with their entries."""
        return [(key, unpacked(held)) for key, held in self._pages[number].items()]

    def put(self, key: bytes, entry: Entry) -> Entry | None:
        """Write; returns what stood there."""
        number = crc32(key) & _PAGE_MASK
        page = self._pages[number]
        held = page.get(key)
        old = None if held is None else unpacked(held)
        if self._cuts:
            self._pin(number, key, old)
        page[key] = packed(entry)
        expires_ms = entry.expires_ms
        grown_bytes = len(key) + len(entry.value) + (TTL_OVERHEAD_BYTES if expires_ms else ENTRY_OVERHEAD_BYTES)
        if type(entry) is TaggedEntry:
            grown_bytes += self.families.entered(entry)
        if old is None:
            self._count += 1
            old_expires_ms = 0
            self.tenants.entered(key, entry, grown_bytes)
        else:
            old_expires_ms = old.expires_ms
            grown_bytes = self._replaced(key, old, entry, grown_bytes)
        self.used_bytes += grown_bytes
        self._budget.used_bytes += grown_bytes
        if expires_ms != old_expires_ms:
            self._reindex(key, old_expires_ms, expires_ms)
        return old

    def _replaced(self, key: bytes, old: Entry, entry: Entry, size_bytes: int) -> int:
        """`entry`, which is charged so much, stands where `old` stood; returns by how much that is more."""
        old_bytes = self._cost_of(key, old)
        if old.namespace_id == entry.namespace_id:
            self.tenants.replaced(key, old, entry, size_bytes - old_bytes)
        else:
            self.tenants.left(key, old, old_bytes)
            self.tenants.entered(key, entry, size_bytes)
        return size_bytes - old_bytes

    def _cost_of(self, key: bytes, old: Entry) -> int:
        """What was charged for an entry that goes."""
        overhead_bytes = TTL_OVERHEAD_BYTES if old.expires_ms else ENTRY_OVERHEAD_BYTES
        size_bytes = len(key) + len(old.value) + overhead_bytes
        return size_bytes + self.families.left(old) if type(old) is TaggedEntry else size_bytes

    def remove(self, key: bytes, evicted: bool = False) -> Entry | None:
        """Remove; returns what stood there, or None where nothing did. `evicted`: that is why."""
        number = crc32(key) & _PAGE_MASK
        page = self._pages[number]
        held = page.get(key)
        if held is None:
            return None
        old = unpacked(held)
        if self._cuts:
            self._pin(number, key, old)
        del page[key]
        self._count -= 1
        freed_bytes = self._cost_of(key, old)
        self.tenants.left(key, old, freed_bytes, evicted)
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

    def load(self, rows: list[Row]) -> None:
        """Put many keys of which none is here yet; faster than one by one. Raises KeyError where one is."""
        pages, before = self._pages, self._count
        loaded: dict[int, list[int]] = {}
        expiring: dict[int, int] = {}
        for key, entry in rows:
            page = pages[crc32(key) & _PAGE_MASK]
            if key in page:
                raise KeyError(f"key {key!r:.80} occurs twice")
            page[key] = packed(entry)
            size_bytes = entry_bytes(key, entry)
            if entry.expires_ms:
                self.expiries.add(key, entry.expires_ms)
                expiring[entry.namespace_id] = expiring.get(entry.namespace_id, 0) + 1
            if type(entry) is TaggedEntry:
                size_bytes += self.families.entered(entry)
            loaded.setdefault(entry.namespace_id, []).append(size_bytes)
        self._count = before + len(rows)
        for namespace_id, sizes in loaded.items():
            self.tenants.loaded(namespace_id, len(sizes), expiring.get(namespace_id, 0), sum(sizes))
            self.used_bytes += sum(sizes)
            self._budget.used_bytes += sum(sizes)

    def adopt(self, other: Keyspace) -> None:
        """Take over the content of `other`, which must not be used any more. Open cuts keep the old content. Its
        tenants are in no order yet: `Tenants.configure` says for whom there shall be one."""
        self._budget.used_bytes += other.used_bytes - self.used_bytes
        old = self.parts()
        self._pages, self._count = other._pages, other._count
        self.expiries, self.families, self.used_bytes = other.expiries, other.families, other.used_bytes
        self.tenants, self.tenants.now_ms = other.tenants, self.tenants.now_ms
        self.tenants.draw_from(self._random)
        self._cuts.clear()
        for parts in old:
            self._let_go(parts)

    def parts(self) -> list[Parts]:
        """All that it is made of, to be let go of in steps, once this is the last that refers to it."""
        pages: Parts = list(self._pages)  # A copy of the list: an open cut reads it.
        return [pages, *self.expiries.parts(), *self.families.parts(), *self.tenants.configure({})]

    def clear(self) -> None:
        """Let go of everything, a page at a time, off the loop. The keyspace must not be used any more."""
        for page in self._pages:
            page.clear()
        self.families.clear()

    def cut(self, undo: Iterable[UndoRecord] = ()) -> Cut:
        """The state as of now, less the changes that `undo` (oldest first) tells how to take back."""
        cut = Cut(self._pages, self._count, self._budget, self._cuts, self._let_go)
        for key, old in undo:
            cut.take_back(key, old)
        self._cuts.append(cut)
        return cut

    def _pin(self, number: int, key: bytes, old: Entry | None) -> None:
        for cut in self._cuts:
            cut.pin(number, key, old)

    def _reindex(self, key: bytes, old_expires_ms: int, expires_ms: int) -> None:
        if old_expires_ms:
            self.expiries.discard(key, old_expires_ms)
        if expires_ms:
            self.expiries.add(key, expires_ms)


class Cut:
    """The keyspace as of one moment. Made by `Keyspace.cut`; close it when done.

    `count` is how many keys it has, `looked_at` the work that reading it has taken so far, in keys.
    """

    def __init__(
        self,
        pages: list[Page],
        count: int,
        budget: MemoryBudget,
        open_cuts: list[Cut],
        let_go: Callable[[Parts], None],
    ) -> None:
        self.count, self.looked_at = count, 0
        self._pages = pages
        self._budget = budget
        self._open_cuts = open_cuts
        self._let_go = let_go
        self._preimages: dict[int, dict[bytes, Entry | None]] = {}
        self._pinned: dict[int, int] = {}
        self._read = 0

    @property
    def pinned_bytes(self) -> int:
        """What the preimages are charged with."""
        return sum(self._pinned.values())

    def take_back(self, key: bytes, old: Entry | None) -> None:
        """Begin with `old` at `key` instead of what is live, unless an earlier record of that key has told."""
        number = crc32(key) & _PAGE_MASK
        if key not in self._preimages.get(number, ()):
            self.count += (old is not None) - (key in self._pages[number])
            self.pin(number, key, old)

    def pin(self, number: int, key: bytes, old: Entry | None) -> None:
        """Keep what stood at `key`, of page `number`, unless the page was read or an earlier change has told."""
        if number < self._read:
            return
        preimages = self._preimages.get(number)
        if preimages is None:
            preimages = self._preimages[number] = {}
        elif key in preimages:
            return
        preimages[key] = old
        size_bytes = len(key) + ENTRY_OVERHEAD_BYTES if old is None else entry_bytes(key, old)
        self._pinned[number] = self._pinned.get(number, 0) + size_bytes
        self._budget.used_bytes += size_bytes

    def read_page(self) -> list[Row] | None:
        """The rows of the next page; None after the last."""
        number = self._read
        if number >= len(self._pages):
            return None
        page, preimages = self._pages[number], self._preimages.pop(number, None)
        self._read = number + 1
        self.looked_at += 1 + len(page)
        if preimages is None:
            return [(key, unpacked(held)) for key, held in page.items()]
        self._budget.used_bytes -= self._pinned.pop(number)
        self.looked_at += len(preimages)
        rows = [(key, unpacked(held)) for key, held in page.items() if key not in preimages]
        rows += [(key, old) for key, old in preimages.items() if old is not None]
        return rows

    def rows(self) -> Iterator[Row]:
        """Every key with its entry, page by page."""
        while (rows := self.read_page()) is not None:
            yield from rows

    def close(self) -> None:
        """Let go of the preimages, and of a state that was replaced meanwhile. Harmless when done twice."""
        if self in self._open_cuts:
            self._open_cuts.remove(self)
        else:
            self._let_go(list(self._pages))
        self._budget.used_bytes -= self.pinned_bytes
        self._let_go(self._preimages)
        self._preimages, self._pinned, self._pages = {}, {}, []
