"""A shard's committed state as a stream of blocks, and back.

Blocks are msgpack arrays that start with their kind, in this order:

    HEADER   [0, format, shard_id, term, seq, time_ms, [[closed term, last committed seq], ...], keys]   once, first
    ENTRIES  [1, [[key, [value, flag, expires_ms, namespace_id, term, seq]], ...]]                       any number
    POLICIES [4, epoch, [namespace, ...]]    as maps, under one epoch                             any number, after it
    TAGGED   [5, [[key, [value, flag, expires_ms, namespace_id, term, seq, [tag, ...]]], ...]]           any number
    TAGS     [6, [[namespace_id, tag, term, seq], ...]]    dropped ones                           any number, after it
    SESSIONS [7, forgotten_ms, [[session, floor, used_ms, [number, reply, ...]], ...]]            any number, after it
    REPLIES  [3, [[record id, [record, 0, expires_ms, namespace_id, term, seq]], ...]]                   any number
    END      [2, keys, reply records]                                                                    once, last

The small side tables come first, with the number of keys, so that whoever restores can tell how far it has come; the
numbers of keys and of reply records actually written come last, so that a stream cut short is noticed. The cut is
made when the stream is asked for; each step after that looks at a page or a few, as `store.keyspace` has them, while
writes go on. A block is closed once it passes BLOCK_BYTES, so only a value larger than that exceeds it by much.
Keys with tags stand in blocks of their own, among those without, and count with them. A session may stand in several
blocks, with some of its records in each. Format 3 had no tags, format 4 no sessions; both are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import structs

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import Namespace
from raftcache.shard.history import History
from raftcache.shard.policies import NO_NAMESPACES
from raftcache.store.entry import Entry, TaggedEntry
from raftcache.store.keyspace import Cut, Keyspace, Row
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.sessions import RECORD_OVERHEAD_BYTES, SessionRow, Sessions
from raftcache.store.tags import DroppedTags, TagRow, canonical, tags_bytes

HEADER: Final = 0
ENTRIES: Final = 1
END: Final = 2
REPLIES: Final = 3
POLICIES: Final = 4
TAGGED: Final = 5
TAGS: Final = 6
SESSIONS: Final = 7
FORMAT: Final = 5
READABLE: Final = (3, 4, FORMAT)
BLOCK_BYTES = 224 << 10
KEYS_PER_STEP = 2048
"""A step that has looked at so many keys closes its block, be it empty."""
NAMESPACES_PER_BLOCK: Final = 512
TAGS_PER_BLOCK: Final = 2048
ROW_OVERHEAD_BYTES: Final = 40
DIGEST_BYTES: Final = 16

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_any: Final = msgspec.msgpack.Decoder(list[Any]).decode
_decode_header: Final = msgspec.msgpack.Decoder(tuple[int, int, str, int, int, int, list[tuple[int, int]], int]).decode
_decode_rows: Final = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, Entry]]]).decode
_decode_tagged: Final = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, TaggedEntry]]]).decode
_decode_tags: Final = msgspec.msgpack.Decoder(tuple[int, list[TagRow]]).decode
_decode_sessions: Final = msgspec.msgpack.Decoder(tuple[int, int, list[SessionRow]]).decode
_decode_policies: Final = msgspec.msgpack.Decoder(tuple[int, int, tuple[Namespace, ...]]).decode
_decode_end: Final = msgspec.msgpack.Decoder(tuple[int, int, int]).decode


Progress: TypeAlias = Callable[[int, int], None]
"""`progress(keys restored, keys in all)`, called on the thread that restores."""


NO_SESSIONS: tuple[int, list[SessionRow]] = (0, [])


class Prepared(NamedTuple):
    """A state built from a snapshot, ready to be swapped in."""

    keyspace: Keyspace
    replies: Replies
    sessions: Sessions
    dropped: DroppedTags
    history: History
    namespaces: Namespaces = NO_NAMESPACES


class Contents(NamedTuple):
    """What a snapshot holds, in numbers."""

    history: History
    keys: int
    replies: int


class SnapshotBlocks(Iterator[bytes]):
    """The stream, of `keys` keys. Close it to abandon it; it closes itself at its end."""

    def __init__(
        self,
        shard_id: str,
        history: History,
        cut: Cut,
        replies: Cut,
        namespaces: Namespaces = NO_NAMESPACES,
        dropped: list[TagRow] | None = None,
        sessions: tuple[int, list[SessionRow]] = NO_SESSIONS,
    ) -> None:
        self.keys = cut.count
        self._cut, self._replies = cut, replies
        small = chain(_policy_blocks(namespaces), _tag_blocks(dropped or []), _session_blocks(*sessions))
        self._blocks = _blocks(header_block(shard_id, history, cut.count), small, cut, replies)

    def __next__(self) -> bytes:
        try:
            return next(self._blocks)
        except StopIteration:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the cuts. Harmless when done twice."""
        self._blocks.close()
        self._cut.close()
        self._replies.close()


