"""How an entry is held in memory: what goes with a small value stands in front of it, in one object.

An entry as an object is a record, three or four integers and the value: 170 bytes of headers and pointers, more than
most values. Packed it is one `bytes` object of 33 bytes of header, 25 of metadata and the value. It is unpacked when it
is looked at, in less than a microsecond, and packed when it is written. Large values are kept as they came, for copying
them would cost more than it saves; so are tagged ones, which carry more.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

from raftcache.store.entry import Entry

PACKED_LIMIT_BYTES: Final = 512
"""The longest value that is packed. Beyond it what packing saves is less than a fifth, and a write would be copied
twice for it, into memory that the allocator finds less quickly than that of small objects."""

_METADATA: Final = Struct("<BIIQQ")
_METADATA_BYTES: Final = _METADATA.size
_pack: Final = _METADATA.pack
_unpack: Final = _METADATA.unpack_from

Held: TypeAlias = "bytes | Entry"
"""What a page holds for a key."""


def packed(entry: Entry) -> Held:
    """An entry as it is held. Raises struct.error where a number of it is none that can be: `flag` has 8 bits, ids and
    terms 32, times and `seq` 64."""
    if type(entry) is not Entry or len(entry.value) > PACKED_LIMIT_BYTES:
        return entry
    return _pack(entry.flag, entry.namespace_id, entry.term, entry.expires_ms, entry.seq) + entry.value


def unpacked(held: Held) -> Entry:
    """The inverse."""
    if type(held) is not bytes:
        return held  # type: ignore[return-value]
    flag, namespace_id, term, expires_ms, seq = _unpack(held)
    return Entry(held[_METADATA_BYTES:], flag, expires_ms, namespace_id, term, seq)
