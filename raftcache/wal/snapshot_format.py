"""The format of a snapshot: the same bytes on disk, in memory and on the way to another replica. No IO here.

All numbers are big endian:

    header   magic 8s | version u16 | meta length u32 | crc32 u32 of the meta | meta
    block    raw length u32 | compressed length u32 | crc32 u32 of both lengths and the data | data (one zstd frame)
    trailer  0xFFFFFFFF u32 | number of blocks u32 | crc32 u32 of everything before | crc32 u32 of these three

The meta is msgpack `[group id, index, term, [member, ...]]`. A length is checked against its bound before it is
used, and a block's decompressed size before it is decompressed. A snapshot ends with its trailer: anything
missing or anything behind it is damage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from zlib import crc32

import msgpack
import zstandard

from raftcache.wal.api import SnapshotMeta
from raftcache.wal.errors import SnapshotDamaged

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""The most that one block may hold, raw or compressed."""

MAX_META_BYTES = 64 * 1024
READ_CHUNK_BYTES = 1024 * 1024
"""How much of a snapshot is read, checked and decompressed at a time."""

COMPRESSION_LEVEL = 1
"""zstd's fastest ordinary level: a snapshot is taken beside a running service."""

_MAGIC = b"rcachsnp"
_VERSION = 1
_HEADER = Struct(">8sHII")
_LENGTHS = Struct(">II")
_BLOCK = Struct(">III")
_TRAILER = Struct(">IIII")
_TRAILER_MARK = 0xFFFFFFFF

MAX_HEADER_BYTES = _HEADER.size + MAX_META_BYTES
TRAILER_BYTES = _TRAILER.size


class SnapshotEncoder:
    """Makes the bytes of one snapshot: `header()`, then `block()` any number of times, then `trailer()`."""

    def __init__(self, meta: SnapshotMeta) -> None:
        self._meta = meta
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_content_size=True)
        self._blocks = 0
        self._checksum = 0

    def header(self) -> bytes:
        """The first bytes. Raises ValueError where the meta is over its bound."""
        meta = msgpack.packb([self._meta.group_id, self._meta.index, self._meta.term, list(self._meta.members)])
        if len(meta) > MAX_META_BYTES:
            raise ValueError(f"snapshot meta of {len(meta)} bytes, at most {MAX_META_BYTES}")
        return self._summed(_HEADER.pack(_MAGIC, _VERSION, len(meta), crc32(meta)) + meta)

    def block(self, raw: bytes) -> bytes:
        """One block. Raises ValueError where it is over its bound."""
        data = self._compressor.compress(raw)
        if max(len(raw), len(data)) > MAX_BLOCK_BYTES:
            raise ValueError(f"snapshot block of {len(raw)} bytes, at most {MAX_BLOCK_BYTES}")
        self._blocks += 1
        checksum = crc32(data, crc32(_LENGTHS.pack(len(raw), len(data))))
        return self._summed(_BLOCK.pack(len(raw), len(data), checksum) + data)

    def trailer(self) -> bytes:
        """The last bytes."""
        return _trailer(self._blocks, self._checksum)

    def _summed(self, data: bytes) -> bytes:
        self._checksum = crc32(data, self._checksum)
        return data


def _trailer(blocks: int, checksum: int) -> bytes:
    fields = (_TRAILER_MARK, blocks, checksum)
    return _TRAILER.pack(*fields, crc32(_BLOCK.pack(*fields)))


