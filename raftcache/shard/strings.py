"""get, set, delete: at one key, at the leader."""

from __future__ import annotations

from raftcache.commands.table import check_delete, check_get, check_set
from raftcache.commands.types import RAW, Delete, Get, ReadLevel, Set, Value, Version, Written
from raftcache.shard.executor import COMMITTED, LATEST, LINEARIZABLE, PRIMARY, REPLICA, Answer, Executor
from raftcache.store.entry import Entry
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
    waits_for, version = ex.observed(key) if level == COMMITTED else ex.proved(key)
    if level == COMMITTED and waits_for is not PRIMARY:
        ex.pipeline.admit_waiter()
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
    conditional = command.if_absent or command.if_version is not None
    if conditional:
        entry = ex.lookup(key, namespace)
        if not _holds(ex, command, entry):
            return ex.unchanged(key, ack, namespace, entry)
    reached = ex.fit(ex.revealing(ack, namespace) if conditional else ack, namespace, key, len(value))
    expires_ms = ex.expires_ms(command.ttl_ms, namespace)
    ex.make_room(namespace, key, len(value), expires_ms, tags_bytes(command.tags) if command.tags else 0)
    version = ex.put(key, value, command.flag, expires_ms, namespace, reached, command.tags)
    ex.stats.sets += 1
    return Written(True, version, expires_ms or None, reached), reached


def delete(ex: Executor, command: Delete) -> Answer:
    """Remove a key, if it is there and its condition holds. Never refused for want of memory."""
    key = command.key
    namespace = ex.resolve(command)
    ack = ex.granted(check_delete(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, key)
    entry = ex.lookup(key, namespace)
    if entry is None or (command.if_version is not None and command.if_version != ex.version_of(entry)):
        return ex.unchanged(key, ack, namespace, entry)
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, 0)
    version = ex.remove(key, namespace, reached)
    ex.stats.deletes += 1
    return Written(True, version, None, reached, existed=True), reached


def _holds(ex: Executor, command: Set, entry: Entry | None) -> bool:
    if command.if_absent:
        return entry is None
    return entry is not None and command.if_version == ex.version_of(entry)