def header_block(shard_id: str, history: History, keys: int) -> bytes:
    """The table of terms, and how many keys follow."""
    closed = list(history.closed.items())
    return _encode([HEADER, FORMAT, shard_id, history.term, history.seq, history.time_ms, closed, keys])


def prepare(shard_id: str, blocks: Iterable[bytes], progress: Progress = lambda _done, _keys: None) -> Prepared:
    """Build a state from a stream. Pure, so that it may run off the loop: no step of it holds the interpreter for
    longer than a block takes to decode, not even where it fails and lets go of what it has built. Raises ValueError.
    """
    keyspace, replies = Keyspace(MemoryBudget()), Replies(MemoryBudget())
    try:
        return _prepare(shard_id, keyspace, replies, iter(blocks), progress)
    except BaseException as error:
        keyspace.clear()
        replies.clear()
        if isinstance(error, msgspec.MsgspecError | KeyError):
            raise ValueError(f"damaged snapshot of shard {shard_id}: {error}") from error
        raise


def count_rows(shard_id: str, blocks: Iterable[bytes]) -> Contents:
    """The side tables of a stream, and how many rows it holds, without building a state. Raises ValueError."""
    stream = iter(blocks)
    try:
        history, keys = _parse_header(shard_id, next(stream, b""))
        found, written = {ENTRIES: 0, REPLIES: 0}, (-1, -1)
        for block in stream:
            if _kind(block) == END:
                written = _decode_end(block)[1:]
                break
            if _kind(block) in (POLICIES, TAGS, SESSIONS):
                continue
            kind, rows = _decode_rows(block)
            found[ENTRIES if kind == TAGGED else kind] += len(rows)
        counted = (found[ENTRIES], found[REPLIES])
        if counted != written or counted[0] != keys or next(stream, None) is not None:
            raise ValueError(
                f"damaged snapshot of shard {shard_id}: {counted} keys and reply records where {written} were written "
                f"and {keys} keys announced"
            )
    except KeyError as error:
        raise ValueError(f"damaged snapshot of shard {shard_id}: block of kind {error}") from error
    except msgspec.MsgspecError as error:
        raise ValueError(f"damaged snapshot of shard {shard_id}: {error}") from error
    return Contents(history, keys, counted[1])


def digest(
    history: History,
    rows: Iterable[Row],
    replies: Iterable[Row],
    namespaces: Namespaces = NO_NAMESPACES,
    dropped: Iterable[TagRow] = (),
    sessions: tuple[int, list[SessionRow]] = NO_SESSIONS,
) -> str:
    """A fingerprint of a state that does not depend on the order of its rows: equal states, equal digests."""
    total = _fingerprint((history.term, history.seq, history.time_ms, sorted(history.closed.items())))
    total += _fingerprint((namespaces.epoch, _sorted(namespaces)))
    for row in rows:
        total += _fingerprint(row)
    for row in replies:
        total += _fingerprint((REPLIES, row))
    for tag_row in dropped:
        total += _fingerprint((TAGS, tag_row))
    forgotten_ms, session_rows = sessions
    total += _fingerprint((SESSIONS, forgotten_ms))
    for id_, floor, used_ms, kept in session_rows:
        records = sorted(zip(kept[::2], kept[1::2], strict=True))
        total += _fingerprint((SESSIONS, id_, floor, used_ms, records))
    return f"{total % (1 << 8 * DIGEST_BYTES):0{2 * DIGEST_BYTES}x}"


def _fingerprint(part: Any) -> int:
    return int.from_bytes(blake2b(_encode(part), digest_size=DIGEST_BYTES).digest())


def _sorted(namespaces: Namespaces) -> list[Namespace]:
    return [namespace for _, namespace in sorted(namespaces.by_name.items())]


def _policy_blocks(namespaces: Namespaces) -> Iterator[bytes]:
    rows = _sorted(namespaces)
    for start in range(0, len(rows), NAMESPACES_PER_BLOCK):
        yield _encode((POLICIES, namespaces.epoch, rows[start : start + NAMESPACES_PER_BLOCK]))


def _tag_blocks(rows: list[TagRow]) -> Iterator[bytes]:
    for start in range(0, len(rows), TAGS_PER_BLOCK):
        yield _encode((TAGS, rows[start : start + TAGS_PER_BLOCK]))


