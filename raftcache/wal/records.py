"""The format of a log segment: bytes in, entries out. Nothing here opens a file.

A segment is a header and records behind each other, all numbers big endian:

    header   magic 8s | version u16 | group id length u16 | generation u64 | base index u64 | base term u64
             | group id | crc32 u32 of all that is before it
    record   head = data length u32 | sync lag u32 | index u64 | term u64
             | crc32 u32 of the head | crc32 u32 of the data | data

The base is the entry before the segment's first: index and term must continue from it. The *generation* counts
how often the log was started over; see `log`.

The head's checksum starts from a seed made of group id and generation. So a record of another group, or of the log
as it was before it started over, is no record here. The data's checksum starts from the head's, combined with the
term of the entry before. By Raft's log matching, index and term of the entry before say which log it is that this
record continues. So a record that was cut off, and whose bytes a power loss brought back behind the one that
replaced its predecessor, is no record either.

The *sync lag* is the record's testimony: everything up to entry `index - lag` was synced before this record was
written. It is what tells, after a power loss, the unsynced tail that may be missing, short or garbage, from damage
to something that had to be there. A head alone may testify, whatever became of its data.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from raftcache.wal.api import Entry

MAX_ENTRY_BYTES = 64 * 1024 * 1024
"""The most data of one entry. A length above it is damage, and is never used to allocate or to seek."""

MAX_LAG = 2**32 - 1
"""The largest sync lag that fits; a record that tells this one or more testifies nothing."""

MAX_GROUP_ID_BYTES = 64

_MAGIC = b"rcachlog"
_VERSION = 2
_HEADER = Struct(">8sHHQQQ")
_CRC = Struct(">I")
_HEAD = Struct(">IIQQ")
_CHECKS = Struct(">II")
_RECORD = Struct(">IIQQII")
_TERM_MASK = 0xFFFFFFFF
_INDEX_SPAN = 2**32
"""How far behind the expected index a testimony is looked for."""

RECORD_OVERHEAD_BYTES = _RECORD.size
MAX_HEADER_BYTES = _HEADER.size + MAX_GROUP_ID_BYTES + _CRC.size


class SegmentHeader(NamedTuple):
    """Whose log a segment belongs to, and where it continues."""

    group_id: str
    generation: int
    base_index: int
    base_term: int


def encode_header(header: SegmentHeader) -> bytes:
    """The first bytes of a segment. Raises ValueError where the group id is too long."""
    group = header.group_id.encode()
    if len(group) > MAX_GROUP_ID_BYTES:
        raise ValueError(f"group id of {len(group)} bytes, at most {MAX_GROUP_ID_BYTES}: {header.group_id!r}")
    fixed = _HEADER.pack(_MAGIC, _VERSION, len(group), header.generation, header.base_index, header.base_term)
    return fixed + group + _CRC.pack(crc32(fixed + group))


def decode_header(data: bytes) -> tuple[SegmentHeader, int]:
    """The header and its size in bytes. Raises ValueError, which says what is wrong."""
    if len(data) < _HEADER.size:
        raise ValueError("the segment header is cut short")
    magic, version, group_length, generation, base_index, base_term = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("this is no log segment")
    if version != _VERSION:
        raise ValueError(f"log format version {version}, this build reads {_VERSION}")
    end = _HEADER.size + group_length
    if group_length > MAX_GROUP_ID_BYTES or len(data) < end + _CRC.size:
        raise ValueError("the segment header is cut short")
    if _CRC.unpack_from(data, end)[0] != crc32(data[:end]):
        raise ValueError("the segment header's checksum does not match")
    group_id = data[_HEADER.size : end].decode()
    return SegmentHeader(group_id, generation, base_index, base_term), end + _CRC.size


def checksum_seed(group_id: str, generation: int) -> int:
    """Where the checksums of this group's records start from, in this generation."""
    return crc32(generation.to_bytes(8, "big"), crc32(group_id.encode()))


