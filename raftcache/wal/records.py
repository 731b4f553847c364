"""The format of a log segment: bytes in, entries out. Nothing here opens a file.

A segment is a header and records behind each other, all numbers big endian:

    header   magic 8s | version u16 | group id length u16 | generation u64 | base index u64 | base term u64
             | group id | crc32 u32 of all that is before it
    record   body length u32 | crc32 u32 of the body | body = index u64 | term u64 | data

The base is the entry before the segment's first: index and term must continue from it. The *generation* counts
how often the log was started over; see `log`.

A record's checksum starts from a seed made of group id and generation. So a record of another group, or of the
log as it was before it started over, is no record here, and neither is a client's value that happens to look
like one.

How a scan ends
---------------
A killed process leaves at most one unfinished write, at the end of the newest segment: a *torn* tail, which was
never acknowledged and is cut. Anything else is *damage*: a record that was whole once, and that somebody may have
been told is kept. The two look alike at the bad record itself, so the scan looks behind it. If a whole record
follows, with an index that could be there, the bad one was once whole: damage. If none follows, the tail is torn.
(A segment that is not the newest has no torn tail; the caller knows which one it is.)
"""

from __future__ import annotations

import enum
import re
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from raftcache.wal.api import Entry

MAX_ENTRY_BYTES = 64 * 1024 * 1024
"""The most data of one entry. A length above it is damage, and is never used to allocate or to seek."""

MAX_GROUP_ID_BYTES = 64

_MAGIC = b"rcachlog"
_VERSION = 1
_HEADER = Struct(">8sHHQQQ")
_CRC = Struct(">I")
_FRAME = Struct(">II")
_POSITION = Struct(">QQ")
_RECORD = Struct(">IIQQ")

_POSSIBLE_FRAME = rb"(?!\0\0\0[\0-\x0f])[\0-\x04].{7}"
"""Length and checksum of a record, as a pattern: a length of at least 16 and below 2**26 + 2**24."""

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


def encode_record(entry: Entry, seed: int) -> bytes:
    """What goes before the entry's data in a record. The data itself is not copied: it is written behind it."""
    data, index, term = entry
    position = _POSITION.pack(index, term)
    return _FRAME.pack(len(data) + 16, crc32(data, crc32(position, seed))) + position


class Ending(enum.Enum):
    """Why a scan ended."""

    CLEAN = "clean"
    TORN = "torn"
    DAMAGED = "damaged"


class Scan(NamedTuple):
    """The whole records of a segment: `entries`, the byte `offsets` at which they start, and the `end` of the last."""

    entries: list[Entry]
    offsets: list[int]
    end: int
    ending: Ending
    reason: str


def scan_records(data: bytes, start: int, seed: int, base_index: int, base_term: int) -> Scan:
    """Read records from `start` to the end of `data`, or up to the first that is not whole."""
    entries: list[Entry] = []
    offsets: list[int] = []
    offset, index, term = start, base_index, base_term
    while offset < len(data):
        record = read_record(data, offset, seed)
        if record is None:
            follows = _record_follows(data, offset + 1, seed, index + 1)
            ending = Ending.DAMAGED if follows else Ending.TORN
            return Scan(entries, offsets, offset, ending, "a record that is not whole")
        if record.index != index + 1 or record.term < term:
            reason = f"entry {record.index} of term {record.term} behind entry {index} of term {term}"
            return Scan(entries, offsets, offset, Ending.DAMAGED, reason)
        entries.append(record)
        offsets.append(offset)
        offset += RECORD_OVERHEAD_BYTES + len(record.data)
        index, term = record.index, record.term
    return Scan(entries, offsets, offset, Ending.CLEAN, "")


def read_record(data: bytes, offset: int, seed: int) -> Entry | None:
    """The record at `offset`, or None where there is no whole one."""
    start = offset + RECORD_OVERHEAD_BYTES
    if start > len(data):
        return None
    length, checksum, index, term = _RECORD.unpack_from(data, offset)
    end = offset + _FRAME.size + length
    if not 16 <= length <= MAX_ENTRY_BYTES + 16 or end > len(data):
        return None
    body = data[start:end]
    if crc32(body, crc32(data[offset + _FRAME.size : start], seed)) != checksum:
        return None
    return Entry(body, index, term)


def _record_follows(data: bytes, start: int, seed: int, bad_index: int) -> bool:
    """Whether a whole record starts anywhere at or behind `start`, with an index that could be there.

    Every record takes some bytes, so what is left of the segment bounds the index from above. Only places with a
    length within its bounds and with the leading bytes that all possible indexes share are looked at closely.
    """
    highest = bad_index + (len(data) - start) // RECORD_OVERHEAD_BYTES + 1
    differing_bytes = ((bad_index ^ highest).bit_length() + 7) // 8
    shared = bad_index.to_bytes(8, "big")[: 8 - differing_bytes]
    candidates = re.compile(rb"(?=" + _POSSIBLE_FRAME + re.escape(shared) + rb")", re.DOTALL)
    for found in candidates.finditer(data, start):
        record = read_record(data, found.start(), seed)
        if record is not None and bad_index < record.index <= highest:
            return True
    return False
