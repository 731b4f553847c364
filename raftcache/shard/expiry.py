"""expire, persist: give a key another time to live, or none. Both write the key anew, under a new version."""

from __future__ import annotations

from raftcache.commands.policy import Namespace
from raftcache.commands.table import check_expire, check_persist
from raftcache.commands.types import AckLevel, Expire, ExpireIf, Persist, Written
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
    expires_ms = ex.expires_ms(command.ttl_ms, namespace)
    if entry is None or not _wanted(entry.expires_ms, expires_ms, command.when):
        return ex.unchanged(command.key, ack, namespace, entry, command.reveal)
    return _rewrite(ex, command, entry, expires_ms, ack, namespace)


def _wanted(stands_ms: int, expires_ms: int, when: ExpireIf) -> bool:
    """Whether the condition holds of a key that expires at `stands_ms`, 0 for never."""
    if when == ExpireIf.ALWAYS:
        return True
    if when == ExpireIf.LONGER:
        return 0 < stands_ms < expires_ms
    if when == ExpireIf.SHORTER:
        return not stands_ms or expires_ms < stands_ms
    if when == ExpireIf.VOLATILE_SHORTER:
        return expires_ms < stands_ms
    return (stands_ms > 0) == (when == ExpireIf.VOLATILE)


def persist(ex: Executor, command: Persist) -> Answer:
    """Make a key stay. Writes nothing where there is no key, or where it has no time to live (`existed` tells)."""
    namespace = ex.resolve(command)
    ack = ex.granted(check_persist(command, namespace))
    ex.pipeline.admit()
    ex.in_turn(namespace, command.key)
    entry = ex.lookup(command.key, namespace)
    if entry is None or not entry.expires_ms:
        return ex.unchanged(command.key, ack, namespace, entry, command.reveal)
    longest_ms = namespace.max_ttl_ms
    if longest_ms is None:
        return _rewrite(ex, command, entry, 0, ack, namespace)
    return _rewrite(ex, command, entry, ex.expires_ms(longest_ms, namespace), ack, namespace)


def _rewrite(
    ex: Executor, command: Expire | Persist, entry: Entry, expires_ms: int, ack: AckLevel, namespace: Namespace
) -> Answer:
    key, value, tags = command.key, entry.value, tags_of(entry)
    reached = ex.fit(ex.revealing(ack, namespace), namespace, key, len(value))
    ex.make_room(namespace, key, len(value), expires_ms, tags_bytes(tags))
    version = ex.put(key, value, entry.flag, expires_ms, namespace, reached, tags)
    previous = value if command.reveal else None
    return Written(True, version, expires_ms or None, reached, existed=True, previous=previous), reached