def encode_record(entry: Entry, lag: int, previous_term: int, seed: int) -> bytes:
    """What goes before the entry's data in a record. The data itself is not copied: it is written behind it."""
    data, index, term = entry
    head = _HEAD.pack(len(data), lag if lag < MAX_LAG else MAX_LAG, index, term)
    checksum = crc32(head, seed)
    return head + _CHECKS.pack(checksum, crc32(data, checksum ^ (previous_term & _TERM_MASK)))


class Head(NamedTuple):
    """The head of a record whose checksum is right; `data_bytes` may reach over the end of the file."""

    data_bytes: int
    lag: int
    index: int  # type: ignore[assignment]
    term: int

    @property
    def synced_index(self) -> int:
        """What the record testifies to have been synced before it was written."""
        return self.index - self.lag if self.lag < MAX_LAG else 0


class Scan(NamedTuple):
    """The whole records of a segment, up to the first that is not.

    `offsets` are the bytes at which they start, `end` is where the last one ends. `synced_index` is the highest that
    they testify. `reason` tells why the scan ended before the end of the data, "" where it did not. `unfinished`
    says that this is what a killed process leaves: the beginning of a record, as far as it goes without a fault.
    """

    entries: list[Entry]
    offsets: list[int]
    end: int
    synced_index: int
    reason: str
    unfinished: bool


def scan_records(data: bytes, start: int, seed: int, base_index: int, base_term: int) -> Scan:
    """Read records from `start` to the end of `data`, or up to the first that is not whole or not the next one."""
    entries: list[Entry] = []
    offsets: list[int] = []
    offset, index, term, synced = start, base_index, base_term, 0
    size, unpack, overhead = len(data), _RECORD.unpack_from, RECORD_OVERHEAD_BYTES
    while offset + overhead <= size:
        length, lag, at, of_term, head_sum, data_sum = unpack(data, offset)
        body = offset + overhead
        end = body + length
        if crc32(data[offset : offset + _HEAD.size], seed) != head_sum or length > MAX_ENTRY_BYTES:
            return Scan(entries, offsets, offset, synced, "a record whose head does not match its checksum", False)
        if at != index + 1 or of_term < term:
            reason = f"entry {at} of term {of_term} behind entry {index} of term {term}"
            return Scan(entries, offsets, offset, synced, reason, False)
        if end > size:
            return Scan(entries, offsets, offset, synced, "a record that is cut short", True)
        content = data[body:end]
        if crc32(content, head_sum ^ (term & _TERM_MASK)) != data_sum:
            return Scan(entries, offsets, offset, synced, "a record whose data does not match its checksum", False)
        entries.append(Entry(content, at, of_term))
        offsets.append(offset)
        if at - lag > synced and lag < MAX_LAG:
            synced = at - lag
        offset, index, term = end, at, of_term
    reason = "" if offset == size else "a record that is cut short"
    return Scan(entries, offsets, offset, synced, reason, bool(reason))


def read_head(data: bytes, offset: int, seed: int) -> Head | None:
    """The head of the record at `offset`, or None where there is no whole one."""
    if offset + RECORD_OVERHEAD_BYTES > len(data):
        return None
    length, lag, index, term, checksum, _ = _RECORD.unpack_from(data, offset)
    if length > MAX_ENTRY_BYTES or crc32(data[offset : offset + _HEAD.size], seed) != checksum:
        return None
    return Head(length, lag, index, term)


def testifies(data: bytes, start: int, seed: int, index: int) -> bool:
    """Whether a record that starts anywhere at or behind `start` testifies that entry `index` was synced.

    Only places with a length within its bound, and with the leading bytes that all possible indexes share, are
    looked at closely; zeros, which a power loss likes to leave, are no index.
    """
    highest = index + _INDEX_SPAN
    differing_bytes = ((index ^ highest).bit_length() + 7) // 8
    shared = re.escape(index.to_bytes(8, "big")[: 8 - differing_bytes])
    candidates = re.compile(rb"(?=[\0-\x04].{7}(?!\0{8})" + shared + rb")", re.DOTALL)
    for found in candidates.finditer(data, start):
        head = read_head(data, found.start(), seed)
        if head is not None and head.synced_index >= index:
            return True
    return False
