"""incr. A JSON integer and an ASCII integer are the same bytes, so a counter may be set and read as either."""

from __future__ import annotations

import re

from raftcache.commands.table import SHOWN_BYTES, check_incr
from raftcache.commands.types import INT64_MAX, INT64_MIN, JSON, Counted, Incr
from raftcache.errors import NotAnInteger
from raftcache.shard.executor import Answer, Executor
from raftcache.store.entry import Entry, tags_of
from raftcache.store.tags import tags_bytes

_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]{0,18})")


def incr(ex: Executor, command: Incr) -> Answer:
    """Add to a counter; one that is missing starts at 0, and takes the command's time to live then only.

    The result reveals the counter's value, and a refusal reveals that it has none. Raises MemoryFull, Overloaded.
    """
    key = command.key
    namespace = ex.resolve(command)
    ack = ex.granted(check_incr(command, namespace))
    ex.pipeline.admit()
    ex.require_memory(key, len(str(INT64_MIN)))
    ex.in_turn(namespace, key)
    entry = ex.lookup(key, namespace)
    try:
        value = added(entry, command.delta)
    except NotAnInteger as error:
        refusal = ex.stats.refusal(error)
        _, waits_for, _ = ex.showing(key, ack, namespace)
        return refusal, waits_for
    reached = ex.revealing(ack, namespace)
    flag = JSON if entry is None else entry.flag
    expires_ms = ex.expires_ms(command.ttl_ms, namespace) if entry is None else entry.expires_ms
    digits = b"%d" % value
    reached = ex.fit(reached, namespace, key, len(digits))
    tags = () if entry is None else tags_of(entry)
    ex.make_room(namespace, key, len(digits), expires_ms, tags_bytes(tags))
    version = ex.put(key, digits, flag, expires_ms, namespace, reached, tags)
    ex.stats.sets += 1
    return Counted(value, version, expires_ms or None, reached), reached


def added(entry: Entry | None, delta: int) -> int:
    """The counter's next value. Raises NotAnInteger."""
    if entry is None:
        return delta
    if not _INTEGER.fullmatch(entry.value):
        raise NotAnInteger(f"value: {entry.value[:SHOWN_BYTES]!r} is not an integer in decimal digits")
    value = int(entry.value) + delta
    if not INT64_MIN <= value <= INT64_MAX:
        raise NotAnInteger(f"value: {int(entry.value)} + {delta} is not within {INT64_MIN} to {INT64_MAX}")
    return value
