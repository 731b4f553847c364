"""What the keyspace holds for one key."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

ENTRY_OVERHEAD_BYTES = 170
"""What an entry costs beside its key's and value's own bytes: headers of both objects, the metadata, its share of the
key table and its place in an eviction order. Measured on CPython 3.11 (`scripts/bench/memory`)."""

EXPIRY_OVERHEAD_BYTES = 50
"""What a time to live costs besides: a place in the expiry index."""

TTL_OVERHEAD_BYTES = ENTRY_OVERHEAD_BYTES + EXPIRY_OVERHEAD_BYTES


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A value and what goes with it. Immutable, so undo records and snapshot cuts keep it by reference.

    `expires_ms` is absolute on the shard's clock, 0 for never. `(term, seq)` names the put that wrote it. An entry
    can hold no cycle, so the garbage collector need not know it: a full collection skips millions of them.
    """

    value: bytes
    flag: int
    expires_ms: int
    namespace_id: int
    term: int
    seq: int


class TaggedEntry(Entry, array_like=True, frozen=True, gc=False):
    """An entry that was written with tags. A type of its own, so that the others pay nothing for there being tags."""

    tags: tuple[str, ...]


Looked: TypeAlias = "Entry | Literal[False] | None"
"""What a look at a key finds at once: what stands there, False for nothing, None where it takes a command to say."""


def tags_of(entry: Entry) -> tuple[str, ...]:
    """The tags that an entry was written with."""
    return entry.tags if isinstance(entry, TaggedEntry) else ()


def entry_bytes(key: bytes, entry: Entry) -> int:
    """What keeping `entry` under `key` costs, in bytes, tags left out of account."""
    return len(key) + len(entry.value) + (TTL_OVERHEAD_BYTES if entry.expires_ms else ENTRY_OVERHEAD_BYTES)
