"""expire, persist: give a key another time to live, or none. Both write the key anew, under a new version."""

from __future__ import annotations

from raftcache.commands.policy import Namespace
from raftcache.commands.table import check_expire, check_persist
from raftcache.commands.types import AckLevel, Expire, Persist, Written
from raftcache.shard.executor import Answer, Executor
from raftcache.store.entry import Entry, tags_of
from raftcache.store.tags import tags_bytes


def expire(ex: Executor, command: Expire) -> Answer:
    """Make a key expire `ttl_ms` from now. Writes nothing where there is no key."""
    namespace = ex.resolve(command)
    ack = ex.granted(check_expire(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, command.key)
    entry = ex.lookup(command.key, namespace)
    if entry is None:
        return ex.unchanged(command.key, ack, namespace, None)
    return _rewrite(ex, command.key, entry, ex.expires_ms(command.ttl_ms, namespace), ack, namespace)


def persist(ex: Executor, command: Persist) -> Answer:
    """Make a key stay. Writes nothing where there is no key, or where it has no time to live (`existed` tells)."""
    namespace = ex.resolve(command)
    ack = ex.granted(check_persist(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, command.key)
    entry = ex.lookup(command.key, namespace)
    if entry is None or not entry.expires_ms:
        return ex.unchanged(command.key, ack, namespace, entry)
    longest_ms = namespace.max_ttl_ms
    if longest_ms is None:
        return _rewrite(ex, command.key, entry, 0, ack, namespace)
    return _rewrite(ex, command.key, entry, ex.expires_ms(longest_ms, namespace), ack, namespace)


def _rewrite(ex: Executor, key: bytes, entry: Entry, expires_ms: int, ack: AckLevel, namespace: Namespace) -> Answer:
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, len(entry.value))
    ex.make_room(namespace, key, len(entry.value), expires_ms, tags_bytes(tags_of(entry)))
    version = ex.put(key, entry.value, entry.flag, expires_ms, namespace, reached, tags_of(entry))
    return Written(True, version, expires_ms or None, reached, existed=True), reached
