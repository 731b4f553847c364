"""get, set, delete: at one key, at the leader."""

from __future__ import annotations

from raftcache.commands.table import check_delete, check_get, check_set
from raftcache.commands.types import RAW, Delete, Get, Set, Value, Version, Written
from raftcache.shard.executor import LATEST, PRIMARY, QUORUM, Answer, Executor
from raftcache.store.entry import Entry


def get(ex: Executor, command: Get) -> Answer:
    """Read a key. At `linearizable` the answer waits for the batch in which it was read."""
    key = command.key
    namespace = ex.resolve(key)
    level = check_get(command, namespace)
    waits_for = QUORUM if level > LATEST else PRIMARY
    if level > LATEST:
        ex.pipeline.admit()
    entry = ex.lookup(key, namespace)
    if entry is None:
        ex.stats.misses += 1
        return Value(None, RAW, ex.newest(), None, level), waits_for
    ex.stats.hits += 1
    ttl_ms = entry.expires_ms - ex.now_ms() if entry.expires_ms else None
    return Value(entry.value, entry.flag, Version(ex.shard_id, entry.term, entry.seq), ttl_ms, level), waits_for


def set_(ex: Executor, command: Set) -> Answer:
    """Write a key, if its condition holds. Raises MemoryFull, Overloaded, and what `fit` raises."""
    key, value = command.key, command.value
    namespace = ex.resolve(key)
    ack = ex.granted(check_set(command, namespace))
    ex.pipeline.admit()
    ex.require_memory(key, len(value))
    conditional = command.if_absent or command.if_version is not None
    if conditional:
        entry = ex.lookup(key, namespace)
        if not _holds(ex, command, entry):
            return ex.unchanged(ack, namespace, entry)
    reached = ex.fit(ex.revealing(ack, namespace) if conditional else ack, namespace, key, len(value))
    expires_ms = ex.expires_ms(command.ttl_ms, namespace)
    version = ex.put(key, value, command.flag, expires_ms, namespace, reached)
    ex.stats.sets += 1
    return Written(True, version, expires_ms or None, reached), reached


def delete(ex: Executor, command: Delete) -> Answer:
    """Remove a key, if it is there and its condition holds. Never refused for want of memory."""
    key = command.key
    namespace = ex.resolve(key)
    ack = ex.granted(check_delete(command, namespace))
    ex.pipeline.admit()
    entry = ex.lookup(key, namespace)
    if entry is None or (command.if_version is not None and command.if_version != ex.version_of(entry)):
        return ex.unchanged(ack, namespace, entry)
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, 0)
    version = ex.remove(key, namespace, reached)
    ex.stats.deletes += 1
    return Written(True, version, None, reached, existed=True), reached


def _holds(ex: Executor, command: Set, entry: Entry | None) -> bool:
    if command.if_absent:
        return entry is None
    return entry is not None and command.if_version == ex.version_of(entry)
