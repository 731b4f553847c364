"""get, set, append, delete: at one key, at the leader."""

from __future__ import annotations

from raftcache.commands.table import check_append, check_delete, check_get, check_set, check_size
from raftcache.commands.types import RAW, Append, Counted, Delete, Get, ReadLevel, Set, Value, Version, Written
from raftcache.errors import ValueTooLarge
from raftcache.shard.executor import LATEST, LINEARIZABLE, PRIMARY, REPLICA, Answer, Executor
from raftcache.store.entry import Entry, tags_of
from raftcache.store.tags import tags_bytes


def get(ex: Executor, command: Get) -> Answer:
    """Read a key. Above `latest` the answer waits until the newest change of the key is committed; at `linearizable`,
    without a lease, for the batch in which it was read."""
    key = command.key
    namespace = ex.resolve(command)
    level = check_get(command, namespace)
    if level == REPLICA:
        return ex.replica_get(command, namespace)
    if level == LINEARIZABLE:
        ex.pipeline.admit()
    entry = ex.lookup(key, namespace)
    counts = ex.stats.misses if entry is None else ex.stats.hits
    if level == LATEST:
        counts[namespace.name] += 1
        return _value(ex, entry, level), PRIMARY
    waits_for, version = ex.read_waits(key, level)
    counts[namespace.name] += 1
    return _value(ex, entry, level, version), waits_for


def _value(ex: Executor, entry: Entry | None, level: ReadLevel, version: Version | None = None) -> Value:
    """What a read found. A miss carries `version`, by default the newest effect's."""
    if entry is None:
        return Value(None, RAW, version or ex.newest(), None, level)
    ttl_ms = entry.expires_ms - ex.now_ms() if entry.expires_ms else None
    return Value(entry.value, entry.flag, Version(ex.shard_id, entry.term, entry.seq), ttl_ms, level)


def set_(ex: Executor, command: Set) -> Answer:
    """Write a key, if its condition holds. Raises MemoryFull, Overloaded, and what `in_turn`, `fit` and
    `make_room` raise."""
    key, value = command.key, command.value
    namespace = ex.resolve(command)
    ack = ex.granted(check_set(command, namespace))
    ex.pipeline.admit()
    ex.require_memory(key, len(value) + (tags_bytes(command.tags) if command.tags else 0))
    ex.in_turn(namespace, key, len(value))
    looks, entry = _looks(command), None
    if looks:
        entry = ex.lookup(key, namespace)
        if not _holds(ex, command, entry):
            return ex.unchanged(key, ack, namespace, entry, command.reveal)
    reached = ex.fit(ex.revealing(ack, namespace) if looks else ack, namespace, key, len(value))
    keeps = command.keep_ttl and entry is not None
    expires_ms = entry.expires_ms if keeps and entry else ex.expires_ms(command.ttl_ms, namespace)
    ex.make_room(namespace, key, len(value), expires_ms, tags_bytes(command.tags) if command.tags else 0)
    previous = entry.value if entry is not None and command.reveal else None
    version = ex.put(key, value, command.flag, expires_ms, namespace, reached, command.tags)
    ex.stats.sets += 1
    return Written(True, version, expires_ms or None, reached, previous=previous), reached


def append(ex: Executor, command: Append) -> Answer:
    """Add to the end of a value. The length, and that it would be too long, reveal what stands there.

    Raises MemoryFull, Overloaded, and what `in_turn`, `fit` and `make_room` raise."""
    key = command.key
    namespace = ex.resolve(command)
    ack = ex.granted(check_append(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, key, len(command.value))
    entry = ex.lookup(key, namespace)
    value = command.value if entry is None else entry.value + command.value
    try:
        check_size(len(value), namespace)
    except ValueTooLarge as error:
        _, waits_for, _ = ex.showing(key, ack, namespace)
        return ex.stats.refusal(error), waits_for
    ex.require_memory(key, len(value))
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, len(value))
    expires_ms, tags = (ex.expires_ms(None, namespace), ()) if entry is None else (entry.expires_ms, tags_of(entry))
    ex.make_room(namespace, key, len(value), expires_ms, tags_bytes(tags))
    version = ex.put(key, value, RAW if entry is None else entry.flag, expires_ms, namespace, reached, tags)
    ex.stats.sets += 1
    return Counted(len(value), version, expires_ms or None, reached), reached


def delete(ex: Executor, command: Delete) -> Answer:
    """Remove a key, if it is there and its condition holds. Never refused for want of memory."""
    key = command.key
    namespace = ex.resolve(command)
    ack = ex.granted(check_delete(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, key)
    entry = ex.lookup(key, namespace)
    if entry is None or (command.if_version is not None and command.if_version != ex.version_of(entry)):
        return ex.unchanged(key, ack, namespace, entry, command.reveal)
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, 0)
    previous = entry.value if command.reveal else None
    version = ex.remove(key, namespace, reached)
    ex.stats.deletes += 1
    return Written(True, version, None, reached, existed=True, previous=previous), reached


def _looks(command: Set) -> bool:
    """Whether the answer depends on what stands there."""
    return bool(
        command.if_absent or command.if_present or command.if_version is not None or command.keep_ttl or command.reveal
    )


def _holds(ex: Executor, command: Set, entry: Entry | None) -> bool:
    if command.if_absent:
        return entry is None
    if command.if_version is not None:
        return entry is not None and command.if_version == ex.version_of(entry)
    return entry is not None or not command.if_present