class SnapshotDecoder:
    """Reads a snapshot piece by piece, in pieces of any size. `meta` is None until its header is complete.

    `name` stands in the errors. All methods raise `SnapshotDamaged`.
    """

    def __init__(self, name: str) -> None:
        self.meta: SnapshotMeta | None = None
        self._name = name
        self._decompressor = zstandard.ZstdDecompressor()
        self._buffer = b""
        self._start = 0
        self._offset = 0
        self._blocks = 0
        self._checksum = 0
        self._ended = False

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take the next piece; returns the uncompressed blocks that it completed."""
        self._buffer = self._buffer + data if self._buffer else bytes(data)
        blocks: list[bytes] = []
        if self.meta is None:
            self._read_meta()
        if self.meta is not None:
            while (block := self._read_block()) is not None:
                blocks.append(block)
        self._drop_consumed()
        if self._ended and self._buffer:
            raise self._damaged("bytes behind the end of the snapshot")
        return blocks

    def finish(self) -> SnapshotMeta:
        """Check that the snapshot is complete; returns what it is of."""
        if self.meta is None or not self._ended:
            self._offset += len(self._buffer)
            raise self._damaged("the snapshot is cut short")
        return self.meta

    def _read_meta(self) -> None:
        if len(self._buffer) < _HEADER.size:
            return
        magic, version, length, checksum = _HEADER.unpack_from(self._buffer)
        if magic != _MAGIC:
            raise self._damaged("this is no snapshot")
        if version != _VERSION:
            raise self._damaged(f"snapshot format version {version}, this build reads {_VERSION}")
        if length > MAX_META_BYTES:
            raise self._damaged(f"snapshot meta of {length} bytes, at most {MAX_META_BYTES}")
        if len(self._buffer) < _HEADER.size + length:
            return
        meta = self._buffer[_HEADER.size : _HEADER.size + length]
        if crc32(meta) != checksum:
            raise self._damaged("the checksum of the snapshot's meta does not match")
        group_id, index, term, members = msgpack.unpackb(meta)
        self.meta = SnapshotMeta(group_id, index, term, tuple(members))
        self._consume(_HEADER.size + length)

    def _read_block(self) -> bytes | None:
        """The next block, or None where more bytes are needed or the end was reached."""
        start = self._start
        rest = len(self._buffer) - start
        if self._ended or rest < _BLOCK.size:
            return None
        raw_length, length, checksum = _BLOCK.unpack_from(self._buffer, start)
        if raw_length == _TRAILER_MARK:
            self._read_trailer()
            return None
        if max(raw_length, length) > MAX_BLOCK_BYTES:
            raise self._damaged(f"snapshot block of {max(raw_length, length)} bytes, at most {MAX_BLOCK_BYTES}")
        if rest < _BLOCK.size + length:
            return None
        data = memoryview(self._buffer)[start + _BLOCK.size : start + _BLOCK.size + length]
        if crc32(data, crc32(_LENGTHS.pack(raw_length, length))) != checksum:
            raise self._damaged("the checksum of a snapshot block does not match")
        block = self._decompress(data, raw_length)
        self._blocks += 1
        self._consume(_BLOCK.size + length)
        return block

    def _decompress(self, data: memoryview, raw_length: int) -> bytes:
        try:
            if zstandard.frame_content_size(data) != raw_length:
                raise self._damaged("a snapshot block is not of the length it says")
            return self._decompressor.decompress(data)
        except zstandard.ZstdError as error:
            raise self._damaged(f"a snapshot block cannot be decompressed ({error})") from None

    def _read_trailer(self) -> None:
        if len(self._buffer) - self._start < _TRAILER.size:
            return
        self._drop_consumed()
        if self._buffer[: _TRAILER.size] != _trailer(self._blocks, self._checksum):
            raise self._damaged("the snapshot's total checksum or number of blocks does not match")
        self._ended = True
        self._consume(_TRAILER.size)

    def _consume(self, count: int) -> None:
        self._start += count
        self._offset += count

    def _drop_consumed(self) -> None:
        """Sum up and forget what was read; once a piece and not once a block, which would copy each block again."""
        if self._start:
            self._checksum = crc32(memoryview(self._buffer)[: self._start], self._checksum)
            self._buffer = self._buffer[self._start :]
            self._start = 0

    def _damaged(self, reason: str) -> SnapshotDamaged:
        return SnapshotDamaged(self._name, self._offset, reason)


def decode_meta(data: bytes, name: str) -> SnapshotMeta:
    """The meta from a snapshot's first `MAX_HEADER_BYTES` (or all of it). Raises `SnapshotDamaged`."""
    decoder = SnapshotDecoder(name)
    decoder.receive_data(data[: _HEADER.size])
    length = _HEADER.unpack_from(data)[2] if len(data) >= _HEADER.size else 0
    decoder.receive_data(data[_HEADER.size : _HEADER.size + length])
    if decoder.meta is None:
        raise SnapshotDamaged(name, len(data), "the snapshot is cut short")
    return decoder.meta


def is_trailer(data: bytes) -> bool:
    """Whether these are the last bytes of a snapshot that was written to its end."""
    if len(data) != _TRAILER.size:
        return False
    mark, blocks, checksum, _ = _TRAILER.unpack(data)
    return mark == _TRAILER_MARK and data == _trailer(blocks, checksum)


def decode_blocks(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The blocks of a whole snapshot; its end is checked before the iterator ends. Raises `SnapshotDamaged`."""
    decoder = SnapshotDecoder(name)
    for piece in pieces:
        yield from decoder.receive_data(piece)
    decoder.finish()


def verify(pieces: Iterable[bytes], name: str, group_id: str) -> SnapshotMeta:
    """Read a whole snapshot; returns what it is of. Raises `SnapshotDamaged`, also for another group's."""
    decoder = SnapshotDecoder(name)
    for piece in pieces:
        decoder.receive_data(piece)
    meta = decoder.finish()
    if meta.group_id != group_id:
        raise SnapshotDamaged(name, 0, f"the snapshot is of group {meta.group_id!r}, not {group_id!r}")
    return meta


def newest_two(kept: tuple[SnapshotMeta, ...], meta: SnapshotMeta) -> tuple[SnapshotMeta, ...]:
    """What a store keeps when `meta` joins: the two of the highest index, the newest last."""
    by_index = {each.index: each for each in (*kept, meta)}
    return tuple(by_index[index] for index in sorted(by_index)[-2:])
