"""Keyed writes: a write that carries an idempotency key is executed once, however often it is sent.

The first one is executed like any other write; its answer, whatever it says, becomes a reply record, an effect in the
same batch as the command's own (a batch is sealed only before a command). So whoever leads next has either both or
neither: a retry is answered from the record, or executed for the first time. What is answered above `primary` waits for
that batch also where nothing was written: else a retry might be executed after all, and answered otherwise. A command
that *raises* was refused before it did anything; it leaves no record and may be tried again under its key.

**A replay** answers the first reply, at the level asked for now. Where the record is committed it has reached `quorum`,
and leaves at once. Where it is speculative, the replay is answered with `primary` only if the first reply was too, and
the namespace's reads may show it: a replay never adds to what was acknowledged and can be lost. Otherwise it waits in
the open batch, which commits, and is synced, after the record's. Another body under the same key is refused, which
reveals the record, and waits for it just so.

**When leadership is lost** a waiting keyed write is `outcome_unknown` in any case: its record, or that of the write
that it repeats, may commit. A definite error would promise that nothing was done under this key.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from raftcache.commands.policy import Namespace
from raftcache.commands.table import SHOWN_BYTES, TABLE, ack_level
from raftcache.commands.types import AckLevel, Counted, Failure, Written, decode_reply, encode_reply
from raftcache.errors import IdempotencyMismatch, RepliesFull
from raftcache.shard.executor import DURABLE, PRIMARY, QUORUM, Answer, Executor
from raftcache.store.entry import ENTRY_OVERHEAD_BYTES, EXPIRY_OVERHEAD_BYTES, Entry
from raftcache.store.replies import (
    FINGERPRINT_BYTES,
    REPLIES_PER_NAMESPACE,
    REPLY_TTL_MS,
    Record,
    decode_record,
    encode_record,
    record_id,
)

REPLY_ROOM_BYTES: Final = 256
"""What a record needs beside its keys and its entry, at most: fingerprint and reply."""

_NOT_THE_BODY: Final = frozenset({"ack", "idempotency", "named_at"})

_encode: Final = msgspec.msgpack.Encoder().encode

Execute: TypeAlias = Callable[[Executor, Any], Answer]


def once(execute: Execute) -> Execute:
    """`execute` for commands that may carry an idempotency key. One without pays a comparison."""

    def run(ex: Executor, command: Any) -> Answer:
        if command.idempotency is None:
            return execute(ex, command)
        return _keyed(ex, command, execute)

    return run


def is_repeat(ex: Executor, command: Any) -> bool:
    """Whether a write was executed under the command's idempotency key, so that the command will not be."""
    if command.idempotency is None:
        return False
    namespace = ex.namespaces().resolve(command.key)
    return _standing(ex, record_id(namespace.identity, command.idempotency)) is not None


def fingerprint(command: Any) -> bytes:
    """What two commands have in common exactly if they ask for the same. The level does not count; nor does a field
    that is not set, so that a field added in another version changes nothing."""
    fields = {name: getattr(command, name) for name in command.__struct_fields__ if name not in _NOT_THE_BODY}
    given = [(name, value) for name, value in fields.items() if value is not None and value is not False]
    return blake2b(_encode((type(command).__name__, sorted(given))), digest_size=FINGERPRINT_BYTES).digest()


def _keyed(ex: Executor, command: Any, execute: Execute) -> Answer:
    """Answer from the record, or execute and keep one. Raises IdempotencyMismatch, RepliesFull, MemoryFull."""
    namespace = ex.resolve(command)
    id_ = record_id(namespace.identity, command.idempotency)
    row = _standing(ex, id_)
    if row is not None:
        return _repeat(ex, command, namespace, row)
    check = TABLE[type(command)].check
    assert check is not None, "a multi-key command is not keyed"
    ack = ex.granted(AckLevel(check(command, namespace)))
    if ex.replies.get(id_) is None:
        _require_room(ex, namespace.identity, namespace.name)
    ex.require_memory(command.key, _room_bytes(command))
    answer, _ = execute(ex, command)
    value = encode_record(Record(command.key, fingerprint(command), encode_reply(answer)))
    ex.keep_reply(id_, value, ex.now_ms() + REPLY_TTL_MS, namespace)
    return answer, answer.ack if isinstance(answer, Written | Counted) else ex.revealing(ack, namespace)


def _standing(ex: Executor, id_: bytes) -> Entry | None:
    """The row of a record whose time is not over."""
    row = ex.replies.get(id_)
    return None if row is None or row.expires_ms <= ex.now_ms() else row


def _repeat(ex: Executor, command: Any, namespace: Namespace, row: Entry) -> Answer:
    """Answer a command under whose key there is a record. Of what it asks for only the level is held against today's
    policy: the write itself was executed under that of its time, and must not be refused as if it had not been."""
    ack = ex.revealing(ex.granted(ack_level(command.ack, namespace)), namespace)
    record = decode_record(row.value)
    if record.fingerprint == fingerprint(command):
        return _replay(ex, row, record, ack)
    shown = command.idempotency[:SHOWN_BYTES]
    error = IdempotencyMismatch(f"idempotency key {shown!r} was used for another write: take a new key")
    if ack == PRIMARY or (ack == QUORUM and ex.pipeline.is_committed(row.term, row.seq)):
        raise error
    ex.pipeline.admit()
    return ex.stats.refusal(error), ack


def _replay(ex: Executor, row: Entry, record: Record, ack: AckLevel) -> Answer:
    """The first reply, with the level that it reaches now, and what it waits for."""
    ex.stats.replays += 1
    first: Any = decode_reply(record.reply)
    if ack == DURABLE:
        ex.pipeline.admit()
        return _at(first, DURABLE), DURABLE
    if ex.pipeline.is_committed(row.term, row.seq):
        return _at(first, QUORUM), PRIMARY
    if ack == PRIMARY and not isinstance(first, Failure) and first.ack == PRIMARY:
        return first, PRIMARY
    ex.pipeline.admit()
    return _at(first, QUORUM), QUORUM


def _at(first: Any, level: AckLevel) -> Any:
    return first if isinstance(first, Failure) else msgspec.structs.replace(first, ack=level)


def _require_room(ex: Executor, namespace_id: int, name: str) -> None:
    count = ex.replies.count(namespace_id)
    if count >= REPLIES_PER_NAMESPACE:
        ex.stats.overloaded["reply records"] += 1
        raise RepliesFull(
            f"reply records of namespace {name!r} in shard {ex.shard_id}: {count} reach the limit of "
            f"{REPLIES_PER_NAMESPACE}; each is kept for {REPLY_TTL_MS // 1000} seconds"
        )


def _room_bytes(command: Any) -> int:
    """What a keyed write may take beside its key: its value, and all of its record."""
    value_bytes = len(getattr(command, "value", b""))
    record_bytes = len(command.key) + len(command.idempotency) + REPLY_ROOM_BYTES
    return value_bytes + record_bytes + ENTRY_OVERHEAD_BYTES + EXPIRY_OVERHEAD_BYTES
