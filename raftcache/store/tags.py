"""Tags: families of keys that are dropped together.

A set may name tags, and its entry carries them. Dropping a tag is one row in the table of `DroppedTags`: the version
`(term, seq)` of the effect that dropped it. Every entry has a version of its own, which is its generation in each of
its families: an entry is dropped by a row that is newer than itself. So nothing has to be looked up when a tagged key
is written, and a tag that nobody has dropped has no row. A row is needed until the entries that it drops are gone; then
the leader forgets it by an effect (`shard.reclaim`), which is what bounds the table.

Families are told apart by the namespace's id besides the tag: an invalidated namespace starts with none.

`Families` is no state of its own: it counts what stands in a keyspace, so that memory is charged to the byte, and that
a tag which no key carries is dropped without a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import intern
from typing import TypeAlias
from zlib import crc32

from raftcache.store.entry import TaggedEntry
from raftcache.store.trash import Parts

MAX_DROPPED_TAGS = 4096
"""Rows of a shard: dropped tags of which entries are not reclaimed yet. One drop more waits for a row."""

TAGGED_OVERHEAD_BYTES = 170
"""What a tagged entry costs more than another, beside `TAG_REFERENCE_BYTES` a tag: measured on CPython 3.11."""
TAG_REFERENCE_BYTES = 8
FAMILY_OVERHEAD_BYTES = 340
"""What a family costs beside the bytes of its tag, however many entries it has: the text, and its row here."""

FAMILY_PAGES = 256
"""A power of two: families stand in so many tables, none of which is long to grow or to let go of."""

_PAGE_MASK = FAMILY_PAGES - 1

Family: TypeAlias = tuple[int, str]
"""`(namespace id, tag)`."""

Mark: TypeAlias = tuple[int, int]
"""`(term, seq)` of the effect that dropped a family."""

UndoTag: TypeAlias = tuple[Family, "Mark | None"]
"""`(family, the row that stood there or None)`."""

TagRow: TypeAlias = tuple[int, str, int, int]
"""`(namespace id, tag, term, seq)`."""


def canonical(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags as entries keep them: each once, and one text in memory for all entries that carry it."""
    return tuple(dict.fromkeys(map(intern, tags)))


def tags_bytes(tags: Sequence[str]) -> int:
    """What tags take in an effect or a row, at most."""
    return sum(map(len, tags)) + 2 * len(tags)


class Families:
    """How many entries of a keyspace carry each tag, the dropped ones included."""

    __slots__ = ("_pages", "entries")

    def __init__(self) -> None:
        self._pages: list[dict[Family, int]] = [{} for _ in range(FAMILY_PAGES)]
        self.entries = 0
        """Entries with tags."""

    def count(self, family: Family) -> int:
        """How many entries carry the tag."""
        return self._page(family[1]).get(family, 0)

    def entered(self, entry: TaggedEntry) -> int:
        """An entry came; the bytes that its tags cost."""
        self.entries += 1
        cost_bytes = TAGGED_OVERHEAD_BYTES + TAG_REFERENCE_BYTES * len(entry.tags)
        for tag in entry.tags:
            page, family = self._page(tag), (entry.namespace_id, tag)
            count = page.get(family, 0)
            page[family] = count + 1
            if not count:
                cost_bytes += FAMILY_OVERHEAD_BYTES + len(tag)
        return cost_bytes

    def left(self, entry: TaggedEntry) -> int:
        """An entry went; the bytes that its tags have cost."""
        self.entries -= 1
        freed_bytes = TAGGED_OVERHEAD_BYTES + TAG_REFERENCE_BYTES * len(entry.tags)
        for tag in entry.tags:
            page, family = self._page(tag), (entry.namespace_id, tag)
            page[family] -= 1
            if not page[family]:
                del page[family]
                freed_bytes += FAMILY_OVERHEAD_BYTES + len(tag)
        return freed_bytes

    def parts(self) -> list[Parts]:
        """All that it is made of, to be let go of in steps."""
        return [page for page in self._pages if page]

    def clear(self) -> None:
        """Let go of everything, a page at a time. The table must not be used any more."""
        for page in self._pages:
            page.clear()

    def _page(self, tag: str) -> dict[Family, int]:
        return self._pages[crc32(tag.encode()) & _PAGE_MASK]


class DroppedTags:
    """The rows of one replica: part of its state, changed by effects, in its digest and snapshots."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[TagRow] = ()) -> None:
        self._rows: dict[Family, Mark] = {}
        self.load(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, family: Family) -> Mark | None:
        """When the family was dropped; None where no entry of it is."""
        return self._rows.get(family)

    def rows(self) -> list[tuple[Family, Mark]]:
        """All of them, in the order in which they came."""
        return list(self._rows.items())

    def put(self, family: Family, mark: Mark | None) -> Mark | None:
        """Drop a family, or forget (None) that it was; returns what stood there."""
        old = self._rows.pop(family, None)
        if mark is not None:
            self._rows[family] = mark
        return old

    def load(self, rows: Iterable[TagRow]) -> None:
        """Put the rows of a snapshot."""
        for namespace_id, tag, term, seq in rows:
            self._rows[namespace_id, intern(tag)] = term, seq

    def adopt(self, other: DroppedTags) -> None:
        """Take over the rows of `other`, which must not be used any more."""
        self._rows = other._rows

    def drop_of(self, entry: TaggedEntry) -> Mark | None:
        """The oldest drop that concerns an entry; None where none does and it stands."""
        found: Mark | None = None
        for tag in entry.tags:
            mark = self._rows.get((entry.namespace_id, tag))
            if mark is not None and mark > (entry.term, entry.seq) and (found is None or mark < found):
                found = mark
        return found

    def rows_before(self, undo: Iterable[UndoTag]) -> list[TagRow]:
        """The rows less the changes that `undo` (oldest first) tells how to take back, sorted."""
        rows, seen = dict(self._rows), set[Family]()
        for family, old in undo:
            if family in seen:
                continue
            seen.add(family)
            rows.pop(family, None)
            if old is not None:
                rows[family] = old
        return sorted((*family, *mark) for family, mark in rows.items())
