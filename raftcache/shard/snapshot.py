"""A shard's committed state as a stream of blocks, and back.

Blocks are msgpack arrays that start with their kind, in this order:

    HEADER   [0, format, shard_id, term, seq, time_ms, [[closed term, last committed seq], ...], keys]   once, first
    ENTRIES  [1, [[key, [value, flag, expires_ms, namespace_id, term, seq]], ...]]                       any number
    POLICIES [4, epoch, [namespace, ...]]    as maps, under one epoch                             any number, after it
    END      [2, keys]                                                                                   once, last

The small side tables come first, with the number of keys, so that whoever restores can tell how far it has come; the
number of keys actually written comes last, so that a stream cut short is noticed. The cut is made when the stream is
asked for; each step after that looks at a page or a few, as `store.keyspace` has them, while writes go on. A block is
closed once it passes BLOCK_BYTES, so only a value larger than that exceeds it by much.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import msgspec

from raftcache.commands.policy import Namespace, Namespaces
from raftcache.shard.history import History
from raftcache.shard.policies import NO_NAMESPACES
from raftcache.store.entry import Entry
from raftcache.store.keyspace import Cut, Keyspace, Row
from raftcache.store.memory import MemoryBudget

HEADER, ENTRIES, END, POLICIES = 0, 1, 2, 4
FORMAT = 3
BLOCK_BYTES = 224 << 10
KEYS_PER_STEP = 2048
"""A step that has looked at so many keys closes its block, be it empty."""
NAMESPACES_PER_BLOCK = 512
ROW_OVERHEAD_BYTES = 40
DIGEST_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode
_decode_any = msgspec.msgpack.Decoder(list[Any]).decode
_decode_header = msgspec.msgpack.Decoder(tuple[int, int, str, int, int, int, list[tuple[int, int]], int]).decode
_decode_entries = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, Entry]]]).decode
_decode_policies = msgspec.msgpack.Decoder(tuple[int, int, tuple[Namespace, ...]]).decode
_decode_end = msgspec.msgpack.Decoder(tuple[int, int]).decode


Progress: TypeAlias = Callable[[int, int], None]
"""`progress(keys restored, keys in all)`, called on the thread that restores."""


class Prepared(NamedTuple):
    """A state built from a snapshot, ready to be swapped in."""

    keyspace: Keyspace
    history: History
    namespaces: Namespaces = NO_NAMESPACES


class SnapshotBlocks(Iterator[bytes]):
    """The stream, of `keys` keys. Close it to abandon it; it closes itself at its end."""

    def __init__(self, shard_id: str, history: History, cut: Cut, namespaces: Namespaces = NO_NAMESPACES) -> None:
        self.keys = cut.count
        self._cut = cut
        self._blocks = _blocks(header_block(shard_id, history, cut.count), namespaces, cut)

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


def header_block(shard_id: str, history: History, keys: int) -> bytes:
    """The table of terms, and how many keys follow."""
    closed = list(history.closed.items())
    return _encode([HEADER, FORMAT, shard_id, history.term, history.seq, history.time_ms, closed, keys])


def prepare(shard_id: str, blocks: Iterable[bytes], progress: Progress = lambda _done, _keys: None) -> Prepared:
    """Build a state from a stream. Pure, so that it may run off the loop: no step of it holds the interpreter for
    longer than a block takes to decode, not even where it fails and lets go of what it has built. Raises ValueError.
    """
    keyspace = Keyspace(MemoryBudget())
    try:
        return _prepare(shard_id, keyspace, iter(blocks), progress)
    except BaseException as error:
        keyspace.clear()
        if isinstance(error, msgspec.MsgspecError | KeyError):
            raise ValueError(f"damaged snapshot of shard {shard_id}: {error}") from error
        raise


def count_keys(shard_id: str, blocks: Iterable[bytes]) -> tuple[History, int]:
    """The side tables of a stream, and how many keys it holds, without building a state. Raises ValueError."""
    stream = iter(blocks)
    try:
        history, keys = _parse_header(shard_id, next(stream, b""))
        found, written = 0, -1
        for block in stream:
            if _kind(block) == END:
                written = _decode_end(block)[1]
                break
            if _kind(block) == ENTRIES:
                found += len(_decode_entries(block)[1])
        if not found == written == keys or next(stream, None) is not None:
            raise ValueError(f"damaged snapshot of shard {shard_id}: {found} keys where {keys} were announced")
    except msgspec.MsgspecError as error:
        raise ValueError(f"damaged snapshot of shard {shard_id}: {error}") from error
    return history, keys


def digest(history: History, rows: Iterable[Row], namespaces: Namespaces = NO_NAMESPACES) -> str:
    """A fingerprint of a state that does not depend on the order of its keys: equal states, equal digests."""
    total = _fingerprint((history.term, history.seq, history.time_ms, sorted(history.closed.items())))
    total += _fingerprint((namespaces.epoch, _sorted(namespaces)))
    for row in rows:
        total += _fingerprint(row)
    return f"{total % (1 << 8 * DIGEST_BYTES):0{2 * DIGEST_BYTES}x}"


def _fingerprint(part: Any) -> int:
    return int.from_bytes(blake2b(_encode(part), digest_size=DIGEST_BYTES).digest())


def _sorted(namespaces: Namespaces) -> list[Namespace]:
    return [namespace for _, namespace in sorted(namespaces.by_name.items())]


def _policy_blocks(namespaces: Namespaces) -> Iterator[bytes]:
    rows = _sorted(namespaces)
    for start in range(0, len(rows), NAMESPACES_PER_BLOCK):
        yield _encode((POLICIES, namespaces.epoch, rows[start : start + NAMESPACES_PER_BLOCK]))


def _blocks(header: bytes, namespaces: Namespaces, cut: Cut) -> Generator[bytes, None, None]:
    yield header
    yield from _policy_blocks(namespaces)
    block: list[Row] = []
    size_bytes = count = seen = 0
    while (rows := cut.read_page()) is not None:
        for row in rows:
            block.append(row)
            size_bytes += len(row[0]) + len(row[1].value) + ROW_OVERHEAD_BYTES
            if size_bytes >= BLOCK_BYTES:
                count += len(block)
                yield _encode((ENTRIES, block))
                block, size_bytes, seen = [], 0, cut.looked_at
        if cut.looked_at - seen >= KEYS_PER_STEP:
            count += len(block)
            yield _encode((ENTRIES, block))
            block, size_bytes, seen = [], 0, cut.looked_at
    yield _encode((ENTRIES, block))
    yield _encode((END, count + len(block)))


def _prepare(shard_id: str, keyspace: Keyspace, blocks: Iterator[bytes], progress: Progress) -> Prepared:
    history, keys = _parse_header(shard_id, next(blocks, b""))
    epoch, namespaces = 0, list[Namespace]()
    progress(0, keys)
    for block in blocks:
        kind = _kind(block)
        if kind == ENTRIES:
            keyspace.load(_decode_entries(block)[1])
            progress(len(keyspace), keys)
        elif kind == POLICIES:
            _, epoch, some = _decode_policies(block)
            namespaces += some
        elif kind == END:
            _check_end(shard_id, _decode_end(block)[1], keys, keyspace, blocks)
            return Prepared(keyspace, history, Namespaces(epoch, tuple(namespaces)))
        else:
            raise ValueError(f"damaged snapshot of shard {shard_id}: block of kind {kind!r}")
    raise ValueError(f"damaged snapshot of shard {shard_id}: it ends after {len(keyspace)} keys, without an end block")


def _kind(block: bytes) -> int | None:
    """The first item of a short msgpack array, where that is a small number: without decoding the rest."""
    return block[1] if len(block) > 1 and 0x91 <= block[0] <= 0x9F else None


def _parse_header(shard_id: str, block: bytes) -> tuple[History, int]:
    kind, version, stored_id = (*_decode_any(block)[:3], None, None, None)[:3]
    if (kind, version, stored_id) != (HEADER, FORMAT, shard_id):
        raise ValueError(
            f"not a snapshot of shard {shard_id} in format {FORMAT}: kind {kind}, format {version}, shard {stored_id!r}"
        )
    *_, term, seq, time_ms, closed, keys = _decode_header(block)
    return History(term, seq, time_ms, dict(closed)), keys


def _check_end(shard_id: str, count: int, announced: int, keyspace: Keyspace, blocks: Iterator[bytes]) -> None:
    if not len(keyspace) == count == announced or next(blocks, None) is not None:
        raise ValueError(
            f"damaged snapshot of shard {shard_id}: {len(keyspace)} keys where {count} were written "
            f"and {announced} announced"
        )
