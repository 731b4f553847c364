"""A shard's committed state as a stream of blocks, and back.

Blocks are msgpack arrays that start with their kind, in this order:

    HEADER   [0, format, shard_id, term, seq, time_ms, [[closed term, last committed seq], ...]]   once, first
    ENTRIES  [1, [[key, [value, flag, expires_ms, namespace_id, term, seq]], ...]]                 any number
    END      [2, entries in all]                                                                   once, last

The small side tables come first and a count last, so that a stream cut short is noticed. The cut is made when the
stream is asked for; each step after that looks at a bounded number of keys (`store.keyspace` tells how writes may
go on meanwhile). A block is closed once it passes BLOCK_BYTES, so only a value larger than that exceeds it by much.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from raftcache.shard.history import History
from raftcache.store.entry import Entry
from raftcache.store.keyspace import Cut, Keyspace
from raftcache.store.memory import MemoryBudget

HEADER, ENTRIES, END = 0, 1, 2
FORMAT = 1
BLOCK_BYTES = 224 << 10
KEYS_PER_STEP = 2048
ROW_OVERHEAD_BYTES = 40
DIGEST_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode
_decode_any = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_header = msgspec.msgpack.Decoder(tuple[int, int, str, int, int, int, list[tuple[int, int]]]).decode
_decode_entries = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, Entry]]]).decode
_decode_end = msgspec.msgpack.Decoder(tuple[int, int]).decode


class Prepared(NamedTuple):
    """A state built from a snapshot, ready to be swapped in."""

    keyspace: Keyspace
    history: History


class SnapshotBlocks(Iterator[bytes]):
    """The stream. Close it to abandon it; it closes itself at its end."""

    def __init__(self, shard_id: str, history: History, cut: Cut) -> None:
        self._cut = cut
        self._blocks = _blocks(header_block(shard_id, history), cut)

    def __next__(self) -> bytes:
        try:
            return next(self._blocks)
        except StopIteration:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the cut. Harmless when done twice."""
        self._blocks.close()
        self._cut.close()


def header_block(shard_id: str, history: History) -> bytes:
    """The side tables."""
    closed = list(history.closed.items())
    return _encode([HEADER, FORMAT, shard_id, history.term, history.seq, history.time_ms, closed])


def prepare(shard_id: str, blocks: Iterable[bytes]) -> Prepared:
    """Build a state from a stream. Pure, so that it may run off the loop. Raises ValueError."""
    try:
        return _prepare(shard_id, iter(blocks))
    except msgspec.MsgspecError as error:
        raise ValueError(f"damaged snapshot of shard {shard_id}: {error}") from error


def digest(history: History, rows: Iterable[tuple[bytes, Entry | None]]) -> str:
    """A fingerprint of a state that does not depend on the order of its keys: equal states, equal digests."""
    total = _fingerprint((history.term, history.seq, history.time_ms, sorted(history.closed.items())))
    for row in rows:
        if row[1] is not None:
            total += _fingerprint(row)
    return f"{total % (1 << 8 * DIGEST_BYTES):0{2 * DIGEST_BYTES}x}"


def _fingerprint(part: Any) -> int:
    return int.from_bytes(blake2b(_encode(part), digest_size=DIGEST_BYTES).digest())


def _blocks(header: bytes, cut: Cut) -> Generator[bytes, None, None]:
    yield header
    block: list[tuple[bytes, Entry]] = []
    size_bytes = looked_at = count = 0
    for key, entry in cut.rows():
        looked_at += 1
        if entry is not None:
            block.append((key, entry))
            size_bytes += len(key) + len(entry.value) + ROW_OVERHEAD_BYTES
        if size_bytes >= BLOCK_BYTES or looked_at >= KEYS_PER_STEP:
            count += len(block)
            yield _encode((ENTRIES, block))
            block, size_bytes, looked_at = [], 0, 0
    yield _encode((ENTRIES, block))
    yield _encode((END, count + len(block)))


def _prepare(shard_id: str, blocks: Iterator[bytes]) -> Prepared:
    history = _parse_header(shard_id, next(blocks, b""))
    keyspace = Keyspace(MemoryBudget())
    for block in blocks:
        kind = _kind(block)
        if kind == ENTRIES:
            for key, entry in _decode_entries(block)[1]:
                keyspace.put(key, entry)
        elif kind == END:
            _check_end(shard_id, _decode_end(block)[1], keyspace, blocks)
            return Prepared(keyspace, history)
        else:
            raise ValueError(f"damaged snapshot of shard {shard_id}: block of kind {kind!r}")
    raise ValueError(f"damaged snapshot of shard {shard_id}: it ends after {len(keyspace)} keys, without an end block")


def _kind(block: bytes) -> object:
    parts = _decode_any(block)
    return msgspec.msgpack.decode(parts[0]) if parts else None


def _parse_header(shard_id: str, block: bytes) -> History:
    kind, version, stored_id, term, seq, time_ms, closed = _decode_header(block)
    if (kind, version, stored_id) != (HEADER, FORMAT, shard_id):
        raise ValueError(
            f"not a snapshot of shard {shard_id} in format {FORMAT}: kind {kind}, format {version}, shard {stored_id!r}"
        )
    return History(term, seq, time_ms, dict(closed))


def _check_end(shard_id: str, count: int, keyspace: Keyspace, blocks: Iterator[bytes]) -> None:
    if len(keyspace) != count or next(blocks, None) is not None:
        raise ValueError(f"damaged snapshot of shard {shard_id}: {len(keyspace)} keys where {count} were written")