def _session_blocks(forgotten_ms: int, rows: list[SessionRow]) -> Iterator[bytes]:
    block, size_bytes = list[SessionRow](), 0
    for id_, floor, used_ms, kept in rows:
        part: list[Any] = []
        block.append((id_, floor, used_ms, part))
        for number, reply in zip(kept[::2], kept[1::2], strict=True):
            part += (number, reply)
            size_bytes += len(reply) + RECORD_OVERHEAD_BYTES
            if size_bytes >= BLOCK_BYTES:
                yield _encode((SESSIONS, forgotten_ms, block))
                part = []
                block, size_bytes = [(id_, floor, used_ms, part)], 0
        size_bytes += ROW_OVERHEAD_BYTES
        if size_bytes >= BLOCK_BYTES:
            yield _encode((SESSIONS, forgotten_ms, block))
            block, size_bytes = [], 0
    if block or forgotten_ms:
        yield _encode((SESSIONS, forgotten_ms, block))


def _blocks(header: bytes, small: Iterable[bytes], cut: Cut, replies: Cut) -> Generator[bytes, None, None]:
    yield header
    yield from small
    keys = yield from _rows(ENTRIES, cut)
    records = yield from _rows(REPLIES, replies)
    yield _encode((END, keys, records))


def _rows(kind: int, cut: Cut) -> Generator[bytes, None, int]:
    """The blocks of one table. Returns how many rows are in them."""
    block, tagged = list[Row](), list[Row]()
    size_bytes = count = seen = 0
    while (rows := cut.read_page()) is not None:
        for row in rows:
            entry = row[1]
            size_bytes += len(row[0]) + len(entry.value) + ROW_OVERHEAD_BYTES
            if type(entry) is TaggedEntry:
                tagged.append(row)
                size_bytes += tags_bytes(entry.tags)
            else:
                block.append(row)
            if size_bytes >= BLOCK_BYTES:
                count += len(block) + len(tagged)
                yield from _filled(kind, block, tagged)
                block, tagged, size_bytes, seen = [], [], 0, cut.looked_at
        if cut.looked_at - seen >= KEYS_PER_STEP:
            count += len(block) + len(tagged)
            yield from _filled(kind, block, tagged)
            block, tagged, size_bytes, seen = [], [], 0, cut.looked_at
    if block or tagged or kind == ENTRIES:
        yield from _filled(kind, block, tagged)
    return count + len(block) + len(tagged)


def _filled(kind: int, block: list[Row], tagged: list[Row]) -> Iterator[bytes]:
    """What one step has read; an empty block where it found nothing."""
    if block or not tagged:
        yield _encode((kind, block))
    if tagged:
        yield _encode((TAGGED, tagged))


def _prepare(
    shard_id: str, keyspace: Keyspace, replies: Replies, blocks: Iterator[bytes], progress: Progress
) -> Prepared:
    history, keys = _parse_header(shard_id, next(blocks, b""))
    epoch, namespaces, dropped = 0, list[Namespace](), DroppedTags()
    sessions = Sessions(MemoryBudget())
    progress(0, keys)
    for block in blocks:
        kind = _kind(block)
        if kind == ENTRIES:
            keyspace.load(_decode_rows(block)[1])
            progress(len(keyspace), keys)
        elif kind == TAGGED:
            keyspace.load([(key, _interned(entry)) for key, entry in _decode_tagged(block)[1]])
            progress(len(keyspace), keys)
        elif kind == TAGS:
            dropped.load(_decode_tags(block)[1])
        elif kind == SESSIONS:
            sessions.load(*_decode_sessions(block)[1:])
        elif kind == REPLIES:
            replies.load(_decode_rows(block)[1])
        elif kind == POLICIES:
            _, epoch, some = _decode_policies(block)
            namespaces += some
        elif kind == END:
            _, count, records = _decode_end(block)
            _check_end(shard_id, count, keys, keyspace, blocks)
            if len(replies) != records:
                raise ValueError(
                    f"damaged snapshot of shard {shard_id}: {len(replies)} reply records where {records} were written"
                )
            return Prepared(keyspace, replies, sessions, dropped, history, Namespaces(epoch, tuple(namespaces)))
        else:
            raise ValueError(f"damaged snapshot of shard {shard_id}: block of kind {kind!r}")
    raise ValueError(f"damaged snapshot of shard {shard_id}: it ends after {len(keyspace)} keys, without an end block")


def _interned(entry: TaggedEntry) -> TaggedEntry:
    return structs.replace(entry, tags=canonical(entry.tags))


def _kind(block: bytes) -> int | None:
    """The first item of a short msgpack array, where that is a small number: without decoding the rest."""
    return block[1] if len(block) > 1 and 0x91 <= block[0] <= 0x9F else None


def _parse_header(shard_id: str, block: bytes) -> tuple[History, int]:
    kind, version, stored_id = (*_decode_any(block)[:3], None, None, None)[:3]
    if (kind, stored_id) != (HEADER, shard_id) or version not in READABLE:
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
